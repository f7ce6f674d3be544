"""The way of one request: ledger, claim, call, ledger, parse, and the repairs where the answer is not usable."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from annotators import events
from annotators.batch_api import Take
from annotators.calling import Caller
from annotators.errors import Deferred, Failure, FinalError, RepairableError, Stop, Stopped, stop_of_ledger
from annotators.interface import Answer, Request
from annotators.keeping import Keeper, Outcome
from annotators.lanes import Lane
from annotators.ledger import Claim, Entry, Ledger, LedgerError
from annotators.parsing import Parser, parsed_answer, repair_message
from annotators.tally import Tally
from schemas.draft import ErrorClass
from schemas.references import ImageRef

log = logging.getLogger(__name__)

MOST_REPAIRS = 2
_FIRST_LOOK, _LAST_LOOK = 0.1, 2.0  # seconds between two looks at a key that another process is asking

Spend = Callable[[str], Tally]


class Takes(Protocol):
    """What batch rounds put before asking; see `annotators.batching.Batching`."""

    def waits(self, lane: Lane, request: Request) -> bool: ...

    def held(self, lane: Lane, request: Request) -> bool: ...

    async def take(self, lane: Lane, request: Request) -> Take: ...


@dataclass(frozen=True)
class _Stored:
    """An answer and what it costs whoever gets it: a call if it was made now, else a ledger hit."""

    entry: Entry
    hit: bool

    def count(self, *tallies: Tally) -> None:
        e = self.entry
        for tally in tallies:
            tally.add(hit=self.hit, tokens_in=e.tokens_in, tokens_out=e.tokens_out, usd=e.usd)


class Asker:
    """Asks for one process. All calls on one loop."""

    def __init__(self, ledger: Ledger, caller: Caller, stopping: asyncio.Future[Stop]) -> None:
        self._ledger, self._caller, self._stopping = ledger, caller, stopping
        self._keeper = Keeper(ledger)
        self._asking: dict[str, asyncio.Future[_Stored]] = {}
        self.batching: Takes | None = None
        """Set during batch rounds: it takes requests that the ledger lacks instead of their being asked.

        Such a round goes through what the run will go through again, so what is used is counted in the run alone.
        """

    async def ask(
        self, lane: Lane, request: Request, parser: Parser | None, spend: Spend, prompt: str = ""
    ) -> Answer[Any]:
        """The parsed answer to `request`, repaired at most twice.

        Args:
            spend: gives the tally of a model, in which each answer is counted, also of those that end in a failure.
            prompt: the hash of the template, for the answer's provenance.

        Raises:
            Failure: the request has no usable answer.
            Stopped: the run ends before there was one.
        """
        used = Tally()
        current = request
        for repair in range(MOST_REPAIRS + 1):
            stored = await self._stored(lane, current)
            stored.count(used, spend(lane.model), *(() if self.batching else (lane.used,)))
            entry = stored.entry
            try:
                value = parsed_answer(request, entry, parser)
            except FinalError as error:
                raise _failure(lane, current, entry, error.reason, error.detail, repair) from error
            except RepairableError as error:
                if repair == MOST_REPAIRS:
                    detail = " ".join(error.defects)
                    raise _failure(lane, current, entry, error.reason, detail, repair, ErrorClass.REPAIRABLE) from error
                lane.counts.repairs += 1
                message = repair_message([lane.blot(defect) for defect in error.defects], repair + 1)
                _tell_repair(current, error, repair + 1)
                current = request.repaired(message, repair + 1)
                continue
            return Answer(
                parsed=value,
                text=entry.text,
                model=lane.model,
                key=current.key,
                image=self._image(entry) if entry.blob else None,
                prompt=prompt,
                note=entry.note,
                attempts=repair + 1,
                usage=used.usage,
            )
        raise AssertionError("unreachable")

    async def _stored(self, lane: Lane, request: Request) -> _Stored:
        """The answer from the ledger, from whoever asks the same at this moment, or from the provider."""
        if self._stopping.done():
            raise Stopped(self._stopping.result())
        if request.modality == "text" and not lane.provider.capabilities.stores_text:
            entry, _ = await self._call(lane, request, keep=False)
            return _Stored(entry, hit=False)
        key = request.key
        while (running := self._asking.get(key)) is not None:
            await asyncio.wait([running])  # `await running` would cancel it for everyone when this task is cancelled
            if not running.cancelled():
                return _Stored(_shared(running).entry, hit=True)
        mine = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            stored = await self._fetched(lane, request)
        except (Failure, Stopped, Deferred) as error:
            mine.set_exception(error)
            mine.exception()  # seen: nobody need wait for it
            raise
        except BaseException:
            mine.cancel()
            raise
        finally:
            del self._asking[key]
        mine.set_result(stored)
        return stored

    async def _fetched(self, lane: Lane, request: Request) -> _Stored:
        key, look = request.key, _FIRST_LOOK
        try:
            while True:
                entry = await self._ledger.get(key)
                if entry is not None:
                    lane.counts.ledger_hits += self.batching is None
                    _tell_hit(request, entry)
                    if not entry.refusal and (request.modality == "text" or entry.blob):
                        lane.health.proven()
                    return _Stored(entry, hit=True)
                if self.batching is not None and self.batching.waits(lane, request):
                    raise Deferred
                claim = await self._ledger.claim(key)
                if claim is Claim.OURS:
                    break
                if claim is Claim.HELD:
                    if self.batching is not None and self.batching.held(lane, request):
                        raise Deferred
                    await asyncio.wait([self._stopping], timeout=look)
                    look = min(_LAST_LOOK, look * 1.5)
                if self._stopping.done():
                    raise Stopped(self._stopping.result())
            kept = False
            try:
                if self.batching is not None and (taken := await self.batching.take(lane, request)) is not Take.ONLINE:
                    kept = taken is Take.UNDER_WAY  # the claim holds until the batch has answered or given up
                    raise Deferred
                entry, kept = await self._call(lane, request, keep=True)
            finally:
                if not kept:
                    await self._ledger.release(key)
        except LedgerError as error:
            self._caller.stop(stop_of_ledger(error))
            raise Stopped(self._stopping.result()) from error
        return _Stored(entry, hit=False)

    async def _call(self, lane: Lane, request: Request, *, keep: bool) -> tuple[Entry, bool]:
        """Ask the provider; what was paid for is kept before anyone looks at it. Returns also whether it was kept."""
        try:
            outcome: Outcome = await self._caller.call(lane, request)
        except (FinalError, RepairableError) as error:
            outcome = error
        return await self._keeper.kept(lane, request.role, request.key if keep else "", outcome)

    def _image(self, entry: Entry) -> ImageRef:
        return ImageRef(
            uri=self._ledger.blobs.uri(entry.blob, entry.media_type),
            sha256=entry.blob,
            width=entry.width,
            height=entry.height,
            media_type=entry.media_type,
        )


def _shared(running: asyncio.Future[_Stored]) -> _Stored:
    """What came of the same request made by another item; its failure as an exception of our own."""
    error = running.exception()
    if error is not None:
        raise copy.copy(error)
    return running.result()


def _failure(
    lane: Lane,
    request: Request,
    entry: Entry,
    reason: str,
    detail: str,
    repair: int,
    error_class: ErrorClass = ErrorClass.FINAL,
) -> Failure:
    lane.counts.failures += 1
    return Failure(
        request.role,
        reason,
        error_class,
        detail,
        attempts=repair + 1,
        last_answer=entry.text,
        request_key=request.key,
    )


def _tell_repair(request: Request, error: RepairableError, number: int) -> None:
    if log.isEnabledFor(logging.INFO):
        detail = " ".join(error.defects)
        fields = {**events.ids_of(request), "reason": error.reason, "detail": detail, "attempt": number}
        events.tell(log, logging.INFO, "repair", "asked again, %s: %s", error.reason, detail, **fields)


def _tell_hit(request: Request, entry: Entry) -> None:
    if log.isEnabledFor(logging.DEBUG):
        tokens = {"in": entry.tokens_in, "out": entry.tokens_out}
        fields = {**events.ids_of(request), "reason": entry.refusal, "tokens": tokens, "usd": entry.usd}
        events.tell(log, logging.DEBUG, "ledger_hit", "the ledger has this answer", **fields)
