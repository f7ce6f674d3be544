"""An output folder as columns, from its Parquet files alone: what is compared without opening a tar."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DamageError, InputError
from schemas.usage import Usage, total
from shards.indexes import refuse_lost
from shards.manifest import read_run, unfinished
from shards.names import SHARDS, ShardName, committed, names_of
from shards.tables import Footer, index_table, read_rejects
from storage import paths

_READERS = 8


class Kept(NamedTuple):
    """A sample as its index row has it.

    Attributes:
        row: its place in every array of `Output.scores`.
        target: sha256 of its target; empty where the dataset has none.
        record: sha256 of its JSON, which lies in the tar of `shard` at `offset`, `size` bytes long.
    """

    row: int
    task: str
    instruction: str
    target: str
    record: str
    shard: ShardName
    offset: int
    size: int


class Rejected(NamedTuple):
    """A plan without a sample; the rest of its row is in the rejects of `shard`."""

    task: str
    stage: str
    reason: str
    shard: ShardName


@dataclass(frozen=True)
class Output:
    """The finished shards of a run.

    Attributes:
        footers: of the finished shards, in order.
        missing: what is not finished, in words; empty where nothing is.
        kept, rejected: by plan id.
        scores: by column, float64 in the order of the index rows; NaN where not computed.
    """

    out: str
    run: dict[str, Any]
    footers: list[Footer]
    missing: str
    usage: dict[str, Usage]
    kept: dict[str, Kept]
    rejected: dict[str, Rejected]
    scores: dict[str, NDArray[np.float64]]


def read_output(out: str) -> Output:
    """Read every index and rejects file of the shards that this run has finished.

    Raises:
        InputError: `out` is not the folder of a run, or nothing of it is finished.
        DamageError: a file cannot be read, or is missing although the run is finished.
    """
    run_hash, run = read_run(out)
    names = committed(paths.list_files(paths.join(out, SHARDS)))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="columns") as pool:
        parts = [part for part in pool.map(lambda name: _part(out, name, run_hash), names) if part is not None]
    done = {part.footer.name for part in parts}
    every = names_of(run["shards"])
    missing = [name for name in every if name not in done]
    refuse_lost(out, run_hash, missing)
    if not parts:
        raise InputError(f"{paths.join(out, SHARDS)}: no shard is finished yet; run the command that makes it")
    rows = itertools.count()
    return Output(
        out=out,
        run=run,
        footers=[part.footer for part in parts],
        missing=unfinished([str(name) for name in missing], len(every)) if missing else "",
        usage=total(part.usage for part in parts),
        kept={key: sample._replace(row=next(rows)) for part in parts for key, sample in part.kept},
        rejected=dict(itertools.chain.from_iterable(part.rejected for part in parts)),
        scores=_joined([part.scores for part in parts]),
    )


def read_records(output: Output, keys: list[str]) -> dict[str, dict[str, Any]]:
    """The JSON of these samples by id, each read from its tar by its range.

    Raises:
        DamageError: a tar is missing, or what lies there is no JSON.
    """

    def record(key: str) -> dict[str, Any]:
        kept = output.kept[key]
        uri = paths.join(output.out, kept.shard.tar)
        try:
            found = json.loads(paths.read_range(uri, kept.offset, kept.size))
        except (OSError, ValueError) as error:
            raise DamageError(f"{uri}: sample {key} has no readable JSON ({error}); run `verify`") from error
        return found if isinstance(found, dict) else {}

    with ThreadPoolExecutor(_READERS, thread_name_prefix="records") as pool:
        return dict(zip(keys, pool.map(record, keys), strict=True))


def read_rejections(output: Output, keys: list[str]) -> dict[str, dict[str, Any]]:
    """The whole rows of these rejections by id."""
    wanted = set(keys)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({output.rejected[key].shard for key in keys}):
        _, rows = read_rejects(paths.read_bytes(paths.join(output.out, name.rejects)))
        found |= {row["id"]: row for row in rows if row["id"] in wanted}
    return found


class _Part(NamedTuple):
    footer: Footer
    usage: dict[str, Usage]
    kept: list[tuple[str, Kept]]
    rejected: list[tuple[str, Rejected]]
    scores: dict[str, NDArray[np.float64]]


def _part(out: str, name: ShardName, run_hash: str) -> _Part | None:
    """One shard; None where another run made it."""
    file = name.index_file
    try:
        footer, table = index_table(paths.read_bytes(paths.join(out, file)), name)
        if footer.run_hash != run_hash:
            return None
        kept = _kept(table, name)
        file = name.rejects
        columns = ["id", "task", "stage", "reason"]
        usage, rows = read_rejects(paths.read_bytes(paths.join(out, file)), columns)
    except (OSError, ValueError) as error:
        raise DamageError(f"{paths.join(out, file)}: {error}") from error
    rejected = [(row["id"], Rejected(row["task"], row["stage"], row["reason"], name)) for row in rows]
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    # A column of nothing but nulls is converted as objects, so the type is said.
    scores = {one: np.asarray(table.column(one).to_numpy(zero_copy_only=False), np.float64) for one in floats}
    return _Part(footer, usage, kept, rejected, scores)


def _kept(table: Any, name: ShardName) -> list[tuple[str, Kept]]:
    members = table.column("members").combine_chunks()
    flat, lengths = members.flatten(), members.value_lengths().to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(members)), lengths)

    def ending(suffix: str) -> dict[int, dict[str, Any]]:
        mask = pc.ends_with(flat.field("name"), suffix)
        rows = owners[mask.to_numpy(zero_copy_only=False).astype(bool)]
        return dict(zip(rows.tolist(), flat.filter(mask).to_pylist(), strict=True))

    records, targets = ending(".json"), ending(".target.jpg")
    ids, tasks, instructions = (_texts(table, column) for column in ("id", "task", "instruction"))
    kept = []
    for i, key in enumerate(ids):
        if i not in records:
            raise ValueError(f"sample {key} has no JSON among its members")
        target, record = targets[i]["sha256"] if i in targets else "", records[i]
        kept.append(
            (key, Kept(0, tasks[i], instructions[i], target, record["sha256"], name, record["offset"], record["size"]))
        )
    return kept


def _texts(table: Any, column: str) -> list[str]:
    if column not in table.column_names:
        return [""] * table.num_rows
    return [text or "" for text in table.column(column).to_pylist()]


def _joined(parts: list[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """One run's shards all have the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
