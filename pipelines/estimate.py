"""What a run will ask, cost and take, before it is begun: sample plans, the rules, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotators.config import ModelConfig
from annotators.lanes import limits_of
from annotators.limits import Limits
from annotators.prices import Price, PriceList, price_notes, prices_of
from pipelines.asks import Ask, asks_of, seats_of
from pipelines.assumed import (
    FILTERED,
    KEPT_PLANS,
    REPAIRED,
    SECONDS,
    SENT,
    TEXT,
    THINKING_PER_SECOND,
    Span,
    thinking_tokens,
)
from pipelines.config import RunConfig
from pipelines.datasets import open_work
from pipelines.work import doubts
from schemas.errors import InputError

SAMPLES = 200
"""Plans that the rules are applied to."""
LOOKED_AT = 4000
"""Plans whose task and number of references are counted, so that those of the samples can be weighed."""
_QUANTITIES = ("calls", "tokens_in", "tokens_out")
Lane = tuple[str, str, str, str]


@dataclass(frozen=True)
class Ratios:
    """What one model was measured to do, to what the rules say of the same plans.

    Attributes:
        seconds: mean time of an answer by role, where it was measured.
    """

    calls: Span
    tokens_in: Span
    tokens_out: Span
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One model in one role, over the whole run.

    Attributes:
        usd: None where its price is not known.
    """

    role: str
    config: ModelConfig
    calls: Span
    tokens_in: Span
    tokens_out: Span
    usd: Span | None
    seconds: Span
    measured: bool


@dataclass(frozen=True)
class Pace:
    """One model at its limits.

    Attributes:
        bound: which limit sets its pace: `rpm`, `tpm`, `in_flight`.
    """

    model: str
    hours: Span
    bound: str


@dataclass(frozen=True)
class Estimate:
    """The whole.

    Attributes:
        hours: of the slowest model, which sets the pace; without the time that filters and shards take after it.
    """

    samples: int
    rows: tuple[Row, ...]
    paces: tuple[Pace, ...]
    notes: tuple[str, ...]

    @property
    def hours(self) -> Span:
        return Span(*(max((pace.hours.points[i] for pace in self.paces), default=0.0) for i in range(3)))

    def total(self, quantity: str) -> Span:
        """The sum of `calls`, `tokens_in`, `tokens_out` or `usd`."""
        found = [getattr(row, quantity) for row in self.rows]
        return sum((span for span in found if span is not None), Span.of(0))

    def of_model(self, model: str, quantity: str) -> Span:
        """The same of one model."""
        found = [getattr(row, quantity) for row in self.rows if row.config.model == model]
        return sum((span for span in found if span is not None), Span.of(0))


class Sampled:
    """A configuration with sample plans and what they would ask.

    The samples are stratified: each task with each number of references, on which nearly everything depends, counts by
    its share of many more plans.

    Attributes:
        weights: how many plans of the run each sample stands for.

    Args:
        count: how many plans, about.

    Raises:
        InputError: the configuration cannot be planned; the line begins with `path`.
    """

    def __init__(self, config: RunConfig, path: str, count: int = SAMPLES) -> None:
        try:
            self.work = open_work(config, path)
            self.price_list = PriceList(config.prices)
            self.prices = prices_of(config.models, self.work.roles, self.price_list)
            self.limits = limits_of(config.models, self.work.roles)
            seats = seats_of(config.models, self.work.roles)
        except InputError as error:
            raise InputError(str(error) if str(error).startswith(path) else f"{path}: {error}") from error
        self.config, self.recipe = config, self.work.recipe()
        planned = self.work.planned
        looked_at: list[Any] = []
        for split, ordinals in spread(planned, LOOKED_AT).items():
            looked_at += self.work.plans(split, ordinals)
        self.whole = sum(planned.values())
        self.plans, self.weights = stratified(looked_at, count, self.whole)
        self.asks = asks_of(self.recipe, self.work.judge(), self.plans, seats, self.prices)

    def by_model(self, at: int) -> dict[str, dict[str, float]]:
        """What the plan at that place asks by the rules: {model: {calls, tokens_in, tokens_out}}."""
        found: dict[str, dict[str, float]] = {}
        for ask in self.asks[at]:
            sums = found.setdefault(ask.config.model, dict.fromkeys(_QUANTITIES, 0.0))
            sums["calls"] += 1
            sums["tokens_in"] += ask.tokens_in
            sums["tokens_out"] += ask.tokens_out.expected
        return found


def spread(planned: Mapping[str, int], count: int) -> dict[str, list[int]]:
    """Ordinals of about `count` plans, evenly over each split and at least one of each that has any."""
    whole = sum(planned.values())
    found = {}
    for split, plans in planned.items():
        found[split] = evenly(plans, min(plans, max(1, round(count * plans / whole))))
    return found


def stratified(plans: Sequence[Any], count: int, whole: int) -> tuple[list[Any], list[float]]:
    """(samples, weights): about `count` of the plans, some of each kind, with weights that add up to `whole`."""
    kinds: dict[tuple[str, str], list[Any]] = {}
    for plan in plans:
        kinds.setdefault((plan.split, plan.kind), []).append(plan)
    samples, weights = list[Any](), list[float]()
    for _, of_kind in sorted(kinds.items()):
        n = min(len(of_kind), max(1, round(count * len(of_kind) / len(plans))))
        samples += [of_kind[at] for at in evenly(len(of_kind), n)]
        weights += [whole * len(of_kind) / len(plans) / n] * n
    return samples, weights


def evenly(whole: int, count: int) -> list[int]:
    """`count` of the numbers below `whole`, evenly spaced."""
    return [int((i + 0.5) * whole / count) for i in range(count)]


