"""The scores that a run has stored, of what it kept and of what its filters rejected; no tar is opened."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.draft import ErrorClass
from schemas.errors import DamageError, InputError
from shards.indexes import read_index_of, refuse_lost
from shards.manifest import read_run
from shards.names import SHARDS, ShardName, committed, names_of
from shards.tables import read_rejects
from storage import paths

_FILTERED = str(ErrorClass.FILTERED)


class StoredRow(NamedTuple):
    """A sample that has been scored, kept or not; scores that were not computed are left out."""

    id: str
    task: str
    kept: bool
    scores: dict[str, float]


def stored_rows(out: str) -> list[StoredRow]:
    """Every scored sample of the finished shards, in their order: first what was kept of a shard, then its rejections.

    Raises:
        InputError: `out` is not the folder of a run, or nothing of it is finished.
        DamageError: a file cannot be read, or is missing although the run is finished.
    """
    run_hash, run = read_run(out)
    rows: list[StoredRow] = []
    found: set[ShardName] = set()
    for name in committed(paths.list_files(paths.join(out, SHARDS))):
        index = read_index_of(out, name)
        if index is None or index.footer.run_hash != run_hash:
            continue
        found.add(name)
        rows += _kept(index.table)
        rows += _rejected(out, name)
    refuse_lost(out, run_hash, [name for name in names_of(run["shards"]) if name not in found])
    if not found:
        raise InputError(f"{paths.join(out, SHARDS)}: no shard is finished yet; run the command that makes it")
    return rows


def _kept(table: Any) -> list[StoredRow]:
    import pyarrow as pa

    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    tasks = table.column("task").to_pylist() if "task" in table.column_names else [""] * table.num_rows
    columns = {name: table.column(name).to_pylist() for name in floats}
    return [
        StoredRow(key, task or "", True, {name: values[i] for name, values in columns.items() if values[i] is not None})
        for i, (key, task) in enumerate(zip(table.column("id").to_pylist(), tasks, strict=True))
    ]


def _rejected(out: str, name: ShardName) -> list[StoredRow]:
    uri = paths.join(out, name.rejects)
    try:
        _, rows = read_rejects(paths.read_bytes(uri), ["id", "task", "class", "scores"])
        return [
            StoredRow(row["id"], row["task"] or "", False, json.loads(row["scores"] or "{}"))
            for row in rows
            if row["class"] == _FILTERED
        ]
    except (OSError, ValueError) as error:
        raise DamageError(f"{uri}: {error}; run `verify`") from error
