"""The ledger in a bucket (`gs://`, `s3://`): an object per key while a run is under way, sorted segments after it.

    LOCATION/ledger.json        says that this is a ledger, and of which version
    LOCATION/answers/ab/ab3f…   an answer, until it lies in a segment
    LOCATION/claims/ab/ab3f…    who asks a key; goes with the answer
    LOCATION/segments/…         answers by the thousand (`annotators.bucket.segments`), and masks of forgotten ones
    LOCATION/runs/…             who is at work (`annotators.bucket.presence`)
    LOCATION/lease              who compacts
    LOCATION/blobs/…            images

An answer costs three requests: a read that finds nothing, a claim, a write. What was written is also kept in memory;
by the thousand it becomes a segment, and its objects are deleted. So nothing is read back, and what lies key by key
is what living processes have kept lately, or the dead left.

What remains possible: a process cut off from the store for more than a minute counts as dead, and what it was asking
is asked by another too (the first answer stays). See `annotators.bucket.keys` for why else a key is paid once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

import orjson

from annotators.blobs import Blobs
from annotators.bucket.compaction import MANY, Compactor, Ended
from annotators.bucket.keys import Keys
from annotators.bucket.loose import Loose, Pace
from annotators.bucket.presence import HEARTBEAT, Presence
from annotators.bucket.records import packed
from annotators.bucket.shelf import Shelf
from annotators.ledger import Claim, Entry, LedgerError, LedgerStats
from schemas.errors import InputError
from storage import paths
from storage.objects import ATTEMPTS, StoreError, open_objects

log = logging.getLogger(__name__)
T = TypeVar("T")
VERSION = 1
_MARKER = "ledger.json"
_OPENING_ATTEMPTS = 4


class ObjectLedger:
    """See `annotators.ledger.Ledger`.

    Args:
        create: make a ledger where there is none. Without it, nothing at all is written until something is asked
            for that writes.

    Raises:
        InputError: no such bucket, no permission, no answer, no ledger there, or one of another version.
    """

    def __init__(self, location: str, *, create: bool = True, pace: Pace | None = None) -> None:
        self.location = location.rstrip("/")
        self.blobs = Blobs(paths.join(self.location, "blobs"))
        self.pace = pace or Pace()
        self.store = open_objects(self.location)
        self.shelf = Shelf(self.store)
        self.presence = Presence(self.store)
        self.compactor = Compactor(self.store, self.shelf, self.presence, self.pace.grace, lambda: self._closed)
        self.loose = Loose(self.store, self.shelf, self.presence, self.compactor, self.pace)
        self.keys = Keys(self.store, self.blobs, self.shelf, self.presence, self.compactor, self.loose, self.pace)
        self._running: set[Future[Any]] = set()
        self._tending: list[asyncio.Task[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._joining = asyncio.Lock()
        self._ending = asyncio.Event()
        self._closed = False
        self.store.attempts = _OPENING_ATTEMPTS
        try:
            self.store.wait(self._open(create))
        except (StoreError, LedgerError) as error:
            self.store.wait(self.store.close())
            raise InputError(f"ledger: {str(error).removeprefix('ledger: ')}") from error
        except InputError:
            self.store.wait(self.store.close())
            raise
        self.store.attempts = ATTEMPTS

    # -- the async interface ----------------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        return await self._run(self.keys.get(key))

    async def put(self, key: str, entry: Entry) -> None:
        await self._run(self._put(key, packed(entry, time.time())))

    async def put_blob(self, data: bytes, media_type: str) -> str:
        return await self._run(self._put_blob(data, media_type))

    async def claim(self, key: str) -> Claim:
        return await self._run(self.joined(self.keys.claim(key)))

    async def release(self, key: str) -> None:
        await self._run(self.keys.release(key))

    # -- from any thread --------------------------------------------------------------------------------------------

    def forget(self, keys: Iterable[str]) -> int:
        return self.wait(self.joined(self.keys.forget(list(keys))))

    def stats(self) -> LedgerStats:
        return self.wait(self._stats())

    def compact(self, patience: float = 0.0) -> bool:
        """Bring what lies here into few segments; False where another process holds the lease for all of `patience`."""
        return self.wait(self._compact(patience))

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the ledger's parts to its end, from any thread but the stores' loop."""
        try:
            return self._start(coroutine).result()
        except StoreError as error:
            raise LedgerError(f"ledger: {error}") from error

    def close(self) -> None:
        """Write what is in memory as a segment, end this owner's claims and its record. Twice is no error."""
        if self._closed:
            return
        self._closed = True
        try:
            self.store.wait(self._close())
        except (StoreError, LedgerError, OSError) as error:
            # Every answer lies in an object of its own; only tidying up is left undone.
            log.warning("ledger: %s; the next compaction takes in what this run left", error)
        finally:
            self.store.wait(self._shut())

    # -- on the stores' loop ----------------------------------------------------------------------------------------

    async def _open(self, create: bool) -> None:
        found = await self.store.read(_MARKER)
        if found is None:
            if not create:
                raise InputError(f"ledger: {self.location}: there is no ledger here")
            body = orjson.dumps({"plumbline_ledger": VERSION})
            await self.store.create(_MARKER, body, settle=0.0)
            found = await self.store.read(_MARKER)
        _check_version(self.location, found.data if found else b"")
        if create:
            await self._join()
        await self.shelf.refresh()

    async def _join(self) -> None:
        """Say that this owner is at work: before anything is claimed, kept or deleted."""
        async with self._joining:
            if self._tending:
                return
            if not await self.presence.begin():
                told = "this store writes without conditions: of two processes that ask the same at once, both may pay"
                log.warning("ledger: %s: %s", self.location, told)
            self._tending = [asyncio.create_task(self._repeated(work)) for work in (self._beat, self._tidy)]

    async def _put(self, key: str, payload: bytes) -> None:
        await self._join()
        await self.keys.put(key, payload)
        if self.loose.due and self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_quietly())

    async def _put_blob(self, data: bytes, media_type: str) -> str:
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        # Written even where it is: one request instead of two, and `prune` sees that it is in use.
        await self.store.write(self.keys.blob_name(sha256, media_type), data)
        return sha256

    async def joined(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run what writes, as one of those at work here."""
        try:
            await self._join()
        except BaseException:
            coroutine.close()
            raise
        return await coroutine

    async def _stats(self) -> LedgerStats:
        await self.shelf.refresh()
        loose = await self.presence.loose()
        loose.plus(self.loose.counts)
        total = self.shelf.counts()
        total.plus(loose)
        return total.stats(loose.answers)

    async def _compact(self, patience: float) -> bool:
        await self._join()
        await self.loose.flush()
        async with self.presence.lease(patience) as ours:
            if ours:
                await self.compactor.compact()
        await self.loose.sweep()
        return ours

    async def _flush_quietly(self) -> None:
        try:
            await self.loose.flush()
        except (StoreError, OSError) as error:
            log.warning("ledger: %s; tried again later", error)
        finally:
            self._flushing = None

    async def _repeated(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something every `HEARTBEAT` seconds until the ledger is closed."""
        while not self._ending.is_set():
            try:
                await asyncio.wait_for(self._ending.wait(), HEARTBEAT)
            except asyncio.TimeoutError:
                try:
                    await work()
                except (StoreError, LedgerError, OSError) as error:  # OSError: no room here for a merge's file
                    log.warning("ledger: %s; tried again later", error)
                except Ended:
                    return

    async def _beat(self) -> None:
        await self.presence.beat(self.loose.counts)

    async def _tidy(self) -> None:
        """What is due: a segment, sweeping, merging. A merge may take longer than a heartbeat."""
        if self.loose.due:
            await self.loose.flush()
        await self.loose.sweep()
        if len(self.shelf.living) >= MANY:
            async with self.presence.lease() as ours:
                if ours:
                    await self.shelf.refresh()
                    await self.compactor.clear()
                    await self.compactor.merge(MANY)

    async def _close(self) -> None:
        self._ending.set()
        waiting: list[asyncio.Future[Any]] = [asyncio.wrap_future(future) for future in list(self._running)]
        waiting += self._tending + ([self._flushing] if self._flushing is not None else [])
        if waiting:
            await asyncio.wait(waiting)
        if not self._tending:
            return
        try:
            await self.keys.release_all()
            await self.loose.flush()
            await self.loose.sweep()
        finally:
            await self.presence.leave(self.loose.left)

    async def _shut(self) -> None:
        self.shelf.close()
        await self.store.close()

    # -- below ------------------------------------------------------------------------------------------------------

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if self._closed:
            coroutine.close()
            raise LedgerError(f"ledger: {self.location} is closed")
        future = self.store.start(coroutine)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run on the stores' loop. What was begun goes on if the caller is cancelled: it may be a paid answer."""
        future = asyncio.wrap_future(self._start(coroutine))
        try:
            return await asyncio.shield(future)
        except StoreError as error:
            raise LedgerError(f"ledger: {error}") from error


def _check_version(location: str, marker: bytes) -> None:
    try:
        found = orjson.loads(marker)["plumbline_ledger"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"ledger: {location}/{_MARKER}: is no ledger of this program; name another place") from None
    if found != VERSION:
        known = f"its version is {found}, this program reads {VERSION}"
        raise InputError(f"ledger: {location}: {known}; name another place")
