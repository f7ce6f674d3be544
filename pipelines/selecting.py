"""Other samples of a finished run: by a condition on stored scores, an id list, a balance; rejected ones too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from annotators.blobs import Blobs
from filters.balance import BalanceConfig, balanced
from pipelines.recovering import REASON, Recovered, recovered
from schemas.errors import InputError
from shards.copying import copy_samples
from shards.expressions import Kind, compiled
from shards.manifest import read_run, root_run
from shards.scores import read_scores
from shards.selecting import columns_of, matching
from storage import paths


@dataclass(frozen=True)
class Asked:
    """What is asked for; samples must meet all of it.

    Attributes:
        where: a condition on index columns (`shards.expressions`); empty: none.
        ids: only these; None: all.
        rejected: whether rejected samples that meet it are brought back.
        balance: the histograms to have, of what is left after all else.
        seed: of the balance; None: the run's.
    """

    where: str = ""
    ids: frozenset[str] | None = None
    rejected: bool = False
    balance: BalanceConfig | None = None
    seed: int | None = None


@dataclass
class Selected:
    """What was found.

    Attributes:
        kept: ids of samples of the shards, in their order.
        total: how many samples the shards hold.
        back: what was found among the rejections; empty where they were not asked for.
        left_out: by dimension, scores that a balance wanted and nothing has.
        note: what was asked, for run.json.
    """

    kept: list[str]
    total: int
    back: Recovered = field(default_factory=Recovered)
    left_out: dict[str, tuple[float, ...]] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Of the samples of the shards, then of those brought back."""
        return [*self.kept, *self.back.ids]


def select(out: str, asked: Asked, blobs: Blobs | None = None) -> Selected:
    """What of the finished run `out` is asked for; nothing is written, no tar opened and no model asked.

    Args:
        blobs: where the image of a rejected sample is looked for that is no longer at its address.

    Raises:
        InputError: `out` is not a finished run, the condition is none, an id is in neither shards nor rejections, or
            rows that shall be balanced have no scores or not this dimension.
        DamageError: an index or a rejects file cannot be read.
    """
    kinds = columns_of(out)
    known = {**kinds, REASON: "text"} if asked.rejected else kinds
    condition = compiled(asked.where, known) if asked.where.strip() else None
    kept, total = matching(out, condition, asked.ids, {REASON: ""} if asked.rejected else None)
    found = Selected(kept, total)
    if asked.rejected:
        found.back = recovered(out, kinds, condition, asked.ids, blobs)
    if asked.ids is not None:
        _all_there(asked.ids, asked.rejected, _there(out, asked, kinds, found, condition is None))
    if asked.balance is not None:
        if not {"dimension", "score"} <= kinds.keys():
            raise InputError(f"--balance: {out} has no critic labels, whose scores it balances; use --where or --ids")
        _balance(out, asked.balance, _seed(out, asked), found)
    note = {"where": asked.where, "ids": None if asked.ids is None else len(asked.ids), "rejected": asked.rejected}
    balance = None if asked.balance is None else asked.balance.model_dump(mode="json", exclude_none=True)
    found.note = {name: value for name, value in {**note, "balance": balance}.items() if value}
    if asked.balance is not None:
        found.note["seed"] = _seed(out, asked)
    return found


def write_selected(out: str, dest: str, selected: Selected, shard_samples: int | None = None) -> dict[str, Any]:
    """The selection as an output folder of its own, and its manifest; see `shards.copying.copy_samples`.

    A sample that is brought back and whose image turns out to be damaged is a rejection of `dest`.

    Raises:
        InputError: nothing was selected, or `dest` holds something else or lies inside `out`.
        DamageError: a tar of `out` is missing or is not what its index says.
    """
    if not selected.ids:
        raise InputError(f"{dest}: not written: no sample of {out} is chosen")
    if paths.holds(out, dest):
        raise InputError(f"{dest}: lies inside {out}, which is chosen from; choose another --out")
    back = {split: samples for split, samples in selected.back.samples.items() if samples}
    return copy_samples(out, dest, selected.kept, shard_samples=shard_samples, note=selected.note, added=back)


def _there(out: str, asked: Asked, kinds: Mapping[str, Kind], found: Selected, everything: bool) -> set[str]:
    """Those of the ids that the run has, whether they meet the condition or not."""
    if everything:
        return {*found.ids, *found.back.lost}
    kept, _ = matching(out, None, asked.ids)
    back = recovered(out, kinds, None, asked.ids) if asked.rejected else Recovered()
    return {*kept, *back.ids, *back.lost}


def _all_there(ids: frozenset[str], rejected: bool, there: set[str]) -> None:
    missing = sorted(ids - there)
    if missing:
        where = "shards and what can be brought back" if rejected else "shards; is it a rejected one"
        mend = "" if rejected else "? Add --include-rejected"
        raise InputError(f"--ids: {missing[0]!r} is not in the {where}{mend} ({len(missing):,} of {len(ids):,})")


def _balance(out: str, config: BalanceConfig, seed: int, found: Selected) -> None:
    chosen = set(found.kept)
    scores = {
        dimension: {key: score for key, score in rows.items() if key in chosen}
        for dimension, rows in read_scores(out).items()
    }
    for key in found.back.ids:
        row: Mapping[str, Any] = found.back.rows[key]
        scores.setdefault(str(row["dimension"]), {})[key] = float(row["score"])
    if absent := sorted(config.targets.keys() - scores.keys()):
        raise InputError(f"--balance {absent[0]}: {out} has no such dimension; it has {', '.join(sorted(scores))}")
    result = balanced(scores, config.targets, seed)
    left = _flat(result.ids.values())
    found.kept = [key for key in found.kept if key in left]
    found.back.only(left)
    found.left_out = dict(result.left_out)


def _flat(parts: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(key for part in parts for key in part)


def _seed(out: str, asked: Asked) -> int:
    if asked.seed is not None:
        return asked.seed
    _, run = read_run(out)
    return int(root_run(run).get("planning", {}).get("seed", 0))
