"""The live line: how far a run is. One line that stays in place on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

LOG_EVERY = 10.0


class Progress:
    """Shows numbers as one line.

    On a terminal the line is redrawn in place; elsewhere a plain line is written to stderr every ten seconds.

    Args:
        planned: how many samples this run has still to make.
        quiet: show nothing (a worker, whose parent shows the sum).
    """

    def __init__(self, planned: int, quiet: bool = False) -> None:
        self._planned, self._quiet = planned, quiet
        self._began = self._logged = time.monotonic()
        self._live = None
        if sys.stderr.isatty() and not quiet:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, numbers: dict[str, float]) -> None:
        """Show the numbers of now: `done`, `in_flight`, `throttled`, `tokens`, `usd`."""
        now = time.monotonic()
        line = line_of(numbers, self._planned, now - self._began)
        if self._live is not None:
            self._live.update(line, refresh=True)
        elif not self._quiet and now - self._logged >= LOG_EVERY:
            self._logged = now
            print(line, file=sys.stderr, flush=True)


def line_of(numbers: dict[str, float], planned: int, seconds: float) -> str:
    """The line itself: done of planned, calls in flight, 429s, tokens per minute, dollars, time left."""
    done = int(numbers.get("done", 0))
    parts = [f"{done:,} of {planned:,} annotated"]
    in_flight = int(numbers.get("in_flight", 0))
    parts.append(f"{in_flight} in flight" if in_flight else "scoring and writing" if done else "starting")
    if numbers.get("throttled"):
        parts.append(f"{int(numbers['throttled']):,} 429s")
    if numbers.get("tokens"):
        parts.append(f"{numbers['tokens'] / max(seconds, 1e-9) * 60:,.0f} tokens/min")
    if numbers.get("usd"):
        parts.append(f"${numbers['usd']:,.2f}")
    if 0 < done < planned and seconds > 1:
        parts.append(f"{_clock((planned - done) * seconds / done)} left")
    return " · ".join([*parts, f"{_clock(seconds)} so far"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
