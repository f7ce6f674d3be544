"""How asking a model can end badly: four classes that providers raise, and two that a recipe sees.

A **provider** raises one of `RetryableError`, `RepairableError`, `FinalError` or `StopRun` and nothing else. The
engine acts on them; a **recipe** sees only `Failure` (this plan becomes a `Rejection`) and `Stopped` (the run is
ending and this plan is left for the next attempt). A recipe lets both pass: the engine catches them and hands them
over as the outcome of the item, so that neither ever reaches Beam as an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import StoppedError
from schemas.usage import Usage, total
from storage.objects import StoreError

if TYPE_CHECKING:
    from annotators.interface import RawAnswer

LAST_ANSWER_LENGTH = 2000


class ProviderError(Exception):
    """Base of what a provider may raise."""


class RetryableError(ProviderError):
    """Nothing is wrong with the request: 429, 5xx, a timeout, a reset. Asked again after a pause.

    Attributes:
        reason: one word for counting: `throttled`, `timeout`, `server`, `connection`, `malformed` (a success that holds
            no answer).
        retry_after: seconds the provider asks to wait (Retry-After, Gemini's retryDelay); None where it says nothing.
        throttled: the answer was a 429. It is bounded by the total time only, never by the count of attempts.
        quota: the body names a quota, so that every caller of the model pauses at once.
        raw: what was paid for all the same, where the answer itself was lost (a picture that cannot be fetched).
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        retry_after: float | None = None,
        throttled: bool = False,
        quota: bool = False,
        raw: RawAnswer | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.raw = reason, detail, raw
        self.retry_after, self.throttled, self.quota = retry_after, throttled or quota, quota


class RepairableError(ProviderError):
    """The answer is not what was asked for; the model is asked again with only `defects`, at most twice.

    Attributes:
        defects: plain sentences that a model can act on.
        reason: one word for counting, used when no repair helped: `schema`, `grammar`, `no_image`, `bad_image`,
            `truncated`, `empty`.
        raw: what was paid for all the same, where a provider raises this.
    """

    def __init__(self, defects: Sequence[str], reason: str = "schema", *, raw: RawAnswer | None = None) -> None:
        super().__init__(" ".join(defects))
        self.defects, self.reason, self.raw = tuple(defects), reason, raw


class FinalError(ProviderError):
    """This request will never be answered: a safety block, a bad request, a plan that a painter cannot paint.

    Attributes:
        reason: one word for counting: `safety`, `bad_request`, `no_cutout`, `infeasible`, ...
        raw: what was paid for all the same; kept in the ledger, so that a rerun does not pay for the refusal again.
    """

    def __init__(self, reason: str, detail: str = "", *, raw: RawAnswer | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.raw = reason, detail, raw


class StopRun(ProviderError):
    """No request of this run can go on: a wrong key, an unknown model (exit 2), a spent daily quota (exit 3)."""

    def __init__(self, exit_code: int, line: str) -> None:
        super().__init__(line)
        self.exit_code, self.line = exit_code, line


@dataclass(frozen=True)
class Stop:
    """Why a run ends early: the exit code of the command and the one line it prints."""

    exit_code: int
    line: str


def stop_of_store(error: StoreError) -> Stop:
    """What a bucket that refuses or stays away means in the middle of a run: what is done stays, the rest waits."""
    return Stop(StoppedError.exit_code, f"{error}; then run the same command to go on")


def stop_of_ledger(error: Exception) -> Stop:
    """What a ledger that takes nothing more means; `error` is a `LedgerError`."""
    if isinstance(error.__cause__, StoreError):
        return Stop(StoppedError.exit_code, f"{error}; then run the same command to go on")
    return Stop(StoppedError.exit_code, f"{error}; mend it and run the same command to go on")


class Stopped(Exception):
    """The engine has stopped: this item was not finished, and its shard must not be committed."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop

    def __str__(self) -> str:
        return self.stop.line


class Deferred(Exception):
    """The request waits for a batch: this item is not finished, and a later round goes on with it."""


class Failure(Exception):
    """A plan ends here. Everything a `Rejection` says about it.

    Raised by the engine, and by a recipe itself where an answer ends the plan (`infeasible`).

    Attributes:
        stage: the role that was asked (`writer`, `reasoner`, `painter`, ...).
        attempts: answers asked for, repairs included; for a retryable failure, the times it was tried.
        last_answer: the model's last text, cut to 2,000 characters.
        instruction: what the models were asked to make, where a recipe had got that far.
        usage: by model, everything the item cost up to its end; filled in by the engine.
    """

    def __init__(
        self,
        stage: str,
        reason: str,
        error_class: ErrorClass = ErrorClass.FINAL,
        detail: str = "",
        *,
        attempts: int = 0,
        last_answer: str = "",
        request_key: str = "",
    ) -> None:
        super().__init__(stage, reason, error_class, detail)
        self.stage, self.reason, self.error_class, self.detail = stage, reason, error_class, detail
        self.attempts, self.request_key = attempts, request_key
        self.last_answer = last_answer[:LAST_ANSWER_LENGTH]
        self.instruction = ""
        self.usage: Mapping[str, Usage] = {}

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason}: {self.detail}"

    def rejection(self, item: Any) -> Rejection:
        """The record of this failure for a plan, or for a draft that had come so far."""
        draft = item if isinstance(item, Draft) else None
        plan = item if draft is None else draft.plan
        return Rejection(
            id=plan.id,
            ordinal=plan.ordinal,
            split=plan.split,
            task=getattr(plan, "task", ""),
            stage=self.stage,
            reason=self.reason,
            error_class=self.error_class,
            detail=self.detail,
            attempts=self.attempts,
            last_answer=self.last_answer,
            request_key=self.request_key,
            instruction=self.instruction,
            scores={} if draft is None else draft.scores,
            usage=total([{} if draft is None else draft.usage, dict(self.usage)]),
            draft=draft,
        )
