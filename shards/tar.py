"""Plain POSIX ustar: a writer whose bytes depend on nothing but the members, and a walk over members.

The writer exists for speed and sameness: one header of 512 bytes per member, time and owner 0, no extended headers.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from schemas.errors import DamageError

BLOCK = 512
CHUNK = 1 << 20
LARGEST = 8 * 1024**3 - 1
LONGEST_NAME = 100
_ZEROS = bytes(BLOCK)
_END = bytes(2 * BLOCK)
# Everything of a header that is the same for all members: mode 0644, uid and gid 0, time 0, a regular file.
_FIELDS = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" + b"0" * 11 + b"\0" + b" " * 8 + b"0"
_REGULAR = (b"0", b"\0", b"7")


class Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


@dataclass(frozen=True)
class Member:
    """A file in a tar. `offset`: of its first byte of content in the tar, so that one read fetches it."""

    name: str
    sha256: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's content.

    Raises:
        ValueError: a name of more than 100 ASCII characters, or 8 GiB or more of content: plain ustar has no room.
    """
    encoded = name.encode("ascii", "replace")
    if not encoded or len(encoded) > LONGEST_NAME or not name.isascii() or "\0" in name:
        raise ValueError(f"{name!r} cannot name a tar member: it needs 1 to {LONGEST_NAME} ASCII characters")
    if not 0 <= size <= LARGEST:
        raise ValueError(f"{name}: {size:,} bytes are more than a plain tar member holds ({LARGEST:,})")
    block = bytearray(encoded.ljust(LONGEST_NAME, b"\0") + _FIELDS % size + bytes(100) + b"ustar\x0000")
    block.extend(bytes(BLOCK - len(block)))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class TarWriter:
    """Writes members to an open file and hashes the whole tar in a thread of its own.

    Use as a context manager: leaving it writes the end blocks and sets `sha256` and `size` of the tar.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.sha256, self.size = "", 0
        self._file = file
        self._pending: list[bytes | memoryview] = []
        self._held = 0
        self._chunks: queue.Queue[list[bytes | memoryview] | None] = queue.Queue(maxsize=4)
        self._digest = hashlib.sha256()
        self._hasher = threading.Thread(target=self._hash_chunks, name="tar-sha256", daemon=True)
        self._hasher.start()

    def add(self, name: str, data: bytes | memoryview, sha256: str = "") -> Member:
        """Append one member; `sha256` spares hashing content whose digest is known already.

        Raises:
            ValueError: see `header`.
        """
        self._put(header(name, len(data)))
        member = Member(name, sha256 or hashlib.sha256(data).hexdigest(), self.size, len(data))
        self._put(data)
        if len(data) % BLOCK:
            self._put(_ZEROS[: -len(data) % BLOCK])
        return member

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._put(_END)
                self._flush()
        finally:
            self._chunks.put(None)
            self._hasher.join()
        self.sha256 = self._digest.hexdigest()

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._pending.append(data)
        self.size += len(data)
        self._held += len(data)
        if self._held >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        # Handed over as they are: joining them first would cost as much as hashing a third of them.
        self._chunks.put(self._pending)
        self._pending, self._held = [], 0

    def _hash_chunks(self) -> None:
        while (chunks := self._chunks.get()) is not None:
            for chunk in chunks:
                self._digest.update(chunk)


def walk(file: IO[bytes], label: str, digest: Hash | None = None) -> Iterator[tuple[str, int, memoryview]]:
    """(name, offset, content) of every regular member, in one pass with a few MiB of memory.

    Also reads what other writers make: extended and GNU headers (long names) are understood, folders skipped.

    Args:
        label: what messages call the tar.
        digest: is given every byte of the file, also those behind the end blocks, when the walk is exhausted.

    Raises:
        DamageError: a header whose checksum is wrong, or a tar that is cut short.
    """
    window = _Window(file, label, digest)
    long_name = ""
    while True:
        at = window.position
        block = bytes(window.take(BLOCK))
        if block == _ZEROS:
            window.drain()
            return
        size = _size(block, label, at)
        start = window.position
        content = window.take(size + -size % BLOCK)[:size]
        kind = block[156:157]
        if kind in _REGULAR:
            yield long_name or _name(block), start, content
            long_name = ""
        elif kind == b"x":
            long_name = _pax_path(bytes(content))
        elif kind == b"L":
            long_name = bytes(content).split(b"\0", 1)[0].decode("utf-8", "replace")


class _Window:
    """A moving view of the file: `take` hands out the next bytes, and copies only what straddles two reads."""

    def __init__(self, file: IO[bytes], label: str, digest: Hash | None) -> None:
        self._file, self._label, self._digest = file, label, digest
        self._view, self._at = memoryview(b""), 0
        self.position = 0

    def take(self, count: int) -> memoryview:
        end = self._at + count
        if end > len(self._view):
            return self._refilled(count)
        taken = self._view[self._at : end]
        self._at = end
        self.position += count
        return taken

    def drain(self) -> None:
        while self._digest is not None and (block := self._file.read(CHUNK)):
            self._digest.update(block)

    def _refilled(self, count: int) -> memoryview:
        left = self._view[self._at :]
        need = count - len(left)
        fresh = self._file.read(max(CHUNK, need))
        if self._digest is not None:
            self._digest.update(fresh)
        if len(fresh) < need:
            raise DamageError(f"{self._label}: cut short at byte {self.position + len(left) + len(fresh):,}")
        self._view, self._at = memoryview(fresh), need
        self.position += count
        return memoryview(bytes(left) + fresh[:need]) if left else self._view[:need]


def _size(block: bytes, label: str, at: int) -> int:
    try:
        said = int(block[148:156].strip(b" \0"), 8)
        size = int(block[124:136].strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise DamageError(f"{label}: the header at byte {at:,} is damaged") from error
    # The checksum counts its own field as eight spaces.
    if said != sum(block) - sum(block[148:156]) + 8 * 32 or size < 0:
        raise DamageError(f"{label}: the header at byte {at:,} is damaged: its checksum is wrong")
    return size


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _pax_path(records: bytes) -> str:
    while records:
        length, _, rest = records.partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            return ""
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "replace")
        records = records[int(length) :]
    return ""
