"""Chosen samples of an output, copied into an output of their own: bytes from tar to tar, nothing decoded or asked."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from schemas.counting import many
from schemas.errors import DamageError, InputError
from shards.commit import ShardSample, finished, write_shard
from shards.indexes import Index, digest_of_tars, read_index_of, read_indexes, read_span
from shards.manifest import canonical, finished_run, read_run, write_manifest, write_run
from shards.names import MANIFEST, RUN, names_of
from shards.tables import Column
from storage import paths

Json = dict[str, Any]
_CARRIED = ("dataset", "prompts", "versions", "notes")
_OWN = ("id", "split", "subjects", "members")
_READERS_LOCAL, _READERS_REMOTE = 4, 16
_ADDED = -1


def copy_samples(
    out: str,
    dest: str,
    ids: Iterable[str],
    *,
    shard_samples: int | None = None,
    note: Mapping[str, Any] | None = None,
    replace: bool = False,
    added: Mapping[str, Sequence[ShardSample]] | None = None,
) -> Json:
    """Write the samples `ids` of the finished run `out` as an output folder `dest`, and return its manifest.

    `dest` is what any run's folder is (`verify`, `merge` and every reader take it), without rejections and without
    usage. Splits stay, and in a split the order of the shards; index columns and subjects go along. The same
    choice gives the same bytes; killed, it goes on with the shard it was at, and until the last is there `dest` has
    no manifest. Every member is compared with its digest on the way.

    Args:
        shard_samples: samples per shard; by default as many as the fullest shard of `out` holds.
        note: JSON of what was chosen and why, kept in run.json under `selection`.
        replace: remove another selection that lies in `dest`; otherwise it is an error.
        added: by split, samples that are in none of the shards of `out` and follow those that are; an image of theirs
            that cannot be had costs its sample, which becomes a rejection.

    Raises:
        InputError: `out` is no finished run, an id is not in it, or `dest` holds something else.
        DamageError: a tar of `out` is missing or is not what its index says.
    """
    chosen = set(ids)
    if paths.same(out, dest):
        raise InputError(f"{dest}: is the output that is chosen from; choose another folder")
    indexes = read_indexes(out, ["id"])
    places = _places(indexes, chosen, out)
    further = {split: sorted(samples, key=lambda sample: sample.id) for split, samples in (added or {}).items()}
    for split, samples in further.items():
        places.setdefault(split, []).extend((_ADDED, row) for row in range(len(samples)))
        chosen |= {sample.id for sample in samples}
    size = shard_samples or max([1, *(index.footer.kept for index in indexes)])
    run = _run(out, indexes, chosen, {split: len(rows) for split, rows in places.items()}, size, note or {})
    if replace:
        _remove_other(dest, run)
    run_hash = write_run(dest, run)
    names = names_of(run["shards"])
    manifest = finished_run(dest, run_hash)
    if manifest is not None and all(finished(dest, name, run_hash) is not None for name in names):
        return manifest
    paths.sweep_temporaries(dest)
    index_of = lru_cache(maxsize=2)(lambda k: read_index_of(out, indexes[k].name))
    readers = _READERS_REMOTE if paths.is_remote(out) else _READERS_LOCAL
    for name in names:
        rows = places[name.split][name.index * size : (name.index + 1) * size]
        if finished(dest, name, run_hash) is None:
            copied = [place for place in rows if place[0] != _ADDED]
            samples, columns = _samples(out, copied, index_of)
            samples += [further[name.split][row] for k, row in rows if k == _ADDED]
            columns = columns or _columns_of(out, indexes)
            options: Json = {"run_hash": run_hash, "planned": len(rows), "columns": columns, "readers": readers}
            write_shard(dest, name, samples, [], **options)
    return write_manifest(dest)


def selection_of(run: Mapping[str, Any]) -> Json:
    """What run.json of a selection says of it; empty for any other run.

    Its keys: `run` (the hash of the run chosen from), `tars` (the digest of its shards), `of` (its run.json),
    `samples`, `ids` (`ids_digest`), `shard_samples`, `note`.
    """
    found = run.get("selection")
    return found if isinstance(found, dict) else {}


def ids_digest(ids: Iterable[str]) -> str:
    """The sha256 of the sorted ids, one to a line."""
    return hashlib.sha256("".join(f"{key}\n" for key in sorted(ids)).encode()).hexdigest()


def _places(indexes: list[Index], chosen: Collection[str], out: str) -> dict[str, list[tuple[int, int]]]:
    """By split, (number of the index, row in it) of each chosen sample, in the order of the shards."""
    places: dict[str, list[tuple[int, int]]] = {index.name.split: [] for index in indexes}
    found: set[str] = set()
    for k, index in enumerate(indexes):
        for row, key in enumerate(index.table.column("id").to_pylist()):
            if key in chosen and key not in found:
                found.add(key)
                places[index.name.split].append((k, row))
    if missing := sorted(key for key in chosen if key not in found):
        raise InputError(
            f"{out}: has no sample {missing[0]!r} ({len(missing):,} of {many(len(chosen), 'id')} not in it); "
            "a rejected sample has no place in the shards"
        )
    return places


def _run(
    out: str,
    indexes: list[Index],
    chosen: Collection[str],
    counts: Mapping[str, int],
    size: int,
    note: Mapping[str, Any],
) -> Json:
    run_hash, run = read_run(out)
    return {
        **{key: run[key] for key in _CARRIED if key in run},
        "shards": {split: -(-counts.get(split, 0) // size) for split in run["shards"]},
        "selection": {
            "run": run_hash,
            "tars": digest_of_tars(index.footer for index in indexes),
            "of": run,
            "samples": len(chosen),
            "ids": ids_digest(chosen),
            "shard_samples": size,
            "note": dict(note),
        },
    }


def _remove_other(dest: str, run: Json) -> None:
    """Take away a selection that is not `run`: its manifest first and its run.json last, so a kill leaves it known."""
    if not paths.exists(paths.join(dest, RUN)):
        return
    _, found = read_run(dest)
    if canonical(found) == canonical(run) or not selection_of(found):
        return
    paths.remove(paths.join(dest, MANIFEST))
    for name in names_of(found["shards"]):
        for file in reversed(name.files):
            paths.remove(paths.join(dest, file))
    paths.remove(paths.join(dest, RUN))


def _samples(
    out: str, rows: Iterable[tuple[int, int]], index_of: Callable[[int], Index | None]
) -> tuple[list[ShardSample], list[Column]]:
    """The samples of a shard, whose bytes are read when they are written, and its columns."""
    samples: list[ShardSample] = []
    columns: list[Column] = []
    for k, group in itertools.groupby(rows, key=lambda place: place[0]):
        index = index_of(k)
        if index is None:
            raise DamageError(f"{out}: an index went away while its samples were copied; run `verify`")
        own = _columns(index)
        if columns and own != columns:
            raise DamageError(f"{paths.join(out, index.name.index_file)}: has other columns than the shards before")
        columns = own
        uri = paths.join(out, index.name.tar)
        for row in index.table.take([row for _, row in group]).to_pylist():
            samples.append(_sample(uri, row, columns))
    return samples, columns


def _columns_of(out: str, indexes: list[Index]) -> list[Column]:
    """Those of any index: all of a run have the same."""
    index = read_index_of(out, indexes[0].name) if indexes else None
    return [] if index is None else _columns(index)


def _sample(uri: str, row: Json, columns: list[Column]) -> ShardSample:
    key, members = row["id"], row["members"]
    suffixes = [member["name"].removeprefix(f"{key}.") for member in members]
    return ShardSample(
        id=key,
        members=partial(_read, uri, key, suffixes, members),
        columns={name: row[name] for name, _ in columns},
        subjects=tuple(row["subjects"] or ()),
        digests={suffix: member["sha256"] for suffix, member in zip(suffixes, members, strict=True)},
        origin=uri,
    )


def _read(uri: str, key: str, suffixes: list[str], members: list[Json]) -> list[tuple[str, memoryview]]:
    """(suffix, content) of a sample's members, which lie side by side: one read fetches them."""
    first = min((member["offset"] for member in members), default=0)
    last = max((member["offset"] + member["size"] for member in members), default=0)
    data = memoryview(read_span(uri, first, last - first))
    if len(data) < last - first:
        raise DamageError(f"{uri}: is cut short before the end of sample {key}; run `verify`")
    spans: Iterator[tuple[int, int]] = ((m["offset"] - first, m["size"]) for m in members)
    return [(suffix, data[at : at + size]) for suffix, (at, size) in zip(suffixes, spans, strict=True)]


def _columns(index: Index) -> list[Column]:
    import pyarrow as pa

    columns: list[Column] = []
    for field in index.table.schema:
        if field.name in _OWN:
            continue
        floats, ints = pa.types.is_floating(field.type), pa.types.is_integer(field.type)
        columns.append((field.name, "float" if floats else "int" if ints else "string"))
    return columns
