"""Two outputs beside each other: what was set differently, and what came of it, plan by plan.

Everything but the reasonings is in the indexes; those are read from the tars, of at most `MOST_READ` samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.usage import Usage
from shards.columns import Output, read_output, read_records
from storage import paths

MOST_READ = 2_000
"""Samples kept in both whose JSON is read. Ids are hashes, so the first of them in order are a fair draw."""


_REST = ("record",)


class Change(NamedTuple):
    """A key of run.json, dotted, and its two values; None where it is not set."""

    key: str
    a: object
    b: object


class Spread(NamedTuple):
    """How a score is spread over the `known` samples that it was computed for: mean, and quantiles 0.1, 0.5, 0.9."""

    known: int
    mean: float
    low: float
    median: float
    high: float


class Share(NamedTuple):
    kept: int
    planned: int


class Pair(NamedTuple):
    """Plans that are in both outputs, by id, in order of their ids."""

    both: list[str]
    only_a: list[str]
    only_b: list[str]
    neither: list[str]


@dataclass(frozen=True)
class Difference:
    """What differs between two outputs.

    Attributes:
        settings: of run.json, prompts apart.
        prompts: by name, with their hashes.
        plans: how many are in both, only in A, only in B.
        pair: of the plans in both, where they were kept.
        reasons: of rejections, by reason: how many in A and in B.
        scores: by column; None where an output has no such column.
        tasks: by task.
        read: ids of the samples kept in both whose JSON was looked into, those apart that are alike to the byte.
        alike: how many of the samples kept in both have the same JSON and target, to the byte.
        kinds: of each sample that was read: which of `instruction`, `reasonings`, `target`, `scores` differ, or
            `record` where it is something else.
        counts: how many samples kept in both differ in instruction, target and scores, whether read or not.
    """

    a: Output
    b: Output
    settings: list[Change]
    prompts: list[Change]
    plans: tuple[int, int, int]
    pair: Pair
    reasons: dict[str, tuple[int, int]]
    scores: dict[str, tuple[Spread | None, Spread | None]]
    tasks: dict[str, tuple[Share, Share]]
    usage: dict[str, tuple[Usage, Usage]]
    alike: int
    read: list[str]
    kinds: dict[str, tuple[str, ...]]
    counts: dict[str, int]


def compare(a: str, b: str) -> Difference:
    """Compare the finished shards of two output folders.

    Raises:
        InputError: one of them is not the folder of a run, has nothing finished, or both are one folder.
        DamageError: a file cannot be read.
    """
    if paths.same(a, b):
        raise InputError(f"{b}: both folders are the same; name two")
    one, other = read_output(a), read_output(b)
    changes = sorted(_changes(one.run, other.run))
    every = [(output.kept.keys() | output.rejected.keys()) for output in (one, other)]
    pair = _pair(one, other, every[0] & every[1])
    differing = [key for key in pair.both if not _alike(one, other, key)]
    scored = _score_differs(one, other, differing)
    read = differing[:MOST_READ]
    kinds = _kinds(one, other, read, scored)
    return Difference(
        a=one,
        b=other,
        settings=[change for change in changes if not change.key.startswith("prompts.")],
        prompts=[Change(c.key.removeprefix("prompts."), c.a, c.b) for c in changes if c.key.startswith("prompts.")],
        plans=(len(every[0] & every[1]), len(every[0] - every[1]), len(every[1] - every[0])),
        pair=pair,
        reasons=_beside(_reasons(one), _reasons(other), 0),
        scores=_beside(_spreads(one), _spreads(other), None),
        tasks=_beside(_tasks(one), _tasks(other), Share(0, 0)),
        usage=_beside(one.usage, other.usage, Usage()),
        alike=len(pair.both) - len(differing),
        read=read,
        kinds=kinds,
        counts={
            "instruction": sum(one.kept[k].instruction != other.kept[k].instruction for k in differing),
            "target": sum(one.kept[k].target != other.kept[k].target for k in differing),
            "scores": len(scored),
        },
    )


def spread_out(difference: Difference, count: int) -> list[str]:
    """At most `count` plans in both outputs that ended differently, the kinds of difference in turn.

    A kind is what differs in a sample kept in both, or the reason why only one output kept it; the most frequent
    comes first, what differs in nothing that is shown comes last, and within a kind the ids are in order: the same
    plans each time.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for key in difference.pair.only_a:
        groups.setdefault(("only A", difference.b.rejected[key].reason), []).append(key)
    for key in difference.pair.only_b:
        groups.setdefault(("only B", difference.a.rejected[key].reason), []).append(key)
    for key, kinds in difference.kinds.items():
        groups.setdefault(kinds, []).append(key)
    ordered = [groups[kind] for kind in sorted(groups, key=lambda kind: (kind == _REST, -len(groups[kind]), kind))]
    return [key for key in chain.from_iterable(zip_longest(*ordered)) if key is not None][:count]


