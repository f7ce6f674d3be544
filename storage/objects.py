"""Objects of a bucket, with what paths alone do not give: writes that happen only where nothing is yet, and versions.

`open_objects` gives the store of an address (`s3://`, `gs://`; `memory://` for tests). Its calls are coroutines of
one loop, `loop()`, which runs in a thread of its own; `Objects.wait` runs one from any other thread. Credentials,
regions and endpoints are those that s3fs and gcsfs find: the platform's chain, AWS_ENDPOINT_URL,
STORAGE_EMULATOR_HOST, fsspec's own configuration.

Every request is tried again after what passes by itself (a 5xx, a 429, a reset, a timeout), `attempts` times at most,
with growing, random pauses; then, or at once where another attempt is no use (no permission, no bucket), it is a
StoreError.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from schemas.errors import InputError, PlumblineError, StoppedError
from storage import paths

T = TypeVar("T")
ATTEMPTS = 10  # about half a minute in all
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
MOST_AT_ONCE = 128
MOST_LISTED = 1000
URGENT = 32  # of these, kept for what must not queue behind look-ups
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0
IN_PARTS = 64 << 20
"""A larger file is uploaded in parts, so that a failure repeats one of them."""
PART = 16 << 20
FOLDERS = 64
SETTLE = 0.3  # seconds after which a write of another process shows, where the store knows no conditions


class StoreError(PlumblineError):
    """The store refuses, or does not answer after all attempts. One line for the user.

    No `OSError`: what fails is not the one file but the way to it, so nothing may take it for a file that is missing
    or damaged, and go on without it.

    Attributes:
        here_only: no permission, or no bucket, at this address; another one may do.
        exit_code: 2, or 3 where the store only stays away.
    """

    exit_code = InputError.exit_code

    def __init__(self, line: str, *, here_only: bool = False, away: bool = False) -> None:
        super().__init__(line)
        self.here_only = here_only
        if away:
            self.exit_code = StoppedError.exit_code


class TransientError(Exception):
    """One attempt failed in a way that passes."""


class ConditionError(Exception):
    """The condition of a write or a delete did not hold: nothing was done."""


class UnsupportedError(Exception):
    """The store does not know this kind of request."""


@dataclass(frozen=True)
class Found:
    """The bytes of an object and the version they are of."""

    data: bytes
    version: str


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it; `modified` is in seconds by the store's own clock."""

    name: str
    size: int
    modified: float
    version: str = ""


class Page(NamedTuple):
    """A part of a listing: objects, folders (where it was asked by folder), and where the next part begins."""

    objects: list[Listed]
    folders: list[str]
    next: str | None


