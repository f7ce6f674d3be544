"""Limits from stored scores: such that a wanted share is dropped, or such that they agree best with labels.

A selection over what a run has stored: nothing is scored or asked again. The paper (arXiv 2601.05124) keeps 410K of
512K drafts, so its filters drop about 20 %; it says neither by which score nor at which limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

LIMITS: dict[str, tuple[str, str]] = {
    "clip_text": ("clip", "min_text"),
    "relation_margin": ("relations", "min_margin"),
    "sharpness": ("quality", "min_sharpness"),
    "contrast": ("quality", "min_contrast"),
    "edit_change": ("similarity", "min_edit_change"),
    "copy_paste": ("similarity", "max_copy_paste"),
    "drift_shift": ("drift", "max_shift"),
    "drift_zoom": ("drift", "max_zoom"),
    "drift_tint": ("drift", "max_tint"),
    "aesthetic": ("aesthetic", "min_aesthetic"),
    "preference": ("preference", "min_preference"),
    "omnicontext_pf": ("omnicontext", "min_pf"),
    "omnicontext_sc": ("omnicontext", "min_sc"),
    "omnicontext": ("omnicontext", "min_score"),
    "critic_execution": ("critic", "min_execution"),
    "critic_consistency": ("critic", "min_consistency"),
}
"""By column, the filter and the key whose limit it is compared with; what begins with max_ rejects what is above."""

Criterion = Literal["f1", "youden"]
Scores = Mapping[str, float]
"""By column; a score that was not computed is left out."""


@dataclass(frozen=True)
class Calibrated:
    """A limit for one column, and what it does to the samples it was found on.

    Attributes:
        limit: None where no limit comes as near to what is wanted as none at all.
        rows: samples that have the score.
        dropped: of these, beyond the limit.
        precision, recall: of keeping the good ones; None without labels.
        measure: F1, or Youden's J; None without labels.
    """

    column: str
    limit: float | None
    rows: int
    dropped: int
    precision: float | None = None
    recall: float | None = None
    measure: float | None = None


def is_highest(column: str) -> bool:
    """Whether the column's limit is the highest that passes."""
    return LIMITS[column][1].startswith("max_")


def passes(column: str, score: float, limit: float | None) -> bool:
    """As the filters compare. The one exception is `edit_change`, which must be above its limit, not at it."""
    if limit is None:
        return True
    return score <= limit if is_highest(column) else score >= limit


def by_drop(rows: Sequence[Scores], columns: Sequence[str], share: float) -> tuple[list[Calibrated], int]:
    """Limits that drop as near to `share` of the rows as can be, each column cutting off the same part of its scores.

    Rows that lack one of the columns are judged by those that they have.

    Returns:
        (a limit for each column, how many rows they drop together).
    """
    held = {column: sorted(row[column] for row in rows if column in row) for column in columns}

    def limits(part: float) -> dict[str, float | None]:
        return {column: _quantile(column, values, part) for column, values in held.items()}

    def lost(found: Mapping[str, float | None]) -> int:
        return sum(not all(passes(c, row[c], limit) for c, limit in found.items() if c in row) for row in rows)

    best = _nearest(limits, lost, share * len(rows), max((len(values) for values in held.values()), default=0))
    found = [
        Calibrated(column, limit, len(held[column]), sum(not passes(column, v, limit) for v in held[column]))
        for column, limit in best.items()
    ]
    return found, lost(best)


def by_labels(rows: Sequence[tuple[float, bool]], column: str, criterion: Criterion) -> Calibrated:
    """The limit whose keeping agrees best with the labels; of several the one that keeps most.

    Args:
        rows: (score, whether the sample is good).

    `f1` is the harmonic mean of precision (of what is kept, how much is good) and recall (of what is good, how much is
    kept); `youden` is recall less the share of the bad that is kept, which does not depend on how many there are.
    """
    ordered = sorted(rows, key=lambda row: row[0], reverse=not is_highest(column))
    good, bad = sum(label for _, label in rows), sum(not label for _, label in rows)
    best: tuple[float, int, int, float | None] = (-math.inf, 0, 0, None)
    kept_good = kept_bad = 0
    for number, (score, label) in enumerate(ordered):
        kept_good, kept_bad = kept_good + label, kept_bad + (not label)
        last = number + 1 == len(ordered)
        if not last and ordered[number + 1][0] == score:
            continue
        value = _measure(kept_good, kept_bad, good, bad, criterion)
        if value >= best[0]:
            best = (value, kept_good, kept_bad, None if last else score)
    value, kept_good, kept_bad, limit = best
    return Calibrated(
        column=column,
        limit=limit,
        rows=len(rows),
        dropped=len(rows) - kept_good - kept_bad,
        precision=kept_good / (kept_good + kept_bad) if kept_good + kept_bad else 0.0,
        recall=kept_good / good if good else 0.0,
        measure=max(value, 0.0),
    )


def _measure(kept_good: int, kept_bad: int, good: int, bad: int, criterion: Criterion) -> float:
    if criterion == "f1":
        return 2 * kept_good / (kept_good + kept_bad + good) if good else 0.0
    return (kept_good / good if good else 0.0) - (kept_bad / bad if bad else 0.0)


def _quantile(column: str, values: Sequence[float], part: float) -> float | None:
    """The limit that drops `part` of the sorted values or less; None where it would drop none."""
    count = int(part * len(values) + 1e-9)
    if not count or not values:
        return None
    at = len(values) - 1 - count if is_highest(column) else count
    limit = values[max(0, min(at, len(values) - 1))]
    return None if all(passes(column, value, limit) for value in (values[0], values[-1])) else limit


def _nearest(
    limits: Callable[[float], dict[str, float | None]],
    lost: Callable[[Mapping[str, float | None]], int],
    wanted: float,
    steps: int,
) -> dict[str, float | None]:
    """Of the limits at every part k/steps the ones that lose nearest to what is wanted; fewer where two are as near.

    What is lost grows with the part, so halving finds it.
    """
    low, high = 0, steps
    while low < high:
        middle = (low + high + 1) // 2
        if lost(limits(middle / steps)) <= wanted:
            low = middle
        else:
            high = middle - 1
    under = limits(low / steps) if steps else limits(0.0)
    over = limits(min(low + 1, steps) / steps) if steps else under
    return over if abs(lost(over) - wanted) < abs(lost(under) - wanted) else under
