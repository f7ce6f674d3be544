"""Stored scores, from the index files alone: by dimension, and as histograms before and after a balance."""

from __future__ import annotations

from collections import Counter
from typing import Any

from schemas.errors import InputError
from shards.copying import selection_of
from shards.indexes import Index, digest_of_tars, read_indexes
from shards.manifest import finished_run, read_run
from shards.names import BALANCED, RUN
from storage import paths


def read_scores(out: str, column: str = "score", by: str = "dimension") -> dict[str, dict[str, float]]:
    """By the value of the column `by`, the score of each id; rows without a score are left out.

    Raises:
        InputError: `out` is no finished run, or its index has no such columns.
        DamageError: an index cannot be read.
    """
    scores: dict[str, dict[str, float]] = {}
    for index in read_indexes(out, ["id", column, by]):
        ids, values, groups = (_values(out, index, name) for name in ("id", column, by))
        for key, value, group in zip(ids, values, groups, strict=True):
            if value is not None:
                if not isinstance(value, int | float):
                    raise InputError(f"{out}: the column {column} holds {value!r}, which is no score")
                scores.setdefault(str(group), {})[key] = float(value)
    return dict(sorted(scores.items()))


def histograms(out: str, column: str = "score", by: str = "dimension") -> dict[str, dict[str, int]]:
    """By the value of the column `by`, how many rows have each score: `{"execution": {"1": 12, "2": 30}}`.

    Raises: as `read_scores`.
    """
    return {
        group: {f"{score:.10g}": n for score, n in sorted(Counter(rows.values()).items())}
        for group, rows in read_scores(out, column, by).items()
    }


def balance_of(out: str) -> dict[str, Any] | None:
    """`{dimension: {before: {score: rows}, after: {...}}}` of a run and the balanced shards in its folder.

    None where there are none, or only such as are unfinished or were chosen from other shards than those here now.

    Raises:
        DamageError: an index cannot be read.
    """
    folder = paths.join(out, BALANCED)
    if not paths.exists(paths.join(folder, RUN)):
        return None
    try:
        run_hash, run = read_run(folder)
        if finished_run(folder, run_hash) is None:
            return None
        here = digest_of_tars(index.footer for index in read_indexes(out, ["id"]))
        if selection_of(run).get("tars") != here:
            return None
        before, after = histograms(out), histograms(folder)
    except InputError:
        return None
    return {
        dimension: {"before": counts, "after": {score: after.get(dimension, {}).get(score, 0) for score in counts}}
        for dimension, counts in before.items()
    }


def _values(out: str, index: Index, name: str) -> list[Any]:
    if name not in index.table.column_names:
        raise InputError(f"{paths.join(out, index.name.index_file)}: has no column {name}, so it cannot be chosen by")
    found: list[Any] = index.table.column(name).to_pylist()
    return found