class Objects(ABC):
    """The objects under one address; names are relative to it, with `/` between.

    Attributes:
        conditional: whether `create` is one step at the store. Where it is not, it reads, writes, waits and reads
            again: two processes may then both succeed if one of them is held up for longer than `SETTLE`.
        attempts: how often a call is tried.
        bulk: how many objects one request deletes.
    """

    bulk = 1

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self.conditional = True
        self.attempts = ATTEMPTS
        self._ahead = 0.0
        self._slots = asyncio.Semaphore(MOST_AT_ONCE - URGENT)
        self._urgent = asyncio.Semaphore(URGENT)

    # -- what callers use -------------------------------------------------------------------------------------------

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the stores' loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, loop())

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the stores' loop and wait for it; never from that loop itself."""
        return self.start(coroutine).result()

    async def read(self, name: str, start: int = 0, length: int | None = None) -> Found | None:
        """An object, or `length` bytes of it from `start` on; None where there is none. One request."""
        return await self._tried(lambda: self._get(name, start, length))

    async def stat(self, name: str) -> Listed | None:
        """Size, time and version of an object; None where there is none."""
        return await self._tried(lambda: self._stat(name))

    async def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        found = await self.stat(name)
        return None if found is None else found.size

    def now(self) -> float:
        """Seconds by the store's own clock, as of its last answer: ages are told by it, never by this machine's."""
        return time.time() + self._ahead

    async def write(self, name: str, data: bytes, *, urgent: bool = False) -> str:
        """Write an object, whatever was there; returns its version."""
        return await self._tried(lambda: self._put(name, data, False), urgent)

    async def create(self, name: str, data: bytes, *, settle: float = SETTLE, urgent: bool = False) -> str | None:
        """Write an object unless there is one; returns its version, or None where there was another.

        An object with exactly these bytes counts as ours: a first attempt may have got through unheard.

        Args:
            settle: seconds to wait for rivals, where the store knows no conditions.
            urgent: do not queue behind other calls.
        """
        if self.conditional:
            try:
                return await self._tried(lambda: self._put(name, data, True), urgent)
            except ConditionError:
                found = await self.read(name)
                return found.version if found is not None and found.data == data else None
        found = await self.read(name)
        if found is None:
            await self.write(name, data, urgent=urgent)
            await asyncio.sleep(settle)
            found = await self.read(name)
        return found.version if found is not None and found.data == data else None

    async def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        wanted = list(names)
        some = [wanted[i : i + self.bulk] for i in range(0, len(wanted), self.bulk)]
        await asyncio.gather(*[self._tried(partial(self._delete_some, names)) for names in some])

    async def delete_if(self, name: str, version: str) -> bool:
        """Delete an object if it still is this version; returns whether it was."""
        try:
            if not self.conditional:
                found = await self.read(name)
                if found is None or found.version != version:
                    return False
            await self._tried(lambda: self._delete(name, version))
        except ConditionError:
            return False
        return True

    async def listing(self, prefix: str) -> list[Listed]:
        """The objects whose names begin with `prefix`, sorted by name.

        A long list is asked for folder by folder, all at once, unless there are too many of them.
        """
        found = await self._listing(prefix)
        return sorted(found, key=lambda listed: listed.name)

    async def holds(self, prefix: str) -> bool:
        """Whether any object's name begins with `prefix`."""
        page = await self._tried(lambda: self._page(prefix, False, None, 1))
        return bool(page.objects)

    async def upload(self, name: str, path: str) -> None:
        """Write a file of this machine as one object, which appears whole; in parts where it is large."""
        if os.path.getsize(path) > IN_PARTS:
            await self._upload(name, path)
            return
        data = await asyncio.to_thread(read_part, path, 0, IN_PARTS)
        await self._tried(lambda: self._put(name, data, False))

    async def probe_conditions(self, name: str, data: bytes) -> bool:
        """Find out, with an object that is there, whether the store keeps the condition of a write."""
        try:
            await self._tried(lambda: self._put(name, data, True))
        except ConditionError:
            return self.conditional
        except UnsupportedError:
            pass
        self.conditional = False
        return False

    async def close(self) -> None:  # noqa: B027 - a store without connections has none to give back
        """Give connections back."""

    # -- what each kind of store does, one attempt each --------------------------------------------------------------

    async def _open(self) -> None:  # noqa: B027 - the same
        """Make clients; called once, on the loop."""

    @abstractmethod
    async def _get(self, name: str, start: int, length: int | None) -> Found | None: ...

    @abstractmethod
    async def _stat(self, name: str) -> Listed | None: ...

    @abstractmethod
    async def _put(self, name: str, data: bytes, only_new: bool) -> str: ...

    @abstractmethod
    async def _delete(self, name: str, version: str | None) -> None: ...

    async def _delete_some(self, names: list[str]) -> None:
        """Delete at most `bulk` objects."""
        for name in names:
            await self._delete(name, None)

    @abstractmethod
    async def _page(self, prefix: str, by_folder: bool, begin: str | None, most: int) -> Page:
        """At most `most` objects (the store may give fewer); with `by_folder` those directly below, and folders."""

    async def _upload(self, name: str, path: str) -> None:
        """Write a file larger than `IN_PARTS`."""
        data = await asyncio.to_thread(read_part, path, 0, os.path.getsize(path))
        await self._tried(lambda: self._put(name, data, False))

    # -- below ------------------------------------------------------------------------------------------------------

    async def _listing(self, prefix: str) -> list[Listed]:
        page = await self._tried(lambda: self._page(prefix, False, None, MOST_LISTED))
        if page.next is None:
            return page.objects
        folders = await self._tried(lambda: self._page(prefix, True, None, MOST_LISTED))
        if folders.next is None and 1 < len(folders.folders) <= FOLDERS:
            below = await asyncio.gather(*[self._listing(folder) for folder in folders.folders])
            return [*folders.objects, *(one for some in below for one in some)]
        found = page.objects
        while page.next is not None:
            begin = page.next
            page = await self._tried(partial(self._page, prefix, False, begin, MOST_LISTED))
            found += page.objects
        return found

    def _heard(self, date: str | None) -> None:
        """Take note of the store's clock: the Date of an answer."""
        try:
            self._ahead = parsedate_to_datetime(date or "").timestamp() - time.time()
        except (TypeError, ValueError):
            return

    async def _tried(self, attempt: Callable[[], Awaitable[T]], urgent: bool = False) -> T:
        slots = self._urgent if urgent else self._slots
        for number in range(1, self.attempts + 1):
            try:
                async with slots:
                    return await attempt()
            except TransientError as error:
                if number == self.attempts:
                    line = f"{error} (tried {number} times); try again when the store answers"
                    raise StoreError(line, away=True) from error
            step = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (number - 1))
            await asyncio.sleep(random.uniform(step / 2, step))
        raise AssertionError("unreachable")


def loop() -> asyncio.AbstractEventLoop:
    """The loop of every store of this process: the one fsspec keeps in a thread of its own."""
    import fsspec.asyn

    found: asyncio.AbstractEventLoop = fsspec.asyn.get_loop()
    return found


def open_objects(location: str) -> Objects:
    """The store of an address. Makes no request yet.

    Raises:
        InputError: an address of another kind, without a bucket, or whose library or credentials are missing.
    """
    scheme, _, rest = location.partition("://")
    if not paths.is_remote(location) or not rest.strip("/"):
        raise InputError(f"{location}: names no bucket")
    store: Objects
    try:
        if scheme in ("s3", "s3a"):
            from storage.objects_s3 import S3Objects

            store = S3Objects(location)
        elif scheme in ("gs", "gcs"):
            from storage.objects_gcs import GcsObjects

            store = GcsObjects(location)
        elif scheme == "memory":
            from storage.objects_memory import MemoryObjects

            store = MemoryObjects(location)
        else:
            raise InputError(f"{location}: is no local path and no s3:// or gs:// address")
        store.wait(store._open())
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3"}.get(scheme, "gcs")
        raise InputError(f"{location}: {error}; install it with: pip install 'plumbline[{extra}]'") from error
    except StoreError as error:
        raise InputError(str(error)) from error
    return store


def read_part(path: str, start: int, count: int) -> bytes:
    """`count` bytes of a file of this machine from `start` on, or what there is of them."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(count)


def split(location: str) -> tuple[str, str]:
    """(bucket, what every name begins with: empty, or ending in `/`)."""
    bucket, _, prefix = location.partition("://")[2].strip("/").partition("/")
    return bucket, f"{prefix}/" if prefix else ""
