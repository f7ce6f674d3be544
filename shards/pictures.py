"""The images of an output, each distinct one once: which samples show it, and its bytes where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.errors import DamageError, InputError
from shards.indexes import read_index_of, read_indexes
from shards.names import ShardName
from storage import paths

TARGET = "target.jpg"


class Place(NamedTuple):
    """Where an image lies: in which tar of an output, from which byte on, how many."""

    out: str
    shard: ShardName
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes, as the tar has them.

        Raises:
            DamageError: the tar is missing or too short.
        """
        uri = paths.join(self.out, self.shard.tar)
        try:
            data = paths.read_range(uri, self.offset, self.size)
        except OSError as error:
            raise DamageError(f"{uri}: cannot be read ({error.strerror or error}); run `verify`") from error
        if len(data) < self.size:
            raise DamageError(f"{uri}: is cut short; run `verify`")
        return data


@dataclass
class Picture:
    """A distinct image.

    Attributes:
        shown: (number of the sample, name of the member without its id), each time it is shown.
        phash: 16 hex digits where the index has it; else empty.
    """

    place: Place
    shown: list[tuple[int, str]] = field(default_factory=list)
    phash: str = ""


@dataclass(frozen=True)
class Gallery:
    """A finished output.

    Attributes:
        ids, instructions: of every sample, in order.
        pictures: by sha256 of the bytes in the tars, in the order in which they are first shown.
        target_hashes: of every sample the perceptual hash of its target; empty where it has none.
    """

    ids: list[str]
    instructions: list[str]
    pictures: dict[str, Picture]
    target_hashes: list[str]


def gallery(out: str) -> Gallery:
    """Read the indexes of a finished output; no tar is opened.

    Raises:
        InputError: `out` is no finished run.
        DamageError: an index cannot be read.
    """
    found = Gallery([], [], {}, [])
    for name in [index.name for index in read_indexes(out, ["id"])]:
        for key, instruction, phash, members in _rows(out, name):
            number = len(found.ids)
            found.ids.append(key)
            found.instructions.append(instruction)
            found.target_hashes.append(phash)
            for member in members:
                suffix = member["name"].removeprefix(f"{key}.")
                if suffix == "json":
                    continue
                place = Place(out, name, member["offset"], member["size"])
                picture = found.pictures.setdefault(member["sha256"], Picture(place))
                picture.shown.append((number, suffix))
                if suffix == TARGET:
                    picture.phash = picture.phash or phash
    return found


def _rows(out: str, name: ShardName) -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    index = read_index_of(out, name)
    if index is None:
        raise InputError(f"{paths.join(out, name.index_file)}: went away; run the command that makes it")
    table = index.table
    empty = [""] * table.num_rows

    def texts(column: str) -> list[str]:
        if column not in table.column_names:
            return empty
        return [text or "" for text in table.column(column).to_pylist()]

    rows = zip(
        table.column("id").to_pylist(), texts("instruction"), texts("target_phash"),
        table.column("members").to_pylist(), strict=True,
    )  # fmt: skip
    yield from rows
