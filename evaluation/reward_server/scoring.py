"""What scores samples, whatever the reward: `critics` asks models, `surrogate` runs CLIP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evaluation.reward_server.samples import Sample


@dataclass(frozen=True)
class Scored:
    """What came of a sample.

    Attributes:
        scores: by dimension, raw; None, or left out, where there is none.
        reasonings: by dimension, what the critic said.
        error: why a score is None, one line; empty where none is.
        stopped: the line of the stop that left it unasked; empty where there was none.
    """

    scores: Mapping[str, float | None] = field(default_factory=dict)
    reasonings: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    stopped: str = ""


@dataclass(frozen=True)
class Halt:
    """Why nothing can be scored at present. `retry_after`: seconds; None where only a person can mend it."""

    line: str
    retry_after: float | None = None


class Scorer(Protocol):
    """Scores samples and makes rewards of the scores. All calls on the server's loop."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What it scores."""
        ...

    @property
    def side(self) -> int | None:
        """The longest side of the pixels it wants; None where it wants the encoded bytes alone."""
        ...

    @property
    def halted(self) -> Halt | None:
        """None while samples can be scored."""
        ...

    def start(self, samples: Sequence[Sample]) -> list[asyncio.Future[Scored]]:
        """One future per sample, in order, which is never cancelled and never an exception of a sample's making."""
        ...

    def rewards(self, scored: Sequence[Scored]) -> Sequence[float]:
        """One per sample, NaN where it could not be scored."""
        ...

    def about(self) -> dict[str, Any]:
        """Who scores, for the health endpoint: names, never keys or addresses."""
        ...

    def spent(self) -> float:
        """US dollars paid so far."""
        ...

    async def close(self) -> None: ...
