"""An output folder as a report reads it: index tables, rejections, and where the bytes of each member lie."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.errors import DamageError, InputError
from schemas.usage import Usage, total
from shards.indexes import read_index_of, refuse_lost
from shards.manifest import read_manifest, read_run, root_run, unfinished
from shards.names import BALANCED, RUN, SHARDS, ShardName, committed, names_of
from shards.tables import Footer, read_rejects
from storage import paths

Json = dict[str, Any]
READERS = 8
_GAP = 1 << 16
_LIGHT = ("id", "split", "task", "stage", "reason", "class", "usd", "scores")


class Place(NamedTuple):
    """A member's bytes: `size` of them at `offset` in `OUT/tar`; `name` is the member's whole name there."""

    tar: str
    offset: int
    size: int
    sha256: str
    name: str = ""


class Row(NamedTuple):
    """A kept sample's index row: its number and its shard's."""

    shard: int
    row: int


@dataclass(frozen=True)
class Shard:
    """What a finished shard's two Parquet files say.

    Attributes:
        table: pyarrow; the whole index.
        rejects: its rejections, without drafts and answers.
    """

    name: ShardName
    footer: Footer
    table: Any
    rejects: list[Json]
    usage: dict[str, Usage]


@dataclass(frozen=True)
class Output:
    """The finished shards of a run.

    Attributes:
        manifest: None where the run is not finished.
        missing: what is not finished, in words; empty where nothing is.
    """

    out: str
    run: Json
    manifest: Json | None
    missing: str
    shards: list[Shard]

    @property
    def dataset(self) -> str:
        return str(self.run.get("dataset", ""))

    @property
    def settings(self) -> Json:
        """What was configured; of a selection, what was configured for the run behind it."""
        return root_run(self.run)

    @property
    def counts(self) -> dict[str, int]:
        keys = ("planned", "kept", "rejected")
        return {key: sum(getattr(shard.footer, key) for shard in self.shards) for key in keys}

    @property
    def reasons(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for shard in self.shards:
            found.update(shard.footer.rejected_by_reason)
        return found

    @property
    def usage(self) -> dict[str, Usage]:
        return total(shard.usage for shard in self.shards)

    @property
    def splits(self) -> list[str]:
        """In the order in which they are usually named: train first."""
        found = {shard.name.split for shard in self.shards}
        return sorted(found, key=lambda split: (split != "train", split))

    @property
    def rejects(self) -> Iterator[Json]:
        for shard in self.shards:
            yield from shard.rejects

    def column(self, name: str) -> Iterator[Any]:
        """The values of an index column in the order of the shards; None where a shard lacks it."""
        for shard in self.shards:
            if name in shard.table.column_names:
                yield from shard.table.column(name).to_pylist()
            else:
                yield from [None] * shard.table.num_rows


def read_output(out: str) -> Output:
    """Read every index and rejects file that this run has finished.

    Raises:
        InputError: `out` is not the folder of a run, or nothing of it is finished.
        DamageError: a file cannot be read, or the manifest says that a shard is finished which is not.
    """
    run_hash, run = read_run(out)
    names = committed(paths.list_files(paths.join(out, SHARDS)))
    with ThreadPoolExecutor(READERS, thread_name_prefix="report") as pool:
        found = [s for s in pool.map(lambda name: _shard(out, name, run_hash), names) if s is not None]
    done, every = {shard.name for shard in found}, names_of(run["shards"])
    lost = [name for name in every if name not in done]
    manifest = read_manifest(out)
    refuse_lost(out, run_hash, lost)
    if not found:
        raise InputError(f"{paths.join(out, SHARDS)}: no shard is finished yet; run the command that makes it")
    missing = unfinished([str(name) for name in lost], len(every)) if lost else ""
    return Output(out, run, manifest, missing, found)


def _shard(out: str, name: ShardName, run_hash: str) -> Shard | None:
    """One shard; None where another run made it."""
    index = read_index_of(out, name)
    if index is None or index.footer.run_hash != run_hash:
        return None
    uri = paths.join(out, name.rejects)
    try:
        usage, rejects = read_rejects(paths.read_bytes(uri), _LIGHT)
    except (OSError, ValueError) as error:
        raise DamageError(f"{uri}: {error}; run `verify`") from error
    return Shard(name, index.footer, index.table, rejects, usage)


def whole_rejections(output: Output, wanted: set[str]) -> dict[str, Json]:
    """The whole rows of these rejections, drafts and answers too, by id.

    Raises:
        DamageError: a rejects file cannot be read.
    """
    found: dict[str, Json] = {}
    for shard in output.shards:
        if not any(row["id"] in wanted for row in shard.rejects):
            continue
        uri = paths.join(output.out, shard.name.rejects)
        try:
            rows = read_rejects(paths.read_bytes(uri))[1]
        except (OSError, ValueError) as error:
            raise DamageError(f"{uri}: {error}; run `verify`") from error
        found |= {row["id"]: row for row in rows if row["id"] in wanted}
    return found


def members(output: Output, rows: Sequence[Row]) -> list[dict[str, Place]]:
    """Of each row, by name without the sample's id (`image_1.jpg`, `target.jpg`, `json`), where its members lie.

    Raises:
        DamageError: an index names a place outside its tar.
    """
    found: dict[Row, dict[str, Place]] = {}
    for number, shard in enumerate(output.shards):
        here = [row for row in rows if row.shard == number]
        listed = shard.table.select(["id", "members"]).take([row.row for row in here]).to_pylist() if here else []
        for row, one in zip(here, listed, strict=True):
            found[row] = {m["name"].removeprefix(f"{one['id']}."): _place(shard, m) for m in one["members"]}
    return [found[row] for row in rows]


def record_places(shard: Shard) -> list[Place]:
    """Where the JSON of each sample of a shard lies, in the order of the rows.

    Raises:
        DamageError: a sample has none, or it lies outside the tar.
    """
    import pyarrow.compute as pc

    listed = shard.table.column("members").combine_chunks().flatten()
    rows = listed.filter(pc.ends_with(listed.field("name"), ".json")).to_pylist()
    if len(rows) != shard.table.num_rows:
        raise DamageError(f"{shard.name.index_file}: names {len(rows)} records for {shard.table.num_rows} samples")
    return [_place(shard, m) for m in rows]


def _place(shard: Shard, member: Mapping[str, Any]) -> Place:
    place = Place(shard.name.tar, member["offset"], member["size"], member["sha256"], member["name"])
    if place.offset < 0 or place.size < 0 or place.offset + place.size > shard.footer.tar_bytes:
        raise DamageError(
            f"{shard.name.index_file}: {place.name} lies outside of its tar (byte {place.offset:,}); run `verify`"
        )
    return place


def read_records(out: str, places: list[Place]) -> list[Json]:
    """The JSON at each place, in order; what lies close together in a tar is read in one piece.

    Raises:
        DamageError: a tar is missing or cut short, or what lies there is no JSON or not the one that the index names.
    """
    order = sorted(range(len(places)), key=lambda i: places[i][:2])
    found: dict[int, Json] = {}
    for group in _runs(order, places):
        first, last = places[group[0]], places[group[-1]]
        data = read_place(out, Place(first.tar, first.offset, last.offset + last.size - first.offset, ""))
        for i in group:
            at = places[i].offset - first.offset
            found[i] = _parsed(out, places[i], data[at : at + places[i].size])
    return [found[i] for i in range(len(places))]


def is_intact(place: Place, data: bytes) -> bool:
    """Whether these bytes are those that the index tells of."""
    return hashlib.sha256(data).hexdigest() == place.sha256


def read_place(out: str, place: Place) -> bytes:
    """The bytes at a place.

    Raises:
        DamageError: the tar is missing, cut short or cannot be read.
    """
    uri = paths.join(out, place.tar)
    try:
        data = paths.read_range(uri, place.offset, place.size)
    except FileNotFoundError as error:
        raise DamageError(f"{uri}: is missing, though its index says that it is finished") from error
    except OSError as error:
        raise DamageError(f"{uri}: cannot be read at byte {place.offset:,} ({error}); run `verify`") from error
    if len(data) < place.size:
        raise DamageError(f"{uri}: is cut short before byte {place.offset + place.size:,}; run `verify`")
    return data


def balanced_output(out: str) -> Output | None:
    """The balanced shards in the folder of a run; None where there are none, or none that are finished."""
    folder = paths.join(out, BALANCED)
    if not paths.exists(paths.join(folder, RUN)) or read_manifest(folder) is None:
        return None
    return read_output(folder)


def _runs(order: Iterable[int], places: list[Place]) -> Iterator[list[int]]:
    """Consecutive places of one tar with small gaps between them, together."""
    group: list[int] = []
    for i in order:
        if group:
            before, here = places[group[-1]], places[i]
            if before.tar != here.tar or here.offset - before.offset - before.size > _GAP or len(group) >= 256:
                yield group
                group = []
        group.append(i)
    if group:
        yield group


def _parsed(out: str, place: Place, data: bytes) -> Json:
    uri = paths.join(out, place.tar)
    if not is_intact(place, data):
        raise DamageError(f"{uri}: {place.name} is not what the index says (its sha256 differs); run `verify`")
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except ValueError as error:
        raise DamageError(f"{uri}: {place.name} is no readable JSON ({error}); run `verify`") from error
    if not isinstance(found, dict):
        raise DamageError(f"{uri}: {place.name} is no JSON object; run `verify`")
    return found


def _no_constant(name: str) -> object:
    """Python's own parser lets NaN and Infinity pass; those of most readers do not."""
    raise ValueError(f"{name} is no JSON")
