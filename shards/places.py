"""Where every member of a split lies, as a few NumPy arrays: what a reader needs to fetch any sample by its number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DamageError, InputError
from shards.indexes import Index, digest_of_tars, listed, read_index_of
from shards.names import ShardName
from shards.tables import Footer
from shards.tar import BLOCK
from storage import paths

_READERS = 8
_COLUMNS = ("id", "members")


class Place(NamedTuple):
    """One member of a sample: its suffix (`image_1.jpg`), where its content lies in the tar, and the raw digest."""

    suffix: str
    offset: int
    size: int
    sha256: bytes


@dataclass(frozen=True)
class Places:
    """The samples of a split's finished shards, numbered from 0 in the order of the shards.

    Attributes:
        tars: addresses, in order.
        counts: samples of each.
        digest: of the tars: the same samples have the same one.
        left_out: a message for each shard whose index cannot be read or is missing, where such are skipped.
        unfinished: of a run that is not finished, which shards are not there yet; empty where all are.
        starts, ends: per sample, the bytes of the tar that hold it, the header of its first member included.
    """

    tars: tuple[str, ...]
    counts: tuple[int, ...]
    digest: str
    left_out: tuple[str, ...]
    unfinished: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    _ids: NDArray[np.bytes_]
    _shard: NDArray[np.int32]
    _first: NDArray[np.int64]
    _suffix: NDArray[np.int32]
    _offset: NDArray[np.int64]
    _size: NDArray[np.int64]
    _sha256: NDArray[np.uint8]
    _suffixes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def id(self, number: int) -> str:
        """The sample's id."""
        return bytes(self._ids[number]).decode()

    def numbered(self, ids: Collection[str]) -> NDArray[np.bool_]:
        """[samples], True where the sample is one of `ids`.

        Raises:
            InputError: there is no such sample; names one.
        """
        asked = np.array(sorted(set(ids)), dtype=f"S{self._ids.dtype.itemsize + 1}")
        missing = asked[~np.isin(asked, self._ids)]
        if len(missing):
            raise InputError(
                f"ids: {len(missing)} of {len(asked)} are not in this split, such as {missing[0].decode()}"
            )
        return np.isin(self._ids, asked)

    def shard(self, number: int) -> int:
        """Which of `tars` holds the sample."""
        return int(self._shard[number])

    def shards(self, numbers: Sequence[int]) -> list[int]:
        """The same for many."""
        found: list[int] = self._shard[numbers].tolist()
        return found

    def check_images(self, names: Collection[str]) -> None:
        """Every name must be one that a sample's image has.

        Raises:
            InputError: one is not; says which there are. Where there is no sample nothing is said.
        """
        there = sorted(suffix.removesuffix(".jpg") for suffix in self._suffixes if suffix.endswith(".jpg"))
        missing = sorted({*names} - {*there})
        if missing and len(self):
            raise InputError(f"images: no sample of this split has {missing[0]!r}; there are {', '.join(there)}")

    def members(self, number: int) -> list[Place]:
        """The sample's members, in the order of the tar."""
        span = slice(int(self._first[number]), int(self._first[number + 1]))
        names = [self._suffixes[code] for code in self._suffix[span].tolist()]
        digests = [digest.tobytes() for digest in self._sha256[span]]
        return list(map(Place, names, self._offset[span].tolist(), self._size[span].tolist(), digests))


def places_of(out: str, split: str, *, skip_damaged: bool = False) -> Places:
    """Read the indexes of a split's finished shards; no tar is opened.

    Raises:
        InputError: the folder has no finished shard of this split.
        DamageError: an index cannot be read, or is missing though the run is finished; with `skip_damaged` its shard
            is left out.
    """
    shards = listed(out, split)
    lost = shards.lost(out)
    if lost and not skip_damaged:
        raise DamageError(lost[0])

    def read(name: ShardName) -> _Part | DamageError | None:
        try:
            index = read_index_of(out, name, _COLUMNS)
            return None if index is None else _part(out, index)
        except DamageError as error:
            if skip_damaged:
                return error
            raise

    with ThreadPoolExecutor(_READERS, thread_name_prefix="places") as pool:
        found = list(pool.map(read, shards.there))
    parts = [part for part in found if isinstance(part, _Part)]
    unreadable = [str(error) for error in found if isinstance(error, DamageError)]
    return _joined(out, parts, [*lost, *unreadable], shards.unfinished(out))


def _joined(out: str, parts: Sequence[_Part], left_out: Sequence[str], unfinished: str) -> Places:
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = tuple(len(part.lengths) for part in parts)
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    first = np.cumsum(lengths)
    suffixes = pa.chunked_array([p.suffixes for p in parts], pa.string()).combine_chunks().dictionary_encode()
    offset, size = (_flat([p.members.field(name) for p in parts]) for name in ("offset", "size"))
    total = int(first[-1])
    return Places(
        tars=tuple(paths.join(out, part.footer.name.tar) for part in parts),
        counts=counts,
        digest=digest_of_tars(part.footer for part in parts),
        left_out=tuple(left_out),
        unfinished=unfinished,
        starts=offset[first[:-1]] - BLOCK if total else np.zeros(0, np.int64),
        ends=(offset + size)[first[1:] - 1] if total else np.zeros(0, np.int64),
        _ids=np.array([key for p in parts for key in p.ids.to_pylist()], dtype="S"),
        _shard=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        _first=first,
        _suffix=suffixes.indices.to_numpy(zero_copy_only=False).astype(np.int32),
        _offset=offset,
        _size=size,
        _sha256=np.concatenate([p.digests for p in parts] or [np.zeros((0, 32), np.uint8)]),
        _suffixes=tuple(pc.cast(suffixes.dictionary, pa.string()).to_pylist()),
    )


class _Part(NamedTuple):
    footer: Footer
    ids: Any
    lengths: NDArray[np.int64]
    members: Any
    suffixes: Any
    digests: NDArray[np.uint8]


def _part(out: str, index: Index) -> _Part:
    """An index taken apart; a sample without members, or with a member of another name, is damage."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids, members = (_one_array(index.table.column(name)) for name in _COLUMNS)
    lengths = members.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    flat = members.flatten()
    owners = ids.take(pa.array(np.repeat(np.arange(len(ids)), lengths)))
    try:
        parts = pc.split_pattern(flat.field("name"), ".", max_splits=1)
        sound = pc.all(pc.equal(pc.list_element(parts, 0), owners), min_count=0).as_py() and lengths.min(initial=1) > 0
        suffixes = pc.list_element(parts, 1)
        digests = np.frombuffer(bytes.fromhex("".join(flat.field("sha256").to_pylist())), np.uint8).reshape(-1, 32)
        sound = sound and len(digests) == len(flat)
    except (pa.ArrowInvalid, TypeError, ValueError):
        sound = False
    if not sound:
        uri = paths.join(out, index.name.index_file)
        raise DamageError(f"{uri}: a sample has no members, or members that are not its own; run `verify`")
    return _Part(index.footer, ids, lengths, flat, suffixes, digests)


def _one_array(column: Any) -> Any:
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _flat(columns: Sequence[Any]) -> NDArray[np.int64]:
    import pyarrow as pa

    joined = pa.chunked_array(list(columns), pa.int64()).combine_chunks()
    return np.asarray(joined.to_numpy(zero_copy_only=False), dtype=np.int64)
