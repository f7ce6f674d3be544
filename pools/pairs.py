"""FIRM-Edit's plans: each edit pair of a user's list, with the ways its instruction is rewritten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pools.input_index import none_has
from pools.input_list import InputList, Order
from pools.inputs import PAIRS
from pools.unchecked import unchecked
from schemas.errors import InputError
from schemas.labels import EditPair, PairPlan, Rewrite


class Pairs(InputList):
    """An indexed list of edit pairs: `instruction` (may be empty), `source_image`, `edited_image`, `id`."""

    FORM = PAIRS

    @property
    def instructed(self) -> int:
        """How many usable pairs come with an instruction."""
        import pyarrow.compute as pc

        told = pc.and_(pc.not_equal(self.column("text"), ""), pc.equal(self.column("problem"), ""))
        return int(pc.sum(told).as_py() or 0)


class RewriteShares(BaseModel):
    """`rewrites:` of a configuration: how many pairs are judged by a rewritten instruction too.

    Attributes:
        share: of the pairs, 0 to 1.
        kinds: one is drawn for each such pair, all equally likely.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=0.0, ge=0, le=1)
    kinds: tuple[Rewrite, ...] = Field(default=tuple(Rewrite), min_length=1)


class PairPlanner:
    """Makes the plans of every split.

    A plan depends on its pair, the seed, the splits and the rewrites, and not on how many plans are made.

    Attributes:
        planned: plans per split.
        rows: the rows of those plans, per split.
    """

    def __init__(
        self, pairs: Pairs, seed: int, splits: Mapping[str, float], samples: int | None, rewrites: RewriteShares
    ) -> None:
        """
        Raises:
            InputError: no usable pair has an instruction, and none is rewritten, so there is nothing to judge.
        """
        self._pairs, self._rewrites = pairs, rewrites
        if not rewrites.share and not pairs.instructed:
            said = none_has(pairs.FORM, pairs.there)
            raise InputError(f"{pairs.spec}: {said}; give some, or have them written by `rewrites: {{share: 1}}`")
        self._order = Order(pairs, seed, splits, samples)
        self.planned = self._order.planned
        self.rows = {split: self._rows(split) for split in splits}

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[PairPlan]:
        """The plans of `ordinals`, in that order; memory does not grow with their number.

        Raises:
            InputError: `split` is none of the configured ones.
            IndexError: an ordinal is not below the number of plans.
        """
        for batch, rows in self._order.batches(split, ordinals):
            yield from unchecked(PairPlan, self._values(split, batch, rows))

    def _values(self, split: str, ordinals: list[int], rows: Any) -> Iterator[dict[str, Any]]:
        sources, edits = self._pairs.images(0, rows), self._pairs.images(1, rows)
        cells = list(self._pairs.taken(("plan", "id", "text", "problem", "detail"), rows))
        names = self._pairs.names(rows)
        drawn = self._order.drawn([plan for plan, *_ in cells])
        seeds, kinds = self._order.seeds(drawn), self._kinds(drawn)
        pairs = unchecked(
            EditPair,
            (
                {"id": id, "source": source, "edited": edited, "instruction": text, "references": ()}
                for (_, id, text, *_), source, edited in zip(cells, sources, edits, strict=True)
            ),
        )
        for (plan, id, _, problem, detail), ordinal, seed, pair, kind, called in zip(
            cells, ordinals, seeds, pairs, kinds, names, strict=True
        ):
            yield {
                "id": plan,
                "ordinal": ordinal,
                "split": split,
                "seed": seed,
                "input_id": id,
                "problem": problem,
                "detail": detail,
                "names": called,
                "pair": None if problem else pair,
                "rewrites": () if problem else kind,
            }

    def _kinds(self, drawn: Any) -> list[tuple[Rewrite, ...]]:
        """The rewrites of each pair."""
        kinds = self._rewrites.kinds
        points = self._order.units(drawn)
        numbers = (points[:, 1] * len(kinds)).astype(int).tolist()
        single = [(kind,) for kind in kinds]
        chosen = (points[:, 0] < self._rewrites.share).tolist()
        return [single[number] if yes else () for number, yes in zip(numbers, chosen, strict=True)]

    def _rows(self, split: str) -> int:
        cells = self._pairs.taken(("plan", "problem"), self._order.rows(split))
        usable = [plan for plan, problem in cells if not problem]
        rewritten = sum(map(len, self._kinds(self._order.drawn(usable)))) if usable else 0
        return 2 * (self.planned[split] + rewritten)
