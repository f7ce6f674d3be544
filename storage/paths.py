"""Paths: local ones, `gs://` and `s3://` (`storage.remote`), and what else fsspec reads, through the same few calls.

Where a bucket refuses or stays away after all attempts, every call raises a `StoreError` (`storage.objects`), which
is no `OSError`: it ends the command with one line.

Nothing is ever written in place. A local file appears under its name complete and synced, or not at all; on a
bucket it appears with one completed upload. Until then its bytes lie in a hidden temporary beside it
(`.NAME.HOST-PID-N.tmp`), or for a bucket in a temporary file of this machine.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, TypeVar, cast

from schemas.errors import InputError
from storage import remote, temporaries
from storage.remote_errors import as_os_errors

A = TypeVar("A")
B = TypeVar("B")
BLOCK = 1 << 20
REQUESTS = 16
"""Requests that one call of `side_by_side` has under way at a bucket."""


def is_remote(uri: str) -> bool:
    """Whether `uri` names a bucket or another fsspec address, not a local path."""
    return "://" in uri and not uri.startswith("file://")


def join(folder: str, name: str) -> str:
    """`name` under `folder`; an absolute path or an address as `name` stands alone."""
    if is_remote(name):
        return name
    if is_remote(folder):
        return f"{folder.rstrip('/')}/{name}"
    return os.path.join(_local(folder), name)


def same(one: str, other: str) -> bool:
    """Whether two folders are one, through links and however they are written."""
    if is_remote(one) or is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    return os.path.realpath(_local(one)) == os.path.realpath(_local(other))


def holds(folder: str, path: str) -> bool:
    """Whether `path` lies below `folder`, through links and however they are written; it need not be there."""
    if is_remote(folder) or is_remote(path):
        return path.startswith(folder.rstrip("/") + "/") and path.rstrip("/") != folder.rstrip("/")
    return os.path.realpath(_local(path)).startswith(os.path.realpath(_local(folder)).rstrip(os.sep) + os.sep)


def open_read(uri: str) -> BinaryIO:
    """A seekable binary file.

    Raises:
        FileNotFoundError: where there is none.
    """
    if not is_remote(uri):
        return open(_local(uri), "rb")
    if remote.ours(uri):
        return remote.open_read(uri)
    fs, path = _filesystem(uri)
    with as_os_errors(uri):
        return cast(BinaryIO, fs.open(path, "rb"))


def read_bytes(uri: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: where there is none.
    """
    if not is_remote(uri):
        with open(_local(uri), "rb") as file:
            return file.read()
    if remote.ours(uri):
        return remote.read(uri)
    fs, path = _filesystem(uri)
    with as_os_errors(uri):
        return cast(bytes, fs.cat_file(path))


def read_range(uri: str, start: int, count: int) -> bytes:
    """`count` bytes from `start` on, or fewer where the file ends before; nothing else of it is fetched.

    Raises:
        FileNotFoundError: where there is none.
    """
    if not is_remote(uri):
        with open(_local(uri), "rb") as file:
            file.seek(start)
            return file.read(count)
    if remote.ours(uri):
        return remote.read(uri, start, count)
    fs, path = _filesystem(uri)
    with as_os_errors(uri):
        return cast(bytes, fs.cat_file(path, start=start, end=start + count))


def exists(uri: str) -> bool:
    """Whether there is a file or folder of that name."""
    if not is_remote(uri):
        return os.path.exists(_local(uri))
    if remote.ours(uri):
        return remote.exists(uri)
    fs, path = _filesystem(uri)
    with as_os_errors(uri):
        return bool(fs.exists(path))


def size(uri: str) -> int:
    """Bytes of the file.

    Raises:
        FileNotFoundError: where there is none.
    """
    if not is_remote(uri):
        return os.stat(_local(uri)).st_size
    if remote.ours(uri):
        return remote.stat(uri).size
    fs, path = _filesystem(uri)
    with as_os_errors(uri):
        return int(fs.size(path))


def age(uri: str) -> float:
    """Seconds since the file was written; both times are a bucket's own where it lies on one.

    Raises:
        FileNotFoundError: where there is none.
    """
    if not is_remote(uri):
        return time.time() - os.stat(_local(uri)).st_mtime
    if remote.ours(uri):
        return remote.age(uri)
    fs, path = _filesystem(uri)
    stamp = fs.modified(path)
    return time.time() - (stamp if isinstance(stamp, int | float) else stamp.timestamp())


def list_files(folder: str) -> list[str]:
    """Names of all files under `folder`, relative to it with `/` between, recursive and sorted.

    Links to folders are not followed and our own temporaries are left out. A folder that is not there has none.
    """
    if remote.ours(folder):
        return [one.name for one in remote.files(folder)]
    if is_remote(folder):
        fs, root = _filesystem(folder)
        root = root.rstrip("/")
        try:
            names = [name[len(root) :].lstrip("/") for name in fs.find(root)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name)
    root, names = _local(folder), []
    for here, _, files in os.walk(root):
        below = os.path.relpath(here, root).replace(os.sep, "/")
        names += [name if below == "." else f"{below}/{name}" for name in files if not temporaries.is_temporary(name)]
    return sorted(names)


