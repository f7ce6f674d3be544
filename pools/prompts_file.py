"""FIRM-Gen's plans: each prompt of a user's list, with its own image or those that are to be painted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pools.input_list import InputList, Order
from pools.inputs import PROMPTS
from pools.unchecked import unchecked
from schemas.labels import PromptPlan


class Prompts(InputList):
    """An indexed list of prompts: `prompt`, `image` (may be absent), `id`."""

    FORM = PROMPTS

    @property
    def imageless(self) -> int:
        """How many usable prompts come without an image."""
        import pyarrow.compute as pc

        painted = pc.and_(pc.invert(self.column("given")), pc.equal(self.column("problem"), ""))
        return int(pc.sum(painted).as_py() or 0)


class PromptPlanner:
    """Makes the plans of every split.

    A plan depends on its prompt, the seed, the splits, `paintings` and `quality`, and not on how many plans are made.

    Attributes:
        planned: plans per split.
        rows: the rows of those plans, per split.
    """

    def __init__(
        self,
        prompts: Prompts,
        seed: int,
        splits: Mapping[str, float],
        samples: int | None,
        paintings: int = 1,
        quality: bool = False,
    ) -> None:
        """
        Args:
            paintings: images of a prompt that comes without one, from 1.
            quality: whether Quality is judged too.
        """
        self._prompts, self._paintings, self._quality = prompts, paintings, quality
        self._order = Order(prompts, seed, splits, samples)
        self.planned = self._order.planned
        self.rows = {split: self._rows(split) for split in splits}

    def plans(self, split: str, ordinals: Sequence[int]) -> Iterator[PromptPlan]:
        """The plans of `ordinals`, in that order; memory does not grow with their number.

        Raises:
            InputError: `split` is none of the configured ones.
            IndexError: an ordinal is not below the number of plans.
        """
        for batch, rows in self._order.batches(split, ordinals):
            yield from unchecked(PromptPlan, self._values(split, batch, rows))

    def _values(self, split: str, ordinals: list[int], rows: Any) -> Iterator[dict[str, Any]]:
        cells = list(self._prompts.taken(("plan", "id", "text", "problem", "detail", "given"), rows))
        seeds = self._order.seeds(self._order.drawn([plan for plan, *_ in cells]))
        images, names = self._prompts.images(0, rows), self._prompts.names(rows)
        for (plan, id, text, problem, detail, given), ordinal, seed, image, called in zip(
            cells, ordinals, seeds, images, names, strict=True
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
                "prompt": text,
                "image": image if given and not problem else None,
                "paintings": 0 if given else self._paintings,
                "quality": self._quality,
            }

    def _rows(self, split: str) -> int:
        given: int = sum(one for (one,) in self._prompts.taken(("given",), self._order.rows(split)))
        images = given + (self.planned[split] - given) * self._paintings
        return images * (1 + self._quality)
