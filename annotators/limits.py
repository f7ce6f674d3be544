"""How fast one model may be asked: calls at once, requests and tokens per minute, and what a 429 does to all three.

A `Gate` stands before each model. Whoever wants to ask waits in it; the gate lets the oldest item's request through
first (so that samples finish in the order they began, and shards early) as soon as the window has room, no pause is
on, and both token buckets have enough. It lives on one loop and needs no lock; time is the loop's.

429s: a single one delays its own call and nobody else. When they exceed a fifth of the last 50 answers, or one names
a quota, every caller of the model pauses and the window halves, once per pause; with each success after it the
window grows back: quickly to near where it was throttled, from there by one call per round trip. A server that asks
for a shorter wait than it means is not hammered: pauses that follow one another double, from half a second on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

WATCHED = 50
SHARE = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds of a shared pause at least, where pauses follow one another
_ROUNDS_TO_GROW_BACK = 20  # round trips from an empty window to the full one, below where it was throttled
_NEAR = 0.75  # of the window at the last pause: from here on it grows by one call per round trip


class GateClosed(Exception):
    """The run ends: whoever waited in a gate, or comes to it, is sent away."""


@dataclass(frozen=True)
class Limits:
    """Calls at once, requests per minute, tokens per minute. None: no bound."""

    in_flight: int = 64
    rpm: float | None = None
    tpm: float | None = None

    def share(self, n: int) -> Limits:
        """The part of one of `n` workers; never less than one call at once."""
        return Limits(
            max(1, self.in_flight // n),
            None if self.rpm is None else self.rpm / n,
            None if self.tpm is None else self.tpm / n,
        )


class Bucket:
    """A token bucket: refilled by `per_minute`, holding at most what comes in `burst` seconds.

    The level may go below zero (an answer used more than was reserved), which later takers wait out.
    """

    def __init__(self, per_minute: float | None, now: float, burst: float = 1.0) -> None:
        self.rate = None if per_minute is None else per_minute / 60
        self.size = 0.0 if self.rate is None else max(1.0, self.rate * burst)
        self._level, self._at = self.size, now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 when it can be now. More than the bucket holds counts as all of it."""
        if self.rate is None:
            return 0.0
        self._level = min(self.size, self._level + (now - self._at) * self.rate)
        self._at = now
        lacking = min(amount, self.size) - self._level
        return max(0.0, lacking / self.rate) if lacking > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take what `wait` allowed; a negative amount is a refund."""
        self._level = min(self.size, self._level - amount)


@dataclass(order=True)
class _Waiter:
    order: tuple[int, int]
    tokens: float = field(compare=False)
    ready: asyncio.Future[None] = field(compare=False)


@dataclass(frozen=True)
class Pass:
    """What `enter` gave: when the call began, and how many tokens (and dollars, by the caller) are set aside for it."""

    begun: float
    tokens: float
    usd: float = 0.0


class Gate:
    """The limits of one model in one process. All calls on the loop that made it.

    `held` says what keeps the first of those who wait from going: `in_flight`, `pause`, `rpm`, `tpm`, or nothing.
    """

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self.limits = limits
        self.in_flight = 0
        self.window = float(limits.in_flight)
        self.paused_until = now
        self.paused_seconds = 0.0
        self.pauses = 0
        self.held = ""
        self._pause_began = now
        self._ceiling = self.window
        self._in_a_row = 0
        self._calm = 0
        self._loop = loop
        # Half a second's worth at most in one burst: requests that left evenly may still arrive in a heap.
        self._requests = Bucket(limits.rpm, now, burst=0.5)
        # A minute's tokens may come in one burst of long prompts; a second's worth would stall every one of them.
        self._tokens = Bucket(limits.tpm, now, burst=10.0)
        self._recent: deque[bool] = deque(maxlen=WATCHED)
        self._waiting: list[_Waiter] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        return sum(not w.ready.done() for w in self._waiting)

    @property
    def pause(self) -> float:
        """Seconds that every caller still has to wait because of 429s."""
        return max(0.0, self.paused_until - self._loop.time())

    async def enter(self, tokens: float = 0.0, priority: int = 0) -> Pass:
        """Wait until one more call may be made; lower priorities go first. End it with `leave`.

        Raises:
            asyncio.CancelledError: nothing was taken.
            GateClosed: the same.
        """
        if self._closed:
            raise GateClosed
        waiter = _Waiter((priority, next(self._numbers)), tokens, self._loop.create_future())
        heapq.heappush(self._waiting, waiter)
        self._pump()
        try:
            await waiter.ready
        except asyncio.CancelledError:
            if (
                waiter.ready.done() and not waiter.ready.cancelled() and not waiter.ready.exception()
            ):  # let through in the very moment it gave up
                self.leave(Pass(self._loop.time(), tokens), used=0.0)
            self._pump()
            raise
        return Pass(self._loop.time(), tokens)

    def leave(self, passed: Pass, used: float | None = None) -> None:
        """End a call. `used`: the tokens it really took; None where nobody knows."""
        self.in_flight -= 1
        if used is not None:
            self._tokens.take(used - passed.tokens)
        self._pump()

    def close(self) -> None:
        """Send everyone away; calls under way end by `leave` as ever."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.ready.done():
                waiter.ready.set_exception(GateClosed())
        self._pump()

    def succeeded(self, passed: Pass, *, grow: bool = True) -> bool:
        """Note an answer that was no 429; an error of the server's (`grow` false) does not widen the window.

        Returns whether the window, which 429s had narrowed, is whole again with this answer.
        """
        if passed.begun >= self._pause_began:
            self._recent.append(False)
            self._calm += 1
            if self._calm >= WATCHED:
                self._in_a_row = 0
        full = float(self.limits.in_flight)
        if grow and self.window < full:
            near = self.window >= _NEAR * self._ceiling
            rounds = full / _ROUNDS_TO_GROW_BACK
            self.window = min(full, self.window + (min(1.0, rounds) if near else rounds) / max(1.0, self.window))
            self._pump()
            return self.window >= full
        return False

    def throttled(self, passed: Pass, delay: float, *, quota: bool) -> bool:
        """Note a 429 that asks for `delay` seconds; returns whether it made everyone pause.

        A call that was sent before the last pause began says nothing about the time after it: it can lengthen that
        pause, but not halve the window again.
        """
        now = self._loop.time()
        if passed.begun < self._pause_began or now < self.paused_until:
            if now < self.paused_until:
                self._pause(now + delay, now)
            return False
        self._recent.append(True)
        if not quota and sum(self._recent) <= SHARE * WATCHED:
            return False
        self._ceiling = self.window
        self.window = max(1.0, self.window // 2)
        self.pauses += 1
        least = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._in_a_row - 1)) if self._in_a_row else 0.0
        self._in_a_row, self._calm = self._in_a_row + 1, 0
        self._recent.clear()
        self._pause_began = now
        self._pause(now + max(delay, least), now)
        return True

    def _pause(self, until: float, now: float) -> None:
        if until > self.paused_until:
            self.paused_seconds += until - max(now, self.paused_until)
            self.paused_until = until

    def _pump(self) -> None:
        """Let through whoever may go now; look again when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            first = self._waiting[0]
            if first.ready.done():
                heapq.heappop(self._waiting)
                continue
            if self.in_flight >= int(self.window):
                self.held = "in_flight"
                return  # `leave` and `succeeded` look again
            now = self._loop.time()
            pause = self.paused_until - now
            requests = self._requests.wait(1, now)
            wait = max(pause, requests, self._tokens.wait(first.tokens, now))
            if wait > 0:
                self.held = "pause" if pause >= wait else "rpm" if requests >= wait else "tpm"
                self._timer = self._loop.call_later(wait, self._pump)
                return
            self._requests.take(1)
            self._tokens.take(first.tokens)
            self.in_flight += 1
            heapq.heappop(self._waiting)
            first.ready.set_result(None)
        self.held = ""
