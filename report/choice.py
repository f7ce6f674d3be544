"""Which entries a report shows: kept samples (rows of one pair or image together) and rejections, fairly chosen."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from report.output import Output, Row

Item = TypeVar("Item")
_GROUPED = {"firm-edit": ("pair_id",), "firm-gen": ("prompt_id", "painting")}


class Chosen(NamedTuple):
    """What is shown.

    Attributes:
        kept: the rows of each entry.
        rejected: ids.
        of_kept, of_rejected: how many entries there are in all.
    """

    kept: list[list[Row]]
    rejected: list[str]
    of_kept: int
    of_rejected: int


def choose(output: Output, most: int) -> Chosen:
    """At most `most` entries: tasks, scores and reasons take turns, and in each the ids, which are hashes, decide.

    Where there are too many, rejections get a quarter of the places, or what kept samples leave free.
    """
    kept = in_turn((_stratum(output, rows), (rows, _key(output, rows))) for rows in _groups(output))
    rejected = in_turn(((row["stage"], row["reason"]), (row["id"], row["id"])) for row in output.rejects)
    places = max(most - len(kept), min(most // 4, len(rejected)))
    return Chosen(kept[: most - min(places, len(rejected))], rejected[:places], len(kept), len(rejected))


def in_turn(items: Iterable[tuple[Hashable, tuple[Item, str]]]) -> list[Item]:
    """The items, one of each stratum after another; in a stratum in the order of their keys.

    Args:
        items: (stratum, (item, key)).
    """
    strata: dict[Hashable, list[tuple[str, int, Item]]] = {}
    for number, (stratum, (item, key)) in enumerate(items):
        strata.setdefault(stratum, []).append((key, number, item))
    ordered = [sorted(found, key=lambda one: one[:2]) for _, found in sorted(strata.items(), key=lambda s: str(s[0]))]
    return [one[2] for rank in zip_longest(*ordered) for one in rank if one is not None]


def _groups(output: Output) -> Iterator[list[Row]]:
    """The rows of each entry; what belongs together lies in one shard."""
    columns = _GROUPED.get(output.dataset, ())
    for number, shard in enumerate(output.shards):
        names = [name for name in columns if name in shard.table.column_names]
        if not names:
            yield from ([Row(number, row)] for row in range(shard.table.num_rows))
            continue
        groups: dict[tuple[object, ...], list[Row]] = {}
        for row, key in enumerate(zip(*(shard.table.column(name).to_pylist() for name in names), strict=True)):
            groups.setdefault(key, []).append(Row(number, row))
        yield from groups.values()


def _cells(output: Output, rows: Sequence[Row], name: str) -> list[object]:
    table = output.shards[rows[0].shard].table
    return [table.column(name)[row.row].as_py() for row in rows] if name in table.column_names else []


def _stratum(output: Output, rows: Sequence[Row]) -> Hashable:
    """The task; of critic labels, the lowest score."""
    if len(rows) > 1 or output.dataset in _GROUPED:
        scores = [score for score in _cells(output, rows, "score") if isinstance(score, int | float)]
        return min(scores, default=0.0)
    return tuple(_cells(output, rows, "task"))


def _key(output: Output, rows: Sequence[Row]) -> str:
    return str(_cells(output, rows[:1], "id")[0])
