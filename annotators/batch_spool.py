"""What waits to be submitted to a batch API, on disk; and how much of it a provider has room for."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from annotators.errors import StopRun
from annotators.interface import Modality
from annotators.sqlite_writes import this_place
from storage.temporaries import alive

MOST_JOBS = 20
_OURS = re.compile(r"plumbline-(batch|results)-(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-.*\.jsonl")


class Room:
    """How many jobs of a model may be enqueued at once, and how many requests each may have.

    Both shrink when a submission is refused and grow again with jobs that end: documented limits do not hold.
    """

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self.most_requests, self.most_bytes = most_requests, most_bytes
        self.most_jobs = MOST_JOBS
        self.enqueued = 0
        self._documented = most_requests
        self._beside: dict[str, int] = {}  # label of a job under way -> how many others were when it was submitted
        self._turn = asyncio.Lock()
        self._ended = asyncio.Condition()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to submit: one at a time, and only while there is room."""
        async with self._turn:
            async with self._ended:
                await self._ended.wait_for(lambda: self.enqueued < self.most_jobs)
            yield

    def refused(self) -> bool:
        """Note a refusal; True where waiting for a job to end may help, False where only a smaller one can."""
        if self.enqueued:
            self.most_jobs = self.enqueued
            return True
        self.most_requests = max(1, self.most_requests // 2)
        return False

    def accepted(self, label: str) -> None:
        """Note a job that the provider took."""
        self._beside[label] = self.enqueued
        self.enqueued += 1

    def full(self, label: str) -> bool:
        """Note a job that the provider took and then had no room for; as `refused`, by what was under way then."""
        beside = self._beside.pop(label, 0)
        if beside and not self.enqueued:  # they have ended meanwhile
            self.most_jobs = min(self.most_jobs, beside)
            return True
        return self.refused()

    async def ended(self, label: str, well: bool = True) -> None:
        """Note a job that is over: where it went well there is room for one more, and perhaps for a larger one."""
        async with self._ended:
            self.enqueued -= 1
            if well:
                self._beside.pop(label, None)
                self.most_jobs = min(MOST_JOBS, self.most_jobs + 1)
                self.most_requests = min(self._documented, self.most_requests + max(1, self.most_requests // 4))
            self._ended.notify_all()


def temporary(kind: str) -> tuple[int, Path]:
    """An open file of this process in the temporary folder; `kind` is `batch` or `results`."""
    with on_disk():
        handle, name = tempfile.mkstemp(prefix=f"plumbline-{kind}-{_place()}-{os.getpid()}-", suffix=".jsonl")
    return handle, Path(name)


@contextmanager
def on_disk() -> Iterator[None]:
    """While something is written to or read from the temporary folder.

    Raises:
        StopRun: the disk is full, or the folder cannot be used.
    """
    try:
        yield
    except OSError as error:
        folder, why = _folder(), error.strerror or error
        mend = "make room there or name another folder with TMPDIR, and run the same command to go on"
        raise StopRun(3, f"{folder}: what a batch sends and brings cannot be kept there ({why}); {mend}") from error


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of them can be written
        return os.environ.get("TMPDIR", "the temporary folder")


def _place() -> str:
    """Of the machine and the space of its process ids: containers that share a folder do not share those."""
    return f"{zlib.crc32(this_place().encode()):08x}"


def sweep() -> None:
    """Delete what processes that were killed have left in the temporary folder: it may be gigabytes. Blocks."""
    here = _place()
    for path in Path(_folder()).glob("plumbline-*.jsonl"):
        named = _OURS.fullmatch(path.name)
        if named is not None and named["place"] == here and not alive(int(named["pid"])):
            with suppress(OSError):
                path.unlink()


class Spool:
    """The lines of one job to be, in a temporary file of this process; their keys in memory.

    Raises:
        StopRun: here and in every method, the disk is full.
    """

    def __init__(self, role: str, modality: Modality) -> None:
        self.role, self.modality = role, modality
        self.keys: list[str] = []
        self.bytes = 0
        self._ends: list[int] = []
        handle, self._path = temporary("batch")
        self._file = os.fdopen(handle, "wb", buffering=1 << 20)

    def fits(self, line: bytes, room: Room) -> bool:
        """Whether one more line may go into the same job."""
        return len(self.keys) < room.most_requests and self.bytes + len(line) + 1 <= room.most_bytes

    def add(self, key: str, line: bytes) -> None:
        """Append a line: it waits in memory until there is a block of them, so this blocks for microseconds."""
        with on_disk():
            self._file.write(line + b"\n")
        self.keys.append(key)
        self.bytes += len(line) + 1
        self._ends.append(self.bytes)

    def path(self) -> Path:
        """The file, with everything in it."""
        with on_disk():
            self._file.flush()
        return self._path

    def halves(self) -> list[Spool]:
        """The same lines in two spools (one, where there is only one line). Blocks."""
        data = self.path()
        middle = max(1, len(self.keys) // 2)
        found: list[Spool] = []
        try:
            with on_disk(), data.open("rb") as lines:
                for part in filter(None, (self.keys[:middle], self.keys[middle:])):
                    found.append(Spool(self.role, self.modality))
                    for key in part:
                        found[-1].add(key, lines.readline().rstrip(b"\n"))
        except StopRun:
            for half in found:
                half.close()
            raise
        return found

    def close(self) -> None:
        """Delete the file; raises nothing."""
        with suppress(OSError):  # what there was no room for
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
