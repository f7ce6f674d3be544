"""The indexes of a finished run, a few columns of each shard; no tar is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from schemas.errors import DamageError, InputError
from shards.manifest import read_run, unfinished
from shards.names import ShardName, names_of
from shards.tables import Footer, index_table
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
        DamageError: an index cannot be read.
    """
    run_hash, run = read_run(out)
    names = names_of(run["shards"])

    def read(name: ShardName) -> Index | None:
        found = read_index_of(out, name, columns)
        return found if found is not None and found.footer.run_hash == run_hash else None

    with ThreadPoolExecutor(_READERS, thread_name_prefix="indexes") as pool:
        found = list(pool.map(read, names))
    if missing := [str(name) for name, index in zip(names, found, strict=True) if index is None]:
        raise InputError(f"{out}: {unfinished(missing, len(names))}; run the command that makes it, then this one")
    return [index for index in found if index is not None]


def read_index_of(out: str, name: ShardName, columns: Sequence[str] | None = None) -> Index | None:
    """One shard's index, with these columns or all; None where it is not finished.

    Raises:
        DamageError: it cannot be read.
    """
    uri = paths.join(out, name.index_file)
    try:
        return Index(name, *index_table(paths.read_bytes(uri), name, columns))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamageError(f"{uri}: {error}; run `verify`") from error


def digest_of_tars(footers: Iterable[Footer]) -> str:
    """sha256 over the names and digests of the tars: the samples that a folder holds, in a word."""
    lines = sorted(f"{footer.name} {footer.tar_sha256}" for footer in footers)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
