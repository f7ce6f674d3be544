"""Local files that are being written: hidden under a name of their own until they are whole, swept after a kill.

A temporary lies beside what it becomes and is called `.NAME.HOST-PID-N.tmp`. Whether one is dead is told by its
process alone; no clock is asked.
"""

from __future__ import annotations

import errno
import itertools
import os
import platform
import re
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_BUFFER = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk, a quota or a limit says that is full."""
_NAME = re.compile(r"^\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d{1,9})-\d+\.tmp$")
_COUNTER = itertools.count()
_OPEN: set[str] = set()
_OPEN_LOCK = threading.Lock()


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one of ours, on its way or left by a killed process."""
    return _NAME.match(name) is not None


@contextmanager
def open_local(path: str) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends without an exception: flushed, synced, renamed, the folder synced.

    Raises:
        OSError: whatever writing raises; of a full disk it names `path`.
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{_host()}-{os.getpid()}-{next(_COUNTER)}.tmp")
    with _OPEN_LOCK:
        _OPEN.add(temporary)
    try:
        with room(path), open(temporary, "wb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(folder)
    except BaseException:
        unlink(temporary)
        raise
    finally:
        with _OPEN_LOCK:
            _OPEN.discard(temporary)


def sweep(folder: str) -> list[str]:
    """Remove what killed processes of this host left half-written under `folder`; returns the names removed.

    Temporaries of living processes and of other hosts (a shared disk) are left alone.
    """
    removed = []
    for here, _, files in os.walk(folder):
        for name in files:
            match, path = _NAME.match(name), os.path.abspath(os.path.join(here, name))
            if match and match["host"] == _host() and not _in_use(path, int(match["pid"])):
                unlink(path)
                removed.append(name)
    return sorted(removed)


@contextmanager
def room(place: str) -> Iterator[None]:
    """An error of a full disk says where it is full: writing to an open file does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), place) from error


def unlink(path: str) -> None:
    """Delete a local file; one that is not there is no error."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _in_use(path: str, pid: int) -> bool:
    if pid == os.getpid():  # a container's processes often get the pid they had before the kill
        with _OPEN_LOCK:
            return path in _OPEN
    return alive(pid)


def alive(pid: int) -> bool:
    """Whether a process of this machine has that number, whosever it is; True where that cannot be told."""
    if sys.platform == "win32":  # where looking for a process may end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