def estimate(sampled: Sampled, measured: Mapping[str, Ratios] | None = None, notes: Sequence[str] = ()) -> Estimate:
    """The estimate of a run, from the rules, or from what was measured where it was."""
    config, roles, grouped = sampled.config, sampled.work.roles, dict[tuple[str, Lane], list[tuple[Ask, float]]]()
    for asks, weight in zip(sampled.asks, sampled.weights, strict=True):
        for ask in asks:
            grouped.setdefault((ask.role, ask.config.lane), []).append((ask, weight))
    rows = [
        _row(role, asks, sampled.prices[lane], (measured or {}).get(asks[0][0].config.model), _reached(role, roles))
        for (role, lane), asks in sorted(grouped.items(), key=lambda item: (roles.index(item[0][0]), item[0][1]))
    ]
    rejected = sum(weight for asks, weight in zip(sampled.asks, sampled.weights, strict=True) if not asks)
    said = [*notes, *doubts(sampled.work), *price_notes(config.models, roles, sampled.price_list)]
    if rejected:
        said.append(
            f"{rejected / sampled.whole:.0%} of the plans cannot be asked (more references than any painter takes, or "
            "unusable input) and are rejected before anything is paid"
        )
    return Estimate(sampled.whole, tuple(rows), tuple(_paces(rows, sampled.limits)), tuple(said))


def _reached(role: str, roles: Sequence[str]) -> Span:
    """The share of plans that come as far as a role: in Re-Align the writer may end one, and filters end others."""
    if "writer" not in roles or role == "writer":
        return Span.of(1)
    return KEPT_PLANS if role in ("reasoner", "painter") else KEPT_PLANS * FILTERED


def _row(
    role: str, asks: Sequence[tuple[Ask, float]], price: Price | None, ratios: Ratios | None, reached: Span
) -> Row:
    config, image = asks[0][0].config, asks[0][0].image
    clean = sum(weight for _, weight in asks)
    ruled_in = sum(ask.tokens_in * weight for ask, weight in asks)
    ruled_out = sum((ask.tokens_out * weight for ask, weight in asks), Span.of(0))
    if ratios is None:
        times = REPAIRED * reached
        calls, tokens_in, tokens_out = Span.of(clean) * times, TEXT * ruled_in * times, ruled_out * times
    else:
        calls, tokens_in = ratios.calls * clean, ratios.tokens_in * ruled_in
        tokens_out = ratios.tokens_out * ruled_out.expected
    if config.provider == "offline":
        calls = Span.of(clean)
    return Row(
        role=role,
        config=config,
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=None if price is None else _usd(price, calls, tokens_in, tokens_out, image, config.mode == "batch"),
        seconds=_seconds(role, config, image, ratios),
        measured=ratios is not None,
    )


def _usd(price: Price, calls: Span, tokens_in: Span, tokens_out: Span, image: bool, batch: bool) -> Span:
    points = zip(calls.points, tokens_in.points, tokens_out.points, strict=True)
    return Span(*(n * price.of_tokens(i / n, o / n, image=image, batch=batch) if n else 0.0 for n, i, o in points))


def _seconds(role: str, config: ModelConfig, image: bool, ratios: Ratios | None) -> Span:
    if ratios is not None and role in ratios.seconds:
        return Span(0.8, 1.0, 1.5) * ratios.seconds[role]
    return SECONDS["image" if image else "text"] + thinking_tokens(config) * (1 / THINKING_PER_SECOND)


def _paces(rows: Sequence[Row], limits: Mapping[tuple[str, ...], Limits]) -> list[Pace]:
    """Hours of each network model at its limits, its roles together; a batch API promises none."""
    lanes: dict[Lane, list[Row]] = {}
    for row in rows:
        if row.config.provider != "offline" and row.config.mode == "online":
            lanes.setdefault(row.config.lane, []).append(row)
    found = []
    for lane, of_lane in lanes.items():
        limit = limits[lane]
        busy = sum((row.calls * row.seconds for row in of_lane), Span.of(0)) * SENT
        needs = {"in_flight": busy * (1 / limit.in_flight / 3600)}
        if limit.rpm is not None:
            needs["rpm"] = sum((row.calls for row in of_lane), Span.of(0)) * SENT * (1 / limit.rpm / 60)
        if limit.tpm is not None:
            tokens = sum((row.tokens_in + row.tokens_out for row in of_lane), Span.of(0))
            needs["tpm"] = tokens * (1 / limit.tpm / 60)
        hours = Span(*(max(need.points[i] for need in needs.values()) for i in range(3)))
        found.append(Pace(lane[1], hours, max(needs, key=lambda name: needs[name].expected)))
    return found


def ratio(measured: Sequence[float], ruled: Sequence[float], floor: float) -> Span:
    """Measured to ruled, with a range of two standard errors, at least `floor` of itself to either side.

    The ratio of sums over the same plans, whose error (Cochran, Sampling Techniques, 6.4) is small where the rules get
    the differences between plans right.
    """
    n, sum_of_ruled = len(ruled), sum(ruled)
    if sum_of_ruled <= 0:
        return Span.of(1.0)
    found, mean = sum(measured) / sum_of_ruled, sum_of_ruled / n
    if n > 1:
        residuals = sum((y - found * x) ** 2 for y, x in zip(measured, ruled, strict=True)) / (n - 1)
        half = 2 * math.sqrt(residuals / n) / mean
    else:
        half = found * 0.5
    half = max(half, floor * found)
    return Span(max(0.0, found - half), found, found + half)