def _changes(a: object, b: object, key: str = "") -> Iterable[Change]:
    """Every leaf of two JSON values that differs; lists of unequal length are leaves."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in a.keys() | b.keys():
            yield from _changes(a.get(name), b.get(name), f"{key}.{name}" if key else name)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _changes(left, right, f"{key}.{i}")
    elif a != b:
        yield Change(key, a, b)


def _pair(a: Output, b: Output, common: set[str]) -> Pair:
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for key in sorted(common):
        kinds.setdefault((key in a.kept, key in b.kept), []).append(key)
    return Pair(*(kinds.get(kind, []) for kind in ((True, True), (True, False), (False, True), (False, False))))


def _alike(a: Output, b: Output, key: str) -> bool:
    one, other = a.kept[key], b.kept[key]
    return one.record == other.record and one.target == other.target


def _score_differs(a: Output, b: Output, keys: list[str]) -> set[str]:
    """Those of `keys` with a score that differs in a column of both outputs; not computed equals not computed."""
    rows = [np.array([output.kept[key].row for key in keys], dtype=np.int64) for output in (a, b)]
    differs = np.zeros(len(keys), dtype=bool)
    for name in a.scores.keys() & b.scores.keys():
        left, right = a.scores[name][rows[0]], b.scores[name][rows[1]]
        differs |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    return {key for key, one in zip(keys, differs.tolist(), strict=True) if one}


def _kinds(a: Output, b: Output, keys: list[str], scored: set[str]) -> dict[str, tuple[str, ...]]:
    records = read_records(a, keys), read_records(b, keys)
    kinds = {}
    for key in keys:
        one, other = a.kept[key], b.kept[key]
        differs = {
            "instruction": one.instruction != other.instruction,
            "reasonings": reasonings(records[0][key]) != reasonings(records[1][key]),
            "target": one.target != other.target,
            "scores": key in scored,
        }
        kinds[key] = tuple(kind for kind, does in differs.items() if does) or _REST
    return kinds


def reasonings(record: Mapping[str, Any]) -> list[str]:
    """The texts of a sample's reasonings, in order; of a row of critic data its judge's."""
    if "student_answer" in record:
        return [str(record["student_answer"])]
    return [str(one.get("text", "")) for one in record.get("reasonings") or ()]


def _beside(a: Mapping[str, Any], b: Mapping[str, Any], absent: Any) -> dict[str, Any]:
    return {key: (a.get(key, absent), b.get(key, absent)) for key in sorted(a.keys() | b.keys())}


def _reasons(output: Output) -> dict[str, int]:
    return dict(Counter(one.reason for one in output.rejected.values()))


def _tasks(output: Output) -> dict[str, Share]:
    kept = Counter(one.task for one in output.kept.values())
    planned = kept + Counter(one.task for one in output.rejected.values())
    return {task: Share(kept[task], count) for task, count in planned.items()}


def _spreads(output: Output) -> dict[str, Spread]:
    return {name: _spread(values[~np.isnan(values)]) for name, values in output.scores.items()}


def _spread(values: NDArray[np.float64]) -> Spread:
    if not values.size:
        return Spread(0, np.nan, np.nan, np.nan, np.nan)
    low, median, high = np.quantile(values, (0.1, 0.5, 0.9)).tolist()
    return Spread(int(values.size), float(values.mean()), low, median, high)
