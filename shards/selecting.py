"""Choosing samples of a finished run by what its index says of them; no tar is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.errors import DamageError, InputError
from shards.expressions import Condition, Kind
from shards.indexes import read_index_of, read_indexes
from shards.manifest import read_run
from shards.names import names_of
from storage import paths


def columns_of(out: str) -> dict[str, Kind]:
    """The columns that may be chosen by, and what each holds; the lists of members and subjects are none.

    Raises:
        InputError: `out` is no run, or its first shard is not finished.
        DamageError: the index cannot be read.
    """
    import pyarrow as pa

    names = names_of(read_run(out)[1]["shards"])
    if not names:
        raise InputError(f"{out}: has no shards, so there is nothing to choose from")
    index = read_index_of(out, names[0])
    if index is None:
        raise InputError(f"{out}: {names[0]} is not finished; run the command that makes it, then this one")
    kinds: dict[str, Kind] = {}
    for field in index.table.schema:
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
            kinds[field.name] = "number"
        elif pa.types.is_string(field.type):
            kinds[field.name] = "text"
    return kinds


def matching(
    out: str,
    condition: Condition | None,
    within: frozenset[str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> tuple[list[str], int]:
    """(ids of the samples that meet the condition, in the order of the shards; how many samples there are).

    Args:
        condition: None: all do.
        within: only these are looked at; None: all.
        texts: further columns that hold one text in every row.

    Raises:
        InputError: `out` is not a finished run.
        DamageError: an index cannot be read, or lacks a column.
    """
    import pyarrow as pa

    texts = texts or {}
    names = {"id", *(condition.columns if condition else ())} - set(texts)
    found: list[str] = []
    total = 0
    for index in read_indexes(out, sorted(names)):
        table = index.table
        total += table.num_rows
        if missing := names - set(table.column_names):
            uri = paths.join(out, index.name.index_file)
            raise DamageError(f"{uri}: has no column {min(missing)}, unlike the other shards; run `verify`")
        for name, text in texts.items():
            table = table.append_column(name, pa.array([text] * table.num_rows, pa.string()))
        if condition is not None:
            table = table.filter(condition.mask(table))
        ids = table.column("id").to_pylist()
        found += ids if within is None else [key for key in ids if key in within]
    return found, total


def rows_matching(condition: Condition, kinds: Mapping[str, Kind], rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each row, whether it meets the condition; a column that it does not have was not computed."""
    import pyarrow as pa

    types = {"number": pa.float64(), "text": pa.string()}
    columns = {
        name: pa.array([_cell(row.get(name), kinds[name]) for row in rows], types[kinds[name]])
        for name in condition.columns
    }
    if not columns:
        return [True] * len(rows)
    chosen: list[bool] = condition.mask(pa.table(columns)).to_pylist()
    return chosen


def read_ids(file: str) -> frozenset[str]:
    """The ids in a file, one to a line; empty lines are none.

    Raises:
        InputError: it cannot be read, or a line is no id.
    """
    try:
        text = paths.read_bytes(file).decode("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file; --ids takes a text file with one id to a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error}); --ids takes one id to a line") from error
    ids: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if len(key.split()) > 1 or len(key) > 200:
            raise InputError(f"{file}: line {number}: {key[:40]!r} is no id; --ids takes one id to a line")
        if key:
            ids.add(key)
    if not ids:
        raise InputError(f"{file}: holds no id")
    return frozenset(ids)


def write_ids(file: str, ids: Iterable[str]) -> None:
    """One id to a line, in order; the file appears whole or not at all.

    Raises:
        InputError: there is no such folder, or the file cannot be written.
    """
    folder = file.rpartition("/")[0]
    if folder and not paths.is_remote(file) and not paths.exists(folder):
        raise InputError(f"{file}: there is no folder {folder}; make it, or choose another place")
    try:
        paths.write_atomic(file, "".join(f"{key}\n" for key in ids).encode())
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error}); choose another place") from error


def _cell(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    return float(value) if kind == "number" else str(value)
