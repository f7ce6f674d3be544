"""What is exported: every sample of a finished output, in the order of its shards, each member as its index says."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, groupby, takewhile, zip_longest
from typing import Any, NamedTuple

from schemas.errors import DamageError, InputError
from shards.indexes import read_index_of, read_indexes
from shards.manifest import read_manifest, read_run
from shards.names import MANIFEST, ShardName
from shards.tar import walk
from storage import paths

_BATCH = 256
_HASHERS, _AHEAD = 2, 16

Members = dict[str, tuple[int, memoryview]]
"""By name: offset in the tar and content."""


class ImageBytes(NamedTuple):
    """A coded JPEG; the view shares its memory with neighbouring samples."""

    data: memoryview
    sha256: str


@dataclass(frozen=True)
class Row:
    """A sample.

    Attributes:
        place: its shard, for messages.
        json: its record.
        images: by name: `image_1`, ..., `target`, `other_1`, ...
    """

    id: str
    split: str
    place: str
    json: dict[str, Any]
    images: Mapping[str, ImageBytes]

    @property
    def inputs(self) -> list[ImageBytes]:
        """`image_1`, `image_2`, ... in order."""
        names = takewhile(self.images.__contains__, (f"image_{i}" for i in count(1)))
        return [self.images[name] for name in names]

    def image(self, name: str) -> ImageBytes:
        """Raises: DamageError where there is none of that name."""
        if name not in self.images:
            raise DamageError(f"{self.place}: sample {self.id} has no {name}.jpg; run `verify`")
        return self.images[name]

    def text(self, key: str) -> str:
        """A text of its record.

        Raises:
            DamageError: there is none.
        """
        found = self.json.get(key)
        if not isinstance(found, str):
            raise DamageError(f"{self.place}: sample {self.id} has no text `{key}` in its JSON; run `verify`")
        return found

    def records(self, key: str) -> list[dict[str, Any]]:
        """A list of objects of its record; empty where the key is missing.

        Raises:
            DamageError: it is something else.
        """
        found = self.json.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise DamageError(f"{self.place}: sample {self.id}: `{key}` is no list of objects; run `verify`")
        return found

    def reasonings(self) -> list[str]:
        """Its IC-CoTs, each once."""
        return list(dict.fromkeys(str(item.get("text", "")) for item in self.records("reasonings")))


@dataclass
class Source:
    """A finished output folder.

    Attributes:
        dataset: `realign`, `firm-edit` or `firm-gen`.
        kept: samples by split.
        samples: how many have been read so far.
    """

    out: str
    dataset: str
    kept: dict[str, int]
    names: list[ShardName] = field(repr=False)
    samples: int = 0

    def rows(self, split: str) -> Iterator[Row]:
        """Every sample of a split; each member is compared with its digest on the way.

        Raises:
            DamageError: a tar is missing, damaged, cut short, or not what its index says.
        """
        for name in self.names:
            if name.split == split:
                for row in self._shard(name):
                    self.samples += 1
                    yield row

    def _shard(self, name: ShardName) -> Iterator[Row]:
        uri = paths.join(self.out, name.tar)
        index = read_index_of(self.out, name, ["id", "members"])
        if index is None:
            raise DamageError(f"{paths.join(self.out, name.index_file)}: went away; run `verify`")
        known = (row for batch in index.table.to_batches(_BATCH) for row in batch.to_pylist())
        ahead: deque[Future[Row]] = deque()
        # Hashing lets go of the interpreter, so it goes on beside the writing.
        with ThreadPoolExecutor(_HASHERS, thread_name_prefix="export-sha256") as pool:
            try:
                for found, row in zip_longest(_samples(uri), known):
                    if found is None or row is None or found[0] != row["id"]:
                        raise DamageError(f"{uri}: its samples are not those that its index lists; run `verify`")
                    ahead.append(pool.submit(_row, found[0], found[1], row["members"], name.split, uri))
                    if len(ahead) > _AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            except FileNotFoundError as error:
                raise DamageError(f"{uri}: is missing, though its index says that it is finished") from error


def open_source(out: str) -> Source:
    """A finished output.

    Raises:
        InputError: `out` is no output folder, or is not finished.
        DamageError: an index cannot be read.
    """
    _, run = read_run(out)
    indexes = read_indexes(out, [])
    if read_manifest(out) is None:
        raise InputError(f"{out}: is not finished: it has no {MANIFEST}; run the command that makes it, then this one")
    kept: dict[str, int] = {}
    for index in indexes:
        kept[index.name.split] = kept.get(index.name.split, 0) + index.footer.kept
    return Source(out, str(run.get("dataset", "")), kept, [index.name for index in indexes])


def _samples(uri: str) -> Iterator[tuple[str, Members]]:
    """(id, members) of each sample of a tar, in order."""
    with paths.open_read(uri) as file:
        for key, members in groupby(walk(file, uri), key=lambda member: member[0].partition(".")[0]):
            yield key, {name: (offset, content) for name, offset, content in members}


def _row(key: str, found: Members, known: Sequence[Mapping[str, Any]], split: str, uri: str) -> Row:
    members: dict[str, ImageBytes] = {}
    for member in known:
        name = str(member["name"])
        offset, data = found.get(name, (-1, memoryview(b"")))
        if offset < 0 or hashlib.sha256(data).hexdigest() != member["sha256"]:
            raise DamageError(f"{uri}: {name} is not what its index says; run `verify`")
        # Digests hold, so the samples are whole; but whoever reads by the index would read something else.
        if (offset, len(data)) != (member["offset"], member["size"]):
            said = f"its index says {member['size']:,} at {member['offset']:,}"
            raise DamageError(f"{uri}: {name} has {len(data):,} bytes at byte {offset:,}, {said}; run `verify`")
        members[name.removeprefix(f"{key}.")] = ImageBytes(data, member["sha256"])
    if more := found.keys() - {str(member["name"]) for member in known}:
        raise DamageError(f"{uri}: {min(more)} is not in its index; run `verify`")
    try:
        view = json.loads(bytes(members["json"].data))
    except (KeyError, ValueError) as error:
        raise DamageError(f"{uri}: sample {key} has no readable JSON ({error})") from error
    if not isinstance(view, dict):
        raise DamageError(f"{uri}: the JSON of sample {key} is no object; run `verify`")
    images = {name.removesuffix(".jpg"): image for name, image in members.items() if name.endswith(".jpg")}
    return Row(key, split, uri, view, images)
