"""Balance: rows chosen so that the histogram of their scores has a target shape.

A selection over stored scores: it returns ids, and nothing is asked, rejected or forgotten. FIRM's data have such
shapes (arXiv 2603.12247, Table 6), but the paper does not say how they came about; the rule here is our own.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

SCALE = (1, 2, 3, 4, 5)
"""The scores a judge may give; `uniform` weighs them alike."""

Histogram = dict[float, int]
"""How many rows have each score."""


@dataclass(frozen=True)
class Balance:
    """What was chosen, by dimension.

    Attributes:
        ids: sorted.
        before, after: of all rows, and of the chosen ones; scores in order.
        left_out: scores with a weight that no row has; the shape is that of the others.
    """

    ids: dict[str, tuple[str, ...]]
    before: dict[str, Histogram]
    after: dict[str, Histogram]
    left_out: dict[str, tuple[float, ...]]


def balanced(
    scores: Mapping[str, Mapping[str, float]], targets: Mapping[str, Mapping[float, float]], seed: int
) -> Balance:
    """As many rows as have the target shape: for the largest N, round(N * w_k) rows of each score k.

    Each score's rows are taken in `draw_order`, so further rows never change which of two goes before the other, and
    what has the shape already is kept whole.

    Args:
        scores: by dimension, then by id. A dimension without a target is kept whole.
        targets: by dimension, the weight of each score: 0 or more, in any unit. A score without a weight is dropped.
    """
    ids: dict[str, tuple[str, ...]] = {}
    left_out: dict[str, tuple[float, ...]] = {}
    for dimension, rows in scores.items():
        by_score: dict[float, list[str]] = {}
        for key, score in rows.items():
            by_score.setdefault(score, []).append(key)
        weights = targets.get(dimension)
        if weights is None:
            ids[dimension] = tuple(sorted(rows))
            continue
        left_out[dimension] = tuple(sorted(k for k, weight in weights.items() if weight > 0 and k not in by_score))
        counts = shaped({score: len(keys) for score, keys in by_score.items()}, weights)
        chosen = [key for score, n in counts.items() for key in draw_order(by_score[score], seed)[:n]]
        ids[dimension] = tuple(sorted(chosen))
    return Balance(
        ids=ids,
        before={dimension: histogram(rows.values()) for dimension, rows in scores.items()},
        after={dimension: histogram(scores[dimension][key] for key in keys) for dimension, keys in ids.items()},
        left_out={dimension: found for dimension, found in left_out.items() if found},
    )


def shaped(available: Mapping[float, int], weights: Mapping[float, float]) -> dict[float, int]:
    """How many rows of each score to keep: round(N * w_k), for the largest N with no more than there are of any k.

    Rounding to the nearest (Webster's method) makes the rule its own fixed point: what it has shaped, it keeps.
    Reckoned in fractions, so that 0.1 + 0.2 is 0.3. Scores that nobody has, or that weigh nothing, are not in it.
    """
    shares = {k: Fraction(str(weight)) for k, weight in weights.items() if weight > 0 and available.get(k)}
    if not shares:
        return {}
    half = Fraction(1, 2)
    # Just below this N the scarcest score is used up; at it, its share would round to a row that is not there.
    n = min((available[k] + half) / share for k, share in shares.items())
    return {k: math.ceil(n * share - half) for k, share in shares.items()}


def draw_order(ids: Iterable[str], seed: int) -> list[str]:
    """The ids in an order that depends on nothing but the seed and each id: that of sha256(seed, id)."""
    return sorted(ids, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())


def histogram(scores: Iterable[float]) -> Histogram:
    """How many there are of each score, in the order of the scores."""
    return dict(sorted(Counter(scores).items()))


def _shape(given: Any) -> Any:
    wanted = "must be `uniform`, or a weight for each score from 1 to 5, such as {1: 0.26, 2: 0.11, 3: 0.63}"
    if given is None or given == "uniform":
        return given
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{wanted}; not {given!r}")
    for score, weight in given.items():
        if isinstance(score, bool) or str(score) not in map(str, SCALE):
            raise ValueError(f"{score!r} is no score; it {wanted}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ValueError(f"the weight of {score} is {weight!r}; it must be a number, 0 or more")
    if not any(given.values()):
        raise ValueError("every weight is 0, which would keep nothing; give one of the scores a weight")
    return {int(score): weight for score, weight in given.items()}


Shape = Annotated[Literal["uniform"] | dict[int, float] | None, BeforeValidator(_shape)]


class BalanceConfig(BaseModel):
    """`balance:` of a run of critic labels: per dimension `uniform`, or the weight of each score.

    A dimension that is left out is kept whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    execution: Shape = None
    consistency: Shape = None
    instruction_following: Shape = None
    quality: Shape = None

    @property
    def targets(self) -> dict[str, dict[float, float]]:
        """The weights of every dimension that has a shape."""
        shapes = {name: getattr(self, name) for name in type(self).model_fields}
        uniform = dict.fromkeys(SCALE, 1.0)
        weights = {name: uniform if s == "uniform" else s for name, s in shapes.items() if s is not None}
        return {name: {float(score): weight for score, weight in found.items()} for name, found in weights.items()}
