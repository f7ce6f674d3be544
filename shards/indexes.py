"""The indexes of a finished run, a few columns of each shard; no tar is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from schemas.errors import DamageError, InputError
from shards.manifest import read_manifest, read_run, unfinished
from shards.names import MANIFEST, SHARDS, ShardName, committed, names_of
from shards.tables import Footer, index_table
from shards.tar import BLOCK
from storage import paths

_READERS = 8


class Index(NamedTuple):
    """A shard's footer, and a pyarrow table of the columns asked for, those apart that it does not have."""

    name: ShardName
    footer: Footer
    table: Any


def read_indexes(out: str, columns: Sequence[str]) -> list[Index]:
    """Every shard of a run, in order.

    Raises:
        InputError: `out` is not the folder of a run, or a shard of it is not finished.
        DamageError: an index cannot be read, or is missing although the run is finished.
    """
    run_hash, run = read_run(out)
    names = names_of(run["shards"])

    def read(name: ShardName) -> Index | None:
        found = read_index_of(out, name, columns)
        return found if found is not None and found.footer.run_hash == run_hash else None

    with ThreadPoolExecutor(_READERS, thread_name_prefix="indexes") as pool:
        found = list(pool.map(read, names))
    if missing := [name for name, index in zip(names, found, strict=True) if index is None]:
        refuse_lost(out, run_hash, missing)
        not_yet = unfinished([str(name) for name in missing], len(names))
        raise InputError(f"{out}: {not_yet}; run the command that makes it, then this one")
    return [index for index in found if index is not None]


def read_index_of(out: str, name: ShardName, columns: Sequence[str] | None = None) -> Index | None:
    """One shard's index, with these columns or all; None where it is not finished.

    Raises:
        DamageError: it cannot be read.
    """
    uri = paths.join(out, name.index_file)
    try:
        index = Index(name, *index_table(paths.read_bytes(uri), name, columns))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamageError(f"{uri}: {error}; run `verify`") from error
    if "members" in index.table.column_names:
        _refuse_impossible_places(uri, index)
    return index


def refuse_lost(out: str, run_hash: str, lost: Sequence[ShardName]) -> None:
    """Shards without an index of this run are not made yet, unless the manifest says that the run is finished.

    Raises:
        DamageError: it does; names the first of them.
    """
    manifest = read_manifest(out) if lost else None
    if manifest is not None and manifest.get("run") == run_hash:
        uri = paths.join(out, lost[0].index_file)
        why = "is of another run" if paths.exists(uri) else "is missing"
        raise DamageError(f"{uri}: {why}, though {MANIFEST} says that the run is finished; run `verify`")


def read_span(tar: str, start: int, count: int) -> bytes:
    """These bytes of a tar whose index says that they are there, or fewer where it is cut.

    Raises:
        DamageError: there is no such tar, or it has no such bytes. A bucket that does not answer is no damage of the
            tar: that stays an OSError.
    """
    try:
        return paths.read_range(tar, start, count)
    except FileNotFoundError as error:
        raise DamageError(f"{tar}: is missing, though its index says that it is finished") from error
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, OSError) and paths.is_remote(tar):
            raise
        why = f"{error}" or type(error).__name__
        raise DamageError(f"{tar}: {count} bytes from {start} on cannot be read ({why}); run `verify`") from error


class Listed(NamedTuple):
    """The shards of a split, by whether their index, the finish mark, is there.

    Attributes:
        missing: those that run.json, or the names of the others, say there are, and that have none.
        finished: whether the run is, so that nothing may be missing.
    """

    there: list[ShardName]
    missing: list[ShardName]
    finished: bool

    def lost(self, out: str) -> list[str]:
        """Of a finished run, a message for each shard whose index is missing."""
        files = [paths.join(out, name.index_file) for name in self.missing if self.finished]
        return [f"{file}: is missing, though {MANIFEST} says that the run is finished; run `verify`" for file in files]

    def unfinished(self, out: str) -> str:
        """Of a run that is not finished, what is not there yet; empty where nothing is missing."""
        if self.finished or not self.missing:
            return ""
        missing = unfinished([str(name) for name in self.missing], len(self.missing) + len(self.there))
        return f"{out}: {missing}; only the others are read"


def listed(out: str, split: str) -> Listed:
    """Which shards of a split are there, and which are not.

    Raises:
        InputError: there is none, and none is said to be; says which splits there are.
    """
    every = committed(paths.list_files(paths.join(out, SHARDS)))
    there = [name for name in every if name.split == split]
    finished = paths.exists(paths.join(out, MANIFEST))
    try:
        planned: dict[str, int] = read_run(out)[1]["shards"]
    except InputError:  # The shards alone were copied: each says how many there are.
        planned = {name.split: name.of for name in sorted(every, key=lambda name: name.of)}
    found = Listed(there, sorted({*names_of({split: planned.get(split, 0)})} - {*there}), finished)
    if not there and not found.lost(out):
        raise InputError(_nothing_of(out, split, planned, {name.split for name in every}))
    return found


def _nothing_of(out: str, split: str, planned: Collection[str], finished: Collection[str]) -> str:
    """Why there is no shard of a split: no folder, no run, another split, or not finished yet."""
    if not planned and not paths.exists(out):
        return f"{out}: there is no such folder; name the folder that a run wrote"
    if planned and split not in planned:
        return f"{out}: has no split {split}; it has {', '.join(sorted(planned))}"
    others = f"; there are of {', '.join(sorted(finished))}" if finished else ""
    return f"{paths.join(out, SHARDS)}: there is no finished shard of the split {split}{others}"


def _refuse_impossible_places(uri: str, index: Index) -> None:
    """Every member must lie where a tar of the footer's size can have one; otherwise damage that names the sample."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    members, end = index.table.column("members"), index.footer.tar_bytes
    try:
        flat = pa.chunked_array([chunk.flatten() for chunk in members.chunks], members.type.value_type)
        offset, size = (
            pc.fill_null(pc.struct_field(flat, [name]).cast(pa.int64()), -1).to_numpy() for name in ("offset", "size")
        )
        wrong = (offset < BLOCK) | (offset % BLOCK != 0) | (size < 0) | (offset > end) | (size > end - offset)
    except (pa.ArrowException, AttributeError, TypeError) as error:
        raise DamageError(f"{uri}: its members have no places ({error}); run `verify`") from error
    if wrong.any():
        row = _row_of(members, int(np.argmax(wrong)))
        names = index.table.column_names
        sample = index.table.column("id")[row].as_py() if "id" in names else f"in row {row}"
        raise DamageError(
            f"{uri}: sample {sample} has a member at {offset[wrong][0]} of {size[wrong][0]} bytes, where its tar of "
            f"{end} bytes can have none; run `verify`"
        )


def _row_of(members: Any, number: int) -> int:
    """The row whose list holds the member of this number."""
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(members), 0).to_numpy()
    return int(np.searchsorted(np.cumsum(lengths), number, side="right"))


def digest_of_tars(footers: Iterable[Footer]) -> str:
    """sha256 over the names and digests of the tars: the samples that a folder holds, in a word."""
    lines = sorted(f"{footer.name} {footer.tar_sha256}" for footer in footers)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
