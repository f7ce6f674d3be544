"""Batch APIs: the same requests under the same ledger keys, at the batch price, asked before the run.

A **round** runs the recipe over every plan. A request that a model of `mode: batch` must answer and the ledger does
not have is taken instead of asked (`Batching.take`), and its item ends as deferred. What was taken goes out in batch
jobs; their results enter the ledger, and the next round gets one step further (the writer's answers make the
painter's requests). The rounds end when nothing more is taken; then the run goes on as if all had been cached.

What a batch leaves unanswered is asked online, and so are repairs, which are few. Jobs outlive their process: see
`annotators.batch_jobs`. Providers refuse batches below the limits they document (google-genai issue 1901), so how
many are enqueued, and how large, adapts to what is taken (`Room`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from annotators.batch_api import BatchState, Take
from annotators.batch_gathering import Gathering
from annotators.batch_jobs import Job, Jobs
from annotators.batch_patience import Patience
from annotators.batch_spool import Room, Spool, sweep
from annotators.batch_under_way import UnderWay
from annotators.budget import Budget
from annotators.errors import (
    FinalError,
    ProviderError,
    RetryableError,
    Stop,
    Stopped,
    StopRun,
    stop_of_ledger,
    stop_of_store,
)
from annotators.interface import Modality, Request
from annotators.keeping import Keeper
from annotators.lanes import Lane
from annotators.ledger import LedgerError
from schemas.errors import InputError
from storage.objects import StoreError

log = logging.getLogger(__name__)

FIRST_LOOK, LAST_LOOK = 5.0, 60.0  # seconds between two looks at a job
MOST_WAITING = 2  # full spools that wait where the provider has no room for another job
MOST_FAILURES = 3  # whole jobs failing one after the other, before the run stops


class Batching:
    """Takes requests, submits jobs and brings their results into the ledger; all on the engine's loop."""

    def __init__(
        self,
        keeper: Keeper,
        budget: Budget,
        jobs: Jobs,
        stopping: asyncio.Future[Stop],
        stop: Callable[[Stop], object],
        look: float = FIRST_LOOK,
    ) -> None:
        self._jobs = jobs
        self._stopping, self._stop_run = stopping, stop
        self._patience = Patience(stopping, stop)
        self._look = look
        self._rooms: dict[str, Room] = {}
        self._spools: dict[tuple[str, str, Modality], tuple[Lane, Spool]] = {}
        # Spool to lane, until it is submitted; a task that is cancelled at once closes nothing.
        self._sending: dict[Spool, str] = {}
        self._keeper = keeper
        self._under_way = UnderWay(budget)
        self._gathering = Gathering(keeper, self._under_way)
        self._elsewhere: dict[str, Job] = {}  # request key -> job that another process follows
        self._watching: set[str] = set()  # labels of those
        self._held: set[str] = set()  # requests that another process was asking when they were last wanted
        self._pausing = False
        self._pause = look
        self._lanes: dict[str, Lane] = {}
        self._renewing = asyncio.Lock()
        self._online: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0

    async def resume(self, lanes: Iterable[Lane]) -> None:
        """Take up the jobs that earlier processes left at the providers, and see what others follow: before each round.

        Raises:
            Stopped: they cannot be asked for.
        """
        self._lanes = {lane.digest: lane for lane in lanes}
        await asyncio.to_thread(sweep)
        try:
            await self._renew()
        except LedgerError as error:
            self._stop_run(stop_of_ledger(error))
            raise Stopped(self._stopping.result()) from error

    async def _renew(self) -> None:
        self._held.clear()
        ours, others = await asyncio.to_thread(self._jobs.taken_over, list(self._lanes))
        watched = [job for job in ours if job.label in self._watching]  # whoever watches it takes it up
        self._elsewhere = {key: job for job in (*others, *watched) for key in job.keys}
        for job in ours:
            if job not in watched:
                await self._take_up(self._lanes[job.lane], job)

    async def _take_up(self, lane: Lane, job: Job) -> None:
        if not job.name:
            name = await self._patience.result(lane, partial(lane.batch_api.find, job.label))
            if name is None:  # it died before the provider had it
                await asyncio.to_thread(self._jobs.drop, job)
                return
            job = job.named(name)
        log.info("%s: batch job %s of an earlier run, %d requests", lane.name, job.name, len(job.keys))
        self._under_way.take_up(job.keys, job.usd)
        await self._keeper.claim(job.keys)
        self._room(lane).accepted(job.label)
        self._begin(self._followed(lane, job))

    async def _watched(self, lane: Lane, job: Job) -> None:
        """Wait for a job that another process follows, or follow it where that process dies."""
        look = self._look
        while (found := await asyncio.to_thread(self._jobs.taken, job)) is True:
            await self._patience.wait(look)
            look = min(max(LAST_LOOK, self._look), look * 1.5)
        if isinstance(found, Job):
            await self._take_up(lane, found)
        for key in job.keys:
            self._elsewhere.pop(key, None)

    @property
    def jobs(self) -> int:
        """Jobs under way at the providers."""
        return sum(room.enqueued for room in list(self._rooms.values()))

    @property
    def answered(self) -> int:
        """Requests that batches have answered, those that still lie at the providers included."""
        return self._gathering.answered

    @property
    def taken(self) -> int:
        """Requests that batches have answered or are to answer."""
        return self._gathering.kept + len(self._under_way)

    def waits(self, lane: Lane, request: Request) -> bool:
        """Whether nothing is to be done for `request`, which the ledger lacks, in this round.

        It is in a job already, or enough spools wait to be sent: they lie on the disk.
        """
        if not self._wants(lane, request):
            return False
        if request.key in self._under_way or request.key in self._elsewhere:
            self._watch(lane, self._elsewhere.get(request.key))
            return True
        return self._crowded(lane)

    def _crowded(self, lane: Lane) -> bool:
        """Whether as many spools wait to be sent as there is room for at the provider, and a few."""
        room = self._room(lane)
        waiting = sum(digest == lane.digest for digest in self._sending.values())
        return waiting >= max(MOST_WAITING, room.most_jobs - room.enqueued)

    def held(self, lane: Lane, request: Request) -> bool:
        """Whether `request`, which another process is asking, is left to the next round, which comes after a pause."""
        if not self._wants(lane, request):
            return False
        self._held.add(request.key)
        if not self._pausing:
            self._pausing = True
            self._begin(self._paused())
        return True

    async def _paused(self) -> None:
        try:
            await self._patience.wait(self._pause)
            self._pause = min(max(LAST_LOOK, self._look), self._pause * 1.5)
        finally:
            self._pausing = False

    async def take(self, lane: Lane, request: Request) -> Take:
        """Put `request`, which the ledger lacks and this process has claimed, into a job to be.

        The claim is the caller's to end, unless the request is under way then.

        Raises:
            Stopped: the budget or the disk has no room for it.
            LedgerError: whether it is in a job of somebody who died cannot be seen.
        """
        key = request.key
        if not self._wants(lane, request):
            return Take.ONLINE
        if key in self._held:  # whoever held it may have died, and left a job with it
            async with self._renewing:
                if key in self._held:
                    await self._renew()
        if key in self._under_way:
            return Take.UNDER_WAY
        if key in self._elsewhere:
            self._watch(lane, self._elsewhere[key])
            return Take.LATER
        self._under_way.add(key)
        try:
            line = await lane.batch_api.line(key, request)
        except FinalError:  # an image that cannot be read: asking online says so
            self._under_way.drop(key)
            return Take.ONLINE
        if self._crowded(lane):  # by now: many are on their way here at once
            self._under_way.drop(key)
            return Take.LATER
        reserved = self._under_way.reserve(lane, request)
        if reserved is not True:
            self._under_way.drop(key)
        if isinstance(reserved, Stop):
            self._stop_run(reserved)
            raise Stopped(self._stopping.result())
        if reserved:
            try:
                self._spool(lane, request, line)
            except StopRun as error:
                self._under_way.given_up([key])
                self._stop_run(Stop(error.exit_code, error.line))
                raise Stopped(self._stopping.result()) from error
            self._pause = self._look
        return Take.UNDER_WAY if reserved else Take.LATER

    def _wants(self, lane: Lane, request: Request) -> bool:
        """Whether batches answer requests such as this one."""
        if not request.batch or request.repair or request.key in self._online:
            return False
        return request.modality != "image" or lane.provider.capabilities.batch_images

    def _spool(self, lane: Lane, request: Request, line: bytes) -> None:
        room = self._room(lane)
        slot = (lane.digest, request.role, request.modality)
        if slot in self._spools and not self._spools[slot][1].fits(line, room):
            self._send(*self._spools.pop(slot))
        if slot not in self._spools:
            self._spools[slot] = (lane, Spool(request.role, request.modality))
        self._spools[slot][1].add(request.key, line)

    def _watch(self, lane: Lane, job: Job | None) -> None:
        """Wait for a job of another process, now that something of it is wanted here."""
        if job is not None and job.label not in self._watching:
            self._watching.add(job.label)
            self._begin(self._watched(lane, job))

    async def settle(self) -> None:
        """Submit what was taken, and wait until every job has ended and its results are kept.

        Raises:
            Stopped: the run ends first; what is submitted goes on at the provider, for the next attempt.
        """
        for slot in list(self._spools):
            self._send(*self._spools.pop(slot))
        while self._tasks and not self._stopping.done():
            awaited: list[asyncio.Future[Any]] = [self._stopping, *self._tasks]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if self._stopping.done():
            await self.close()
            raise Stopped(self._stopping.result())

    async def close(self) -> None:
        """Let go of everything here; jobs at a provider go on there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for spool in (*self._sending, *(spool for _, spool in self._spools.values())):
            spool.close()
        self._sending.clear()
        self._spools.clear()
        await asyncio.to_thread(self._jobs.close)

    # -- one job ----------------------------------------------------------------------------------------------------

    def _send(self, lane: Lane, spool: Spool) -> None:
        self._sending[spool] = lane.digest
        self._begin(self._sent(lane, spool))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, Stopped):
            return
        if isinstance(error, LedgerError):
            self._stop_run(stop_of_ledger(error))
            return
        if isinstance(error, StoreError):
            self._stop_run(stop_of_store(error))
            return
        if isinstance(error, InputError | StopRun):
            self._stop_run(Stop(error.exit_code, str(error)))
            return
        log.error("a batch job failed here", exc_info=error)
        self._stop_run(Stop(1, f"unforeseen in a batch job: {type(error).__name__}: {error}"))

    async def _sent(self, lane: Lane, spool: Spool) -> None:
        """Submit one spool as soon as there is room, then follow its job to the end."""
        room = self._room(lane)
        try:
            async with room.turn():
                job = await self._submitted(lane, spool, room)
        finally:
            self._sending.pop(spool, None)
            spool.close()
        if job is not None:
            await self._followed(lane, job)

    async def _submitted(self, lane: Lane, spool: Spool, room: Room) -> Job | None:
        """The job, remembered; None where it was too large and goes out in halves."""
        splits = len(spool.keys) > 1
        if splits and len(spool.keys) > room.most_requests:  # there was more room when it was filled
            await self._send_halves(lane, spool)
            return None
        usd = self._under_way.usd(spool.keys)
        job = Job(lane.digest, lane.model, spool.role, spool.modality, tuple(spool.keys), usd=usd)
        await asyncio.to_thread(self._jobs.keep, job)
        path = await asyncio.to_thread(spool.path)
        submit = partial(lane.batch_api.submit, job.label, path)
        try:
            job = job.named(await self._patience.result(lane, submit, room, splits=splits))
        except RetryableError:
            await asyncio.to_thread(self._jobs.drop, job)
            await self._send_halves(lane, spool)
            return None
        room.accepted(job.label)
        await asyncio.to_thread(self._jobs.keep, job)
        log.info("%s: batch job %s submitted, %d requests", lane.name, job.name, len(job.keys))
        return job

    async def _send_halves(self, lane: Lane, spool: Spool) -> None:
        for half in await asyncio.to_thread(spool.halves):
            self._send(lane, half)

    async def _followed(self, lane: Lane, job: Job) -> None:
        """Look at a job until it ends; keep its results."""
        look, patience = self._look, self._patience
        while not (state := await patience.result(lane, lambda: lane.batch_api.state(job.name))).ended:
            self._gathering.told[job.label] = state.answered
            await patience.wait(look)
            look = min(max(LAST_LOOK, self._look), look * 1.5)
        await self._room(lane).ended(job.label, well=not state.failure)
        gone = await patience.result(lane, lambda: self._gathering.gathered(lane, job))
        self._gathering.told.pop(job.label, None)
        await self._keeper.release(self._under_way.left(job.keys))  # before another one here may claim them
        left = self._under_way.given_up(job.keys)
        await asyncio.to_thread(self._jobs.drop, job)
        try:
            await lane.batch_api.clear(job.name)
        except ProviderError as error:
            log.info("%s: the files of batch job %s stay there: %s", lane.name, job.name, lane.blot(str(error)))
        if (state.failure or gone) and len(left) == len(job.keys):
            self._note_failure(lane, job, state, gone)
            return
        self._failures = 0
        self._online |= left

    def _note_failure(self, lane: Lane, job: Job, state: BatchState, gone: str) -> None:
        """A job came to nothing: the next round takes its requests again, unless that is hopeless."""
        log.warning("%s: batch job %s failed: %s", lane.name, job.name, lane.blot(state.failure or gone))
        if not state.failure:
            return
        later_helps = self._room(lane).full(job.label)
        if state.full and (later_helps or len(job.keys) > 1):
            return
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise self._patience.stopped(lane, state.failure)

    # -- below ------------------------------------------------------------------------------------------------------

    def _room(self, lane: Lane) -> Room:
        if lane.digest not in self._rooms:
            self._rooms[lane.digest] = Room(lane.batch_api.most_requests, lane.batch_api.most_bytes)
        return self._rooms[lane.digest]
