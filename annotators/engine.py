"""The engine: one per process, one event loop in a thread of its own, shared by every pipeline of the process.

A stop is a state of it (`stopped`), never an exception in a caller's thread: from then on no request is begun, those
waiting end at once, those at a provider are waited for (their answers are paid), and every item still to come ends
as `stopped`, unasked.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from annotators import events, loops, registry
from annotators.asking import Asker
from annotators.batch_jobs import Jobs
from annotators.batching import Batching
from annotators.budget import Allowance, Budget, Part
from annotators.calling import Caller, item_order
from annotators.config import BudgetConfig, ModelConfig, ModelsConfig
from annotators.errors import Deferred, Failure, Stop, Stopped, stop_of_store
from annotators.interface import Models, Provider
from annotators.keeping import Keeper
from annotators.lanes import Lane, limits_of, merged
from annotators.ledger import Ledger, open_ledger
from annotators.models import BoundModels, Seat
from annotators.prices import PriceList, prices_of
from annotators.progress import Progress, progress_of
from annotators.spending import Journal
from annotators.window import Window
from schemas.errors import InputError
from schemas.usage import Usage
from storage.objects import StoreError

log = logging.getLogger(__name__)

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")
Recipe = Callable[[I, Models], Awaitable[R]]
INTERRUPTED = 130
_COLLECT_AFTER = 10_000  # new objects, between two looks of the garbage collector
GRACE = 10.0  # seconds that calls under way are given after Ctrl-C


class EngineSpec(BaseModel):
    """All that makes an engine, as plain data, so that a worker can be sent it.

    Attributes:
        roles: those the recipe asks; other roles of `models` are ignored.
        ledger: where answers are kept; None for the user's data directory.
        allowance: what this process may pay, after earlier attempts and beside other workers; default: the budget.
        account: where payments are noted, an output folder and one of its slices; default: nowhere.
        shares: workers times slices; this process takes that part of each limit.
        prices: a price list that goes before the shipped one.
        world: what the reference pool shows, for the offline provider.
        threads: for CPU work; None for one per core.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: ModelsConfig
    roles: tuple[str, ...]
    ledger: str | None = None
    budget: BudgetConfig = BudgetConfig()
    allowance: Allowance | None = None
    account: tuple[str, Part] | None = None
    shares: int = Field(default=1, ge=1)
    prices: str | None = None
    world: registry.World = "photos"
    threads: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Finished(Generic[I, R]):
    """An item and what came of it: exactly one of `result`, `failure`, `stopped` and `deferred` is there.

    Attributes:
        usage: by model, what the item cost, whatever came of it.
        deferred: it waits for a batch; only in batch rounds.
    """

    item: I
    result: R | None = None
    failure: Failure | None = None
    stopped: Stop | None = None
    usage: dict[str, Usage] = field(default_factory=dict)
    deferred: bool = False


