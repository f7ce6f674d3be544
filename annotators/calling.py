"""One call with all its attempts: through the gate and the budget, to the provider, until an answer or an end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from annotators import events
from annotators.budget import Budget
from annotators.errors import (
    Failure,
    FinalError,
    RepairableError,
    RetryableError,
    Stop,
    Stopped,
    StopRun,
    stop_of_store,
)
from annotators.interface import RawAnswer, Request
from annotators.lanes import Lane
from annotators.limits import GateClosed, Pass
from schemas.draft import ErrorClass
from storage.objects import StoreError

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
_A_LOOK = 0.05  # seconds between two looks at whether a model's first answer has come
# The number of the item that a request belongs to: requests of older items go first.
item_order: ContextVar[int] = ContextVar("item_order", default=0)
_ASKS = itertools.count()


def pause_before(attempt: int, error: RetryableError, rng: random.Random) -> float:
    """Seconds to wait after `attempt` (from 1) failed.

    What the provider asks for is a lower bound, with up to a tenth more so that callers do not return as one;
    without it, exponential with full jitter from half the step on.
    """
    step = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 16))
    if error.retry_after is not None:
        return max(0.0, error.retry_after) + rng.uniform(0.0, min(1.0, 0.1 * error.retry_after + 0.05))
    return rng.uniform(step / 2, step)


if sys.version_info >= (3, 11):

    async def _within(seconds: float, answer: Coroutine[Any, Any, RawAnswer]) -> RawAnswer:
        async with asyncio.timeout(seconds):  # wait_for would run each call as a task of its own
            return await answer

else:

    async def _within(seconds: float, answer: Coroutine[Any, Any, RawAnswer]) -> RawAnswer:
        return await asyncio.wait_for(answer, seconds)


class Caller:
    """Makes calls for one process. `stop` is called with what ends the run; `stopping` is done from then on."""

    def __init__(
        self, budget: Budget, stopping: asyncio.Future[Stop], stop: Callable[[Stop], object], rng: random.Random
    ) -> None:
        self._budget, self._stopping, self.stop, self._rng = budget, stopping, stop, rng

    async def call(self, lane: Lane, request: Request) -> RawAnswer:
        """Ask until there is an answer.

        Raises:
            FinalError, RepairableError: the provider's word on it; with `raw` where it was paid for.
            Failure: of class retryable, when attempts or time are used up.
            Stopped: the run ends before there was an answer.
        """
        loop = asyncio.get_running_loop()
        ask, tries, first = next(_ASKS), 0, 0.0
        attempts = itertools.count(1)
        events.asked.set(request)
        try:
            while True:
                passed = await self._enter(lane, request)
                first = first or passed.begun
                try:
                    raw = await self._attempt(lane, request, passed, ask)
                    if log.isEnabledFor(logging.DEBUG):
                        _tell_answer(raw, loop.time() - passed.begun, next(attempts))
                    return raw
                except (FinalError, RepairableError) as error:
                    if log.isEnabledFor(logging.DEBUG):
                        _tell_answer(error.raw, loop.time() - passed.begun, next(attempts), error.reason)
                    raise
                except RetryableError as error:
                    attempt = next(attempts)
                    tries += not error.throttled
                    pause = pause_before(attempt if error.throttled else tries, error, self._rng)
                    self._note_failure(lane, passed, ask, error, pause)
                    used_up = tries >= lane.config.max_attempts and not lane.health.outage
                    if used_up or loop.time() + pause - first > lane.config.total_time:
                        lane.counts.failures += 1
                        raise Failure(
                            request.role,
                            error.reason,
                            ErrorClass.RETRYABLE,
                            lane.blot(error.detail),
                            attempts=attempt,
                            request_key=request.key,
                        ) from error
                    lane.counts.retries += 1
                    _tell_retry(lane, error, attempt, pause)
                    await self._sleep(pause)
        finally:
            lane.health.ended(ask)
            events.asked.set(None)

    async def _enter(self, lane: Lane, request: Request) -> Pass:
        if self._stopping.done():
            raise Stopped(self._stopping.result())
        try:
            passed = await lane.gate.enter(lane.expected_tokens(request), item_order.get())
        except GateClosed:
            raise Stopped(self._stopping.result()) from None
        try:
            return replace(passed, usd=await self._set_aside(lane, request))
        except BaseException:
            lane.gate.leave(passed, used=0.0)
            raise

    async def _set_aside(self, lane: Lane, request: Request) -> float:
        """Dollars set aside in the budget for one call; nothing for a model that costs nothing.

        Before a model's first answer they are a guess. Where the guess does not fit into what is left, one call goes
        through all the same, alone, and the others wait for what it really costs.

        Raises:
            Stopped: the budget is spent, or the run ends.
        """
        while not self._stopping.done():
            if not lane.provider.capabilities.remote:
                return 0.0
            expected = lane.expected_usd(request)
            refused = self._budget.reserve(expected)
            if refused is not None and not lane.known and not lane.asking:
                expected, refused = 0.0, self._budget.reserve(0.0)
            if refused is None:
                return expected
            if lane.known or not lane.asking:
                self.stop(refused)
            else:
                await asyncio.wait([self._stopping], timeout=_A_LOOK)
        raise Stopped(self._stopping.result())

    async def _attempt(self, lane: Lane, request: Request, passed: Pass, ask: int) -> RawAnswer:
        """One attempt, with its books kept whatever comes of it."""
        paid = None
        tokens: float | None = None
        lane.asking += 1
        try:
            raw = lane.priced(await self._answer(lane, request))
            self._note_answer(lane, request, raw, passed, ask)
            paid, tokens = raw.usd, raw.tokens_in + raw.tokens_out
            return raw
        except (FinalError, RepairableError) as error:
            _note_success(lane, passed)
            if error.raw is not None:
                paid, tokens = _noted(lane, error)
            self._note_refusal(lane, request, error, ask)
            raise
        except RetryableError as error:
            tokens = 0.0 if error.throttled else None
            if error.raw is not None:  # it is asked again, and what comes then is paid once more
                paid, tokens = _noted(lane, error)
            raise
        except StopRun as error:
            self.stop(Stop(error.exit_code, lane.blot(error.line)))
            raise Stopped(self._stopping.result()) from error
        finally:
            lane.asking -= 1
            lane.gate.leave(passed, tokens)
            if lane.provider.capabilities.remote:
                self._budget.settle(passed.usd, paid)

    async def _answer(self, lane: Lane, request: Request) -> RawAnswer:
        """The provider's one attempt; whatever it raises becomes one of the four classes."""
        await lane.room()
        try:
            if not lane.provider.capabilities.remote:
                return await lane.provider.answer(request)
            return await _within(lane.config.timeout, lane.provider.answer(request))
        except asyncio.TimeoutError:
            raise RetryableError("timeout", f"no answer within {lane.config.timeout:g} s") from None
        except (RetryableError, RepairableError, FinalError, StopRun):
            raise
        except StoreError as error:  # an image to be shown cannot be had, and no other one either
            stop = stop_of_store(error)
            raise StopRun(stop.exit_code, stop.line) from error
        except Exception as error:
            # A provider's own mistake, or an answer no one foresaw, costs one plan; where it costs the first twenty,
            # the rule for first answers stops the run.
            log.error("%s: unforeseen\n%s", lane.name, lane.blot(traceback.format_exc()))
            raise FinalError("provider_error", f"{type(error).__name__}: {error}") from error

    def _note_answer(self, lane: Lane, request: Request, raw: RawAnswer, passed: Pass, ask: int) -> None:
        _note_success(lane, passed)
        lane.learn(raw)
        lane.counts.answers += 1
        self._judge(lane, lane.health.answered(ask, lacks_image=request.modality == "image" and raw.image is None))

    def _note_refusal(self, lane: Lane, request: Request, error: FinalError | RepairableError, ask: int) -> None:
        if isinstance(error, FinalError):
            self._judge(lane, lane.health.refused(ask, error))
        else:
            self._judge(lane, lane.health.answered(ask, lacks_image=request.modality == "image"))

    def _note_failure(self, lane: Lane, passed: Pass, ask: int, error: RetryableError, pause: float) -> None:
        if error.throttled:
            lane.counts.throttled += 1
            if lane.gate.throttled(passed, pause, quota=error.quota):
                _tell_pause(lane, error)
        else:
            lane.gate.succeeded(passed, grow=False)
        self._judge(lane, lane.health.failed(ask, passed.begun, error))

    def _judge(self, lane: Lane, stop: Stop | None) -> None:
        if stop is not None and lane.provider.capabilities.remote:
            self.stop(Stop(stop.exit_code, lane.blot(stop.line)))

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the run ends meanwhile."""
        await asyncio.wait([self._stopping], timeout=seconds)
        if self._stopping.done():
            raise Stopped(self._stopping.result())


def _noted(lane: Lane, error: FinalError | RepairableError | RetryableError) -> tuple[float, float]:
    """(dollars, tokens) of what was paid for though it is no answer; the lane learns from it."""
    assert error.raw is not None
    error.raw = raw = lane.priced(error.raw)
    lane.learn(raw)
    return raw.usd, raw.tokens_in + raw.tokens_out


def _note_success(lane: Lane, passed: Pass) -> None:
    """Note an answer that was no 429, and tell when the window is whole again after those that were."""
    if lane.gate.succeeded(passed):
        window = lane.gate.limits.in_flight
        message = "%s: 429s are over; %d calls at once again"
        events.tell(log, logging.INFO, "recovered", message, lane.name, window, window=window)


def _tell_answer(raw: RawAnswer | None, seconds: float, attempt: int, refusal: str = "") -> None:
    raw = raw or RawAnswer()
    events.tell(
        log,
        logging.DEBUG,
        "answer",
        "answered in %.3f s%s",
        seconds,
        f", but {refusal}" if refusal else "",
        seconds=seconds,
        attempt=attempt,
        reason=refusal,
        tokens={"in": raw.tokens_in, "out": raw.tokens_out},
        usd=raw.usd,
        image_bytes=len(raw.image) if raw.image else None,
    )


def _tell_retry(lane: Lane, error: RetryableError, attempt: int, pause: float) -> None:
    if log.isEnabledFor(logging.INFO):
        detail = lane.blot(error.detail)
        event, what = ("throttled", "a 429") if error.throttled else ("retry", error.reason)
        message = "%s: %s; asked again in %.1f s: %s"
        fields = {"attempt": attempt, "reason": error.reason, "detail": detail, "pause": pause}
        events.tell(log, logging.INFO, event, message, lane.name, what, pause, detail, **fields)


def _tell_pause(lane: Lane, error: RetryableError) -> None:
    window, pause = int(lane.gate.window), lane.gate.pause  # longer than the server asked for, after others
    events.tell(
        log,
        logging.WARNING,
        "pause",
        "%s: 429s; every caller pauses %.1f s, window %d",
        lane.name,
        pause,
        window,
        reason="quota" if error.quota else "throttled",
        pause=pause,
        window=window,
    )
