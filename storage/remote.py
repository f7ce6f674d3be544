"""Files on S3 and GCS by their whole address, for `storage.paths`: one store per bucket and process, one way to retry.

Nothing is cached: a file that another machine has just written is seen. What a store refuses is a `StoreError`
(`storage.objects`), never a `FileNotFoundError`: that means that the store was asked and has no such file.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from storage.objects import Found, Listed, Objects

BLOCK = 4 << 20
"""What an open file fetches at once; the next block is under way while one is read in order."""
_SCHEMES = ("s3", "s3a", "gs", "gcs")
_STORES: dict[str, Objects] = {}
_OPENING = threading.Lock()


def ours(uri: str) -> bool:
    """Whether the address is one of S3 or GCS."""
    return uri.partition("://")[0] in _SCHEMES


def read(uri: str, start: int = 0, count: int | None = None) -> bytes:
    """A file, or `count` bytes of it from `start` on, or fewer where it ends before.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: the store refuses or stays away.
    """
    if count is not None and count <= 0:
        return b""
    store, name = _at(uri)
    found = store.wait(store.read(name, start, count)) if name else None
    if found is None:
        raise _missing(uri)
    return found.data


def stat(uri: str) -> Listed:
    """Size, time and version of a file.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: the store refuses or stays away.
    """
    store, name = _at(uri)
    found = store.wait(store.stat(name)) if name else None
    if found is None:
        raise _missing(uri)
    return found


def age(uri: str) -> float:
    """Seconds since the file was written; both times are the store's."""
    modified = stat(uri).modified
    return _at(uri)[0].now() - modified


def exists(uri: str) -> bool:
    """Whether there is a file of that name, or any below it."""
    store, name = _at(uri)
    if name and store.wait(store.stat(name)) is not None:
        return True
    return store.wait(store.holds(f"{name.rstrip('/')}/" if name else ""))


def files(folder: str) -> list[Listed]:
    """Every file below `folder`, named relative to it, sorted; none where there is no such folder."""
    store, name = _at(folder)
    prefix = f"{name.rstrip('/')}/" if name else ""
    found = store.wait(store.listing(prefix))
    # What some consoles make for a folder is an object whose name ends in a slash.
    cut = [type(one)(one.name[len(prefix) :], one.size, one.modified, one.version) for one in found]
    return [one for one in cut if one.name and not one.name.endswith("/")]


def write(uri: str, data: bytes) -> None:
    """Write a file in one request."""
    store, name = _at(uri)
    store.wait(store.write(name, data))


def upload(uri: str, path: str) -> None:
    """Write a file of this machine; under its name it appears whole, or not at all."""
    store, name = _at(uri)
    store.wait(store.upload(name, path))


def remove(uri: str) -> None:
    """Delete a file; one that is not there is no error."""
    store, name = _at(uri)
    store.wait(store.delete([name]))


def open_read(uri: str) -> BinaryIO:
    """A seekable file, read block by block.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: the store refuses or stays away; also while it is read.
    """
    found = stat(uri)
    return cast(BinaryIO, io.BufferedReader(_File(uri, found.size, found.version)))


def forget_stores() -> None:
    """Let go of every store, so that the next use looks for credentials and endpoints anew."""
    with _OPENING:
        _STORES.clear()


class _File(io.RawIOBase):
    """An object as a file. One that is replaced while it is read is an `OSError`, not a mixture of two."""

    def __init__(self, uri: str, size: int, version: str) -> None:
        super().__init__()
        self._uri, self._size, self._version = uri, size, version
        self._store, self._name = _at(uri)
        self._position = 0
        self._number, self._block = -1, b""
        self._next: tuple[int, Future[Found | None]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, begin + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        if self._position >= self._size or not len(view):
            return 0
        number, at = divmod(self._position, BLOCK)
        part = self._fetched(number)[at : at + len(view)]
        if not part:
            raise OSError(errno.EIO, "is shorter than the store said", self._uri)
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _fetched(self, number: int) -> memoryview:
        if number != self._number:
            ahead = self._next
            future = ahead[1] if ahead is not None and ahead[0] == number else self._fetch(number)
            in_order = number == self._number + 1
            self._next = (number + 1, self._fetch(number + 1)) if in_order and self._has(number + 1) else None
            found = future.result()
            if found is None:
                raise _missing(self._uri)
            if self._version and found.version and found.version != self._version:
                raise OSError(errno.ESTALE, "was replaced while it was read", self._uri)
            self._number, self._block = number, found.data
        return memoryview(self._block)

    def _fetch(self, number: int) -> Future[Found | None]:
        start = number * BLOCK
        return self._store.start(self._store.read(self._name, start, min(BLOCK, self._size - start)))

    def _has(self, number: int) -> bool:
        return number * BLOCK < self._size


def _at(uri: str) -> tuple[Objects, str]:
    """(the store of the address's bucket, the name there)."""
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.lstrip("/").partition("/")
    key = f"{os.getpid()} {scheme}://{bucket}"
    with _OPENING:
        store = _STORES.get(key)
        if store is None:
            from storage.objects import open_objects

            store = _STORES[key] = open_objects(f"{scheme}://{bucket}")
    return store, name


def _missing(uri: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no such file", uri)


def _after_fork() -> None:
    """A child of a fork has neither the loop of its parent's stores nor whoever held the lock."""
    global _OPENING
    _OPENING = threading.Lock()
    _STORES.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