class Engine:
    """Runs recipes.

    Args:
        make: builds the provider of a model; a test gives its own.
        ledger: one that is open already, closed with the engine; default: the one at `spec.ledger`.

    Raises:
        InputError: a role without a model, a provider that is not available, a painter that gives no images, limits
            that contradict each other, a ledger that cannot be written.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        make: Callable[[ModelConfig, str, registry.World], Provider] = registry.make,
        ledger: Ledger | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = loops.new_loop,
    ) -> None:
        _quieten_collector()
        self.spec = spec
        self._pid = os.getpid()
        self._loop = new_loop()
        self._lanes: dict[tuple[str, ...], Lane] = {}
        try:
            self._prices = prices_of(spec.models, spec.roles, PriceList(spec.prices))
            self._seats = {role: self._seats_of(role, make) for role in dict.fromkeys(spec.roles)}
            self.ledger = ledger or open_ledger(spec.ledger)
        except InputError:
            self._loop.close()
            raise
        self._stopped: Stop | None = None
        self._stopping: asyncio.Future[Stop] = self._loop.create_future()
        self._started = self._loop.time()
        self._orders = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = 0
        self._done_usd = 0.0
        self._closed = False
        self._journal = None if spec.account is None else Journal(*spec.account)
        self.budget = Budget(spec.budget, spec.allowance, self._journal, whole=spec.shares == 1)
        self._caller = Caller(self.budget, self._stopping, self._stop_now, random.Random())
        self._asker = Asker(self.ledger, self._caller, self._stopping)
        jobs = Jobs(self.ledger.location, repr(spec.account))
        self.batching = Batching(Keeper(self.ledger), self.budget, jobs, self._stopping, self._stop_now)
        threads = spec.threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, "plumbline-cpu")
        self._loop.set_default_executor(self._pool)
        self._thread = threading.Thread(target=self._loop.run_forever, name="plumbline-engine", daemon=True)
        self._thread.start()

    # -- what callers use, from any thread --------------------------------------------------------------------------

    @property
    def stopped(self) -> Stop | None:
        """Why the run ends early; None while it does not."""
        return self._stopped

    @property
    def most_under_way(self) -> int:
        """How many items a window holds: more than the calls at once, for an item waits for several in turn."""
        return max(1000, 8 * sum(lane.gate.limits.in_flight for lane in self._lanes.values()))

    def window(
        self, recipe: Recipe[I, R], limit: int | None = None, *, again: bool = False
    ) -> Window[I, Finished[I, R]]:
        """A bounded, unordered window of items under way; see `annotators.window.Window`.

        An item's `seed` attribute, where it has one, chooses among the models of a mix.

        Args:
            again: the items were counted as done by an earlier step.
        """
        return Window(lambda item, end: self.start(recipe, item, end, again), limit or self.most_under_way)

    def submit(self, recipe: Recipe[I, R], item: I) -> Future[Finished[I, R]]:
        """Start `recipe(item, models)`; the future always has a result, never an exception. Raises as `start` does."""
        done: Future[Finished[I, R]] = Future()
        self.start(recipe, item, done.set_result)
        return done

    def start(self, recipe: Recipe[I, R], item: I, end: Callable[[Finished[I, R]], None], again: bool = False) -> None:
        """Start `recipe(item, models)`; `end` is called once, on the engine's thread, whatever comes of it.

        Raises:
            RuntimeError: the engine is closed, or was made before a fork.
        """
        if self._closed or os.getpid() != self._pid:
            raise RuntimeError("this engine is closed or belongs to another process; make one in this process")
        self._loop.call_soon_threadsafe(self._begin, recipe, item, next(self._orders), end, again)

    def ask_batches(self, recipe: Recipe[I, R], items: Callable[[], Iterable[I]]) -> None:
        """Ask all that goes through batch APIs, until what `recipe` asks for `items()` lies in the ledger.

        Nothing happens where no model is of `mode: batch`. Returns early when the run stops; jobs under way go on at
        their providers, and the next attempt takes them up.

        Args:
            items: gives all items, in one order; called once per round.
        """
        if any(seat.config.mode == "batch" for seats in self._seats.values() for seat in seats):
            with suppress(Stopped):
                self._batch_rounds(recipe, items)

    def stop(self, stop: Stop) -> None:
        """End the run; the first reason given holds."""
        self._loop.call_soon_threadsafe(self._stop_now, stop)

    def progress(self) -> Progress:
        """A snapshot for the live line."""
        seconds = self._loop.time() - self._started
        now, under_way = self._loop.time(), len(self._tasks)
        found = progress_of(self._lanes.values(), now, seconds, self._done, under_way, self._done_usd)
        jobs, taken, answered = self.batching.jobs, self.batching.taken, self.batching.answered
        return replace(found, batch_jobs=jobs, batch_taken=taken, batch_answered=answered)

    @property
    def usage(self) -> dict[str, Usage]:
        """By model, what this engine's answers cost so far; ledger hits at the price once paid."""
        found: dict[str, Usage] = {}
        for lane in self._lanes.values():
            found[lane.model] = found.get(lane.model, Usage()) + lane.used.usage
        return dict(sorted(found.items()))

    def close(self) -> None:
        """End everything: items under way are cancelled, what is paid is written. Twice is no error."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown(wait=True)
        self._loop.close()
        if self._journal is not None:
            self._journal.close()
        self.ledger.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch_rounds(self, recipe: Recipe[I, R], items: Callable[[], Iterable[I]]) -> None:
        self._asker.batching = self.batching
        try:
            deferred = 1
            while deferred and self._stopped is None:
                self._on_loop(self.batching.resume(self._batch_lanes()))
                with self.window(recipe) as window:
                    deferred = sum(finished.deferred for item in items() for finished in window.put(item))
                    deferred += sum(finished.deferred for finished in window.drain())
                self._on_loop(self.batching.settle())
        finally:
            self._asker.batching = None

    def _batch_lanes(self) -> list[Lane]:
        return [seat.lane for seats in self._seats.values() for seat in seats if seat.config.mode == "batch"]

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- on the loop ------------------------------------------------------------------------------------------------

    def bind(self, seed: int) -> BoundModels:
        """The models for one item; only on the engine's loop."""
        return BoundModels(self._asker, self._seats, seed, self._stop_now)

    def _begin(
        self, recipe: Recipe[I, R], item: I, order: int, end: Callable[[Finished[I, R]], None], again: bool
    ) -> None:
        item_order.set(order)  # the task copies this context, and hands it to whatever it starts
        task = self._loop.create_task(self._run(recipe, item, end, again))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, recipe: Recipe[I, R], item: I, end: Callable[[Finished[I, R]], None], again: bool) -> None:
        models = self.bind(int(getattr(item, "seed", 0)))
        events.item.set(item)
        result: R | None = None
        failure: Failure | None = None
        stopped, deferred = self._stopped, False
        try:
            if stopped is None:
                result = await recipe(item, models)
        except Failure as error:
            error.usage = models.usage
            failure = error.with_traceback(None)
            if self._asker.batching is None:
                _tell_rejected(failure)
        except Stopped as error:
            stopped = error.stop
        except Deferred:
            deferred = True
        except asyncio.CancelledError:
            stopped = self._stopped or Stop(INTERRUPTED, "interrupted; run the same command to go on")
        except StoreError as error:
            stopped = self._stop_now(stop_of_store(error))
        except InputError as error:
            stopped = self._stop_now(Stop(error.exit_code, str(error)))
        except Exception as error:
            log.exception("the recipe failed on %s", getattr(item, "id", item))
            line = f"unforeseen in {getattr(item, 'id', 'an item')}: {type(error).__name__}: {error}"
            stopped = self._stop_now(Stop(1, line))
        usage = models.usage
        self._done += not (deferred or again) and self._asker.batching is None
        if self._asker.batching is None:
            self._done_usd += sum(cost.usd for cost in usage.values())
        end(Finished(item, result, failure, stopped, usage, deferred))

    def _stop_now(self, stop: Stop, tell: bool = True) -> Stop:
        if self._stopped is None:
            stop = Stop(stop.exit_code, events.blot(stop.line))  # an unforeseen error may quote anything
            self._stopped = stop
            self._stopping.set_result(stop)
            if tell:
                events.tell(log, logging.WARNING, "stopped", "the run stops: %s", stop.line, exit_code=stop.exit_code)
            for lane in self._lanes.values():
                lane.gate.close()
            if stop.exit_code == INTERRUPTED:
                self._loop.call_later(GRACE, self._cancel_all)
        return self._stopped

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _wind_up(self) -> None:
        self._stop_now(Stop(INTERRUPTED, "interrupted; run the same command to go on"), tell=False)
        self._cancel_all()
        await self.batching.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        for lane in self._lanes.values():
            with suppress(OSError):
                await lane.provider.close()

    def _seats_of(self, role: str, make: Callable[[ModelConfig, str, registry.World], Provider]) -> list[Seat]:
        limits = limits_of(self.spec.models, self.spec.roles, self.spec.shares)
        shared = merged(self.spec.models, self.spec.roles)
        seats = []
        for config in self.spec.models.of(role):
            if config.lane not in self._lanes:
                whole = shared[config.lane]
                provider = make(whole, f"models.{role}", self.spec.world)
                events.keep_secret(provider.secrets)
                name = f"models.{role} ({config.model})"
                price = self._prices[config.lane]
                self._lanes[config.lane] = Lane(name, whole, provider, limits[config.lane], self._loop, price)
            lane = self._lanes[config.lane]
            can = lane.provider.capabilities
            if can.roles is not None and role not in can.roles:
                known = ", ".join(can.roles)
                raise InputError(f"models.{role}.provider: {config.provider} can only be {known}; name another")
            if config.mode == "batch" and not can.batch:
                raise InputError(f"models.{role}.mode: {config.model} has no batch API here; use mode: online")
            if config.mode == "batch" and role == "painter" and not can.batch_images:
                ways = "mode: online" + (", or paints_by: chat" if config.provider == "openai" else "")
                raise InputError(f"models.painter.mode: {config.model} is not asked for images in batches; use {ways}")
            if role == "painter" and not can.images_out:
                raise InputError(f"models.painter: {config.model} gives no images; name a model that paints")
            seats.append(Seat(config, lane))
        return seats


def _tell_rejected(failure: Failure) -> None:
    events.tell(
        log,
        logging.INFO,
        "rejected",
        "rejected: %s",
        failure,
        role=failure.stage,
        stage=failure.stage,
        reason=failure.reason,
        detail=failure.detail,
        attempt=failure.attempts,
        request=failure.request_key[: events.SHORT_KEY],
        usd=sum(cost.usd for cost in failure.usage.values()),
    )


def _quieten_collector() -> None:
    """Have the garbage collector look less often, and never again at what is alive now.

    A process that runs pipelines holds a million objects of Beam and torch that never die; walking them again with
    every thousand answers took 15 % of the CPU.
    """
    if gc.get_threshold()[0] != _COLLECT_AFTER:  # once per process
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER, 20, 100)