def stamps(folder: str) -> list[tuple[str, str]]:
    """Each file below a bucket's folder, with a word that changes when the file does; no file is opened."""
    if remote.ours(folder):
        return [(one.name, f"{one.size} {one.modified} {one.version}") for one in remote.files(folder)]
    fs, root = _filesystem(folder)
    return [(name, str(fs.ukey(f"{root.rstrip('/')}/{name}"))) for name in list_files(folder)]


def sha256_file(uri: str) -> str:
    """64 hex digits of the file's bytes.

    Raises:
        FileNotFoundError: where there is none.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    with open_read(uri) as file, as_os_errors(uri):
        # `readinto` is missing from BinaryIO's protocol, though every binary file has it.
        while count := cast(Any, file).readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def write_atomic(uri: str, data: bytes) -> None:
    """Write a whole file: it appears complete, or not at all. An existing one is replaced in one step."""
    if remote.ours(uri):
        remote.write(uri, data)
        return
    if is_remote(uri):
        fs, path = _filesystem(uri)
        fs.pipe_file(path, data)
        return
    with open_atomic(uri) as file:
        file.write(data)


def copy_atomic(source: str, target: str) -> None:
    """Copy one file's bytes, across kinds of path if need be; it appears complete, or not at all."""
    with open_read(source) as file, open_atomic(target) as out:
        shutil.copyfileobj(file, out, BLOCK)


def remove(uri: str) -> None:
    """Delete a file; one that is not there is no error."""
    if not is_remote(uri):
        temporaries.unlink(_local(uri))
        return
    if remote.ours(uri):
        remote.remove(uri)
        return
    fs, path = _filesystem(uri)
    if fs.exists(path):
        fs.rm_file(path)


@contextmanager
def open_atomic(uri: str) -> Iterator[IO[bytes]]:
    """A binary file that takes its name only when the block ends without an exception.

    The file is a plain buffered one: whoever wants a digest of what is written wraps its `write`, and pays for
    nothing else. Local: flushed, synced, renamed, the folder synced. Bucket: spooled here (TMPDIR), then one upload.

    Raises:
        OSError: whatever writing raises; of a full disk it names the file, or the folder of the spool.
    """
    if is_remote(uri):
        with (
            temporaries.room(tempfile.gettempdir()),
            tempfile.NamedTemporaryFile(prefix="plumbline-", suffix=".tmp") as spool,
        ):
            yield cast(IO[bytes], spool)
            spool.flush()
            if remote.ours(uri):
                remote.upload(uri, spool.name)
            else:
                fs, path = _filesystem(uri)
                fs.put_file(spool.name, path)
        return
    with temporaries.open_local(_local(uri)) as file:
        yield file


def side_by_side(work: Callable[[A], B], items: Iterable[A], where: str, most: int = REQUESTS) -> list[B]:
    """`work` of every item, in their order: in `most` threads where `where` is on a bucket, which answers slowly."""
    if not is_remote(where):
        return [work(item) for item in items]
    with ThreadPoolExecutor(most, thread_name_prefix="requests") as pool:
        return list(pool.map(work, items))


def sweep_temporaries(folder: str) -> list[str]:
    """Remove what killed processes of this host left half-written under `folder`; returns the names removed.

    Temporaries of living processes and of other hosts (a shared disk) are left alone. A bucket has none.
    """
    if is_remote(folder):
        return []
    return temporaries.sweep(_local(folder))


def inside(folder: str, path: str) -> str:
    """`path` (relative to `folder`, or absolute) resolved, links followed.

    Raises:
        ValueError: when it lies outside `folder`, also by way of `..` or a symbolic link.
    """
    if is_remote(folder):
        root = folder.rstrip("/")
        relative = path[len(root) + 1 :] if path.startswith(root + "/") else path
        clean = posixpath.normpath(relative)
        if is_remote(relative) or clean.startswith(("/", "../")) or clean == "..":
            raise ValueError(f"{path} leaves the folder {folder}")
        return f"{root}/{clean}"
    if is_remote(path):
        raise ValueError(f"{path} leaves the folder {folder}")
    root = os.path.realpath(_local(folder))
    resolved = os.path.realpath(os.path.join(root, _local(path)))
    if resolved != root and not resolved.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError(f"{path} leaves the folder {folder}")
    return resolved


def _local(uri: str) -> str:
    return uri.removeprefix("file://")


def _filesystem(uri: str) -> tuple[Any, str]:
    import fsspec.core

    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise InputError(f"{uri}: {error}") from error
    return fs, str(path)
