"""Where a run stands at this moment: what the live line shows, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from annotators.lanes import Lane


@dataclass(frozen=True)
class LaneProgress:
    """One model.

    Attributes:
        window: calls at once it is allowed now; below the configured number after 429s.
        waiting: requests held back by a limit.
        paused: seconds until a shared pause ends, 0 for none.
        tokens_in, tokens_out, usd: of the answers made in this process; ledger hits cost nothing now.
        throttled_seconds: the sum of all shared pauses, what Dataflow calls throttling.
    """

    name: str
    model: str
    answers: int
    ledger_hits: int
    in_flight: int
    window: int
    waiting: int
    throttled: int
    retries: int
    repairs: int
    failures: int
    tokens_in: int
    tokens_out: int
    usd: float
    paused: float
    throttled_seconds: float


@dataclass(frozen=True)
class Progress:
    """A snapshot of an engine: items ended and under way, seconds since its start, and each model."""

    seconds: float
    done: int
    under_way: int
    lanes: tuple[LaneProgress, ...]

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes)

    @property
    def answers(self) -> int:
        return sum(lane.answers for lane in self.lanes)

    @property
    def ledger_hits(self) -> int:
        return sum(lane.ledger_hits for lane in self.lanes)

    @property
    def throttled(self) -> int:
        """429s so far."""
        return sum(lane.throttled for lane in self.lanes)

    @property
    def tokens(self) -> int:
        return sum(lane.tokens_in + lane.tokens_out for lane in self.lanes)

    @property
    def usd(self) -> float:
        return sum(lane.usd for lane in self.lanes)


def progress_of(lanes: Iterable[Lane], now: float, seconds: float, done: int, under_way: int) -> Progress:
    """The snapshot; numbers of different lanes may be a moment apart."""
    return Progress(seconds, done, under_way, tuple(_lane(lane, now) for lane in lanes))


def _lane(lane: Lane, now: float) -> LaneProgress:
    gate, counts = lane.gate, lane.counts
    return LaneProgress(
        name=lane.name,
        model=lane.model,
        answers=counts.answers,
        ledger_hits=counts.ledger_hits,
        in_flight=gate.in_flight,
        window=int(gate.window),
        waiting=gate.waiting,
        throttled=counts.throttled,
        retries=counts.retries,
        repairs=counts.repairs,
        failures=counts.failures,
        tokens_in=lane.paid.tokens_in,
        tokens_out=lane.paid.tokens_out,
        usd=lane.paid.usd,
        paused=max(0.0, gate.paused_until - now),
        throttled_seconds=gate.paused_seconds,
    )
