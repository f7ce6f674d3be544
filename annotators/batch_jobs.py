"""Batch jobs that are under way at a provider, remembered beside the ledger so that a killed run finds them again.

A record is written before its job is submitted, and removed once its results lie in the ledger. What is in between
when a process dies is found again: a job by its name, and one whose submission had no answer yet by its label. Workers
and slices share a ledger, so whoever follows a job holds a lock on its label, which the system frees when it dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from annotators.interface import Modality
from annotators.ledger import LedgerError
from schemas.errors import InputError
from storage import paths
from storage.objects import StoreError


@dataclass(frozen=True)
class Job:
    """One batch job.

    Attributes:
        label: ours, 32 hex digits; providers keep it with the job, under it a job is found again.
        name: the provider's; empty until it answered the submission.
        lane: digest of what a job belongs to (provider, model, address, key variable); no address is stored.
        keys: of the requests in it.
        submitted: seconds since the epoch.
        host: digest of the machine's name that it was submitted from.
        owner: digest of the output and slice that it was submitted for.
        usd: dollars set aside for all its requests; 0 in records of before this was noted.
    """

    lane: str
    model: str
    role: str
    modality: Modality
    keys: tuple[str, ...]
    label: str = field(default_factory=lambda: uuid.uuid4().hex)
    name: str = ""
    submitted: float = field(default_factory=time.time)
    host: str = ""
    owner: str = ""
    usd: float = 0.0

    def named(self, name: str) -> Job:
        return replace(self, name=name)


class Jobs:
    """The records of one ledger, a small JSON file each under `<ledger>/batches`; it blocks: call it off the loop.

    Args:
        owner: the output and slice that this process works for; any text.
    """

    def __init__(self, location: str, owner: str = "") -> None:
        self.folder = paths.join(location, "batches")
        self._owner = _digest(owner)
        self._locks: dict[str, int] = {}

    def keep(self, job: Job) -> None:
        """Write or replace a record, and hold it from then on."""
        _lock(job.label, self._locks)
        whole = replace(job, host=_digest(platform.node()), owner=self._owner)
        with self._at_work():
            paths.write_atomic(self._place(job), json.dumps(asdict(whole)).encode())

    def drop(self, job: Job) -> None:
        """Remove a record; none there is no error."""
        with self._at_work():
            paths.remove(self._place(job))
        _unlock(job.label, self._locks)

    def taken_over(self, lanes: Iterable[str]) -> tuple[list[Job], list[Job]]:
        """The jobs of these lanes, the oldest first: (those that nobody follows any more, those of others).

        Those that this process follows already are left out, and the first are its own from then on. In a bucket, jobs
        of another machine are left out, unless it worked for the same output and slice: nobody here can tell whether it
        lives.
        """
        here, ours, others = _digest(platform.node()), [], []
        for job in self.of(lanes):
            if job.label in self._locks:
                continue
            if paths.is_remote(self.folder) and job.host != here and job.owner != self._owner:
                continue
            found = self.taken(job)
            if isinstance(found, Job):
                ours.append(found)
            elif found:
                others.append(job)
        return ours, others

    def taken(self, job: Job) -> Job | bool:
        """The job as it stands now, which is this process's from then on; True while another one follows it.

        False where it has ended.
        """
        with self._at_work():
            if not _lock(job.label, self._locks):
                return paths.exists(self._place(job))
            try:
                return _read(self._place(job))
            except FileNotFoundError:
                _unlock(job.label, self._locks)
                return False

    def close(self) -> None:
        """Let go of every job; the records stay."""
        for label in list(self._locks):
            _unlock(label, self._locks)

    def of(self, lanes: Iterable[str]) -> list[Job]:
        """The jobs of these lanes, the oldest first.

        Raises:
            InputError: a record cannot be read.
        """
        wanted, found = set(lanes), []
        with self._at_work():
            names = paths.list_files(self.folder)
        for name in names:
            if not name.endswith(".json"):
                continue
            with self._at_work(), suppress(FileNotFoundError):  # ended by another process this moment
                job = _read(paths.join(self.folder, name))
                if job.lane in wanted:
                    found.append(job)
        return sorted(found, key=lambda job: (job.submitted, job.label))

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise LedgerError(f"ledger: {error}") from error
        except OSError as error:
            raise LedgerError(f"ledger: {self.folder}: {error}") from error

    def _place(self, job: Job) -> str:
        return paths.join(self.folder, f"{job.label}.json")


def _read(place: str) -> Job:
    try:
        read = json.loads(paths.read_bytes(place))
        return Job(**{**read, "keys": tuple(read["keys"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place}: is no record of a batch job ({error}); delete it") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lock_place(label: str) -> Path:
    return Path(tempfile.gettempdir()) / f"plumbline-batch-{label}.lock"


def _lock(label: str, held: dict[str, int]) -> bool:
    """Whether this process holds the label now; False where another one of this machine does."""
    if label in held:
        return True
    if sys.platform == "win32":
        held[label] = -1
        return True
    import fcntl

    while True:
        try:
            handle = os.open(_lock_place(label), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:  # another user's
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        if _is_there(handle, label):
            held[label] = handle
            return True
        os.close(handle)  # whoever held it deleted the file between the two calls: the lock is on nothing


def _is_there(handle: int, label: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(_lock_place(label)))
    except OSError:
        return False


def _unlock(label: str, held: dict[str, int]) -> None:
    handle = held.pop(label, None)
    if handle is not None and handle >= 0:
        with suppress(OSError):  # the temporary folder may have been cleaned up
            _lock_place(label).unlink()
        os.close(handle)
