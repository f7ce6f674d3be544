"""What a dataset is compared with: the images and prompts of benchmarks, from folders, files or outputs of our own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import InputError
from shards.names import RUN
from shards.pictures import gallery
from storage import images, paths

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TEXTS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
KEYS = ("prompt", "instruction", "text", "caption", "edit_instruction", "edit_prompt")
"""The keys or columns of a file that hold its prompts; each that is there is read."""
HASHED_SIDE = 256


@dataclass
class Source:
    """One `--against`.

    Attributes:
        pictures: (what it is called, how its bytes are read).
        texts: its prompts.
    """

    name: str
    pictures: list[tuple[str, Callable[[], bytes]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """What a picture is known by.

    Attributes:
        digests: sha256 of its bytes, and of the bytes that a run's cleaning makes of them.
    """

    name: str
    digests: tuple[str, ...]
    phash: str


def read_source(spec: str) -> Source:
    """What `--against SPEC` names: an output folder, any other folder (all below it), an image, or a file of prompts.

    Raises:
        InputError: there is nothing there, or a file of prompts holds none.
    """
    if paths.exists(paths.join(spec, RUN)):
        return _output(spec)
    if os.path.isdir(spec):
        return _folder(spec)
    if not paths.exists(spec):
        raise InputError(f"--against {spec}: there is no such folder or file")
    if spec.lower().endswith(IMAGES):
        return Source(spec, [(spec, lambda: paths.read_bytes(spec))])
    if not spec.lower().endswith(TEXTS):
        raise InputError(f"--against {spec}: is neither an image nor a file of prompts ({', '.join(TEXTS)})")
    texts = list(prompts_of(spec))
    if not texts:
        raise InputError(f"--against {spec}: holds no prompt; a key or column must be one of {', '.join(KEYS)}")
    return Source(spec, texts=texts)


def look(name: str, data: bytes, max_side: int, quality: int) -> Seen:
    """What a picture is known by.

    Raises:
        ImageError: it cannot be decoded.
    """
    cleaned = images.clean(data, max_side=max_side, quality=quality).data
    digests = tuple(dict.fromkeys(hashlib.sha256(one).hexdigest() for one in (data, cleaned)))
    return Seen(name, digests, phash_of(data))


def phash_of(data: bytes) -> str:
    """As a run hashes its targets."""
    return images.phash(images.decode(data, max_side=HASHED_SIDE))


def says_little(phash: str) -> bool:
    """Whether a hash is that of a blank picture, which any other blank one has, too."""
    return not 8 <= int(phash, 16).bit_count() <= 56


def prompts_of(path: str) -> Iterator[str]:
    """The prompts of a file: lines of text, rows of JSON, CSV or Parquet.

    Raises:
        InputError: it cannot be read as what its name says.
    """
    kind = path.lower().rpartition(".")[2]
    try:
        data = paths.read_bytes(path)
        if kind == "parquet":
            yield from _columns(data)
            return
        text = data.decode("utf-8-sig")
        if kind == "jsonl":
            yield from _texts_in([json.loads(line) for line in text.splitlines() if line.strip()])
        elif kind == "json":
            yield from _texts_in(json.loads(text))
        elif kind in ("csv", "tsv"):
            yield from _texts_in(list(csv.DictReader(io.StringIO(text), delimiter="\t" if kind == "tsv" else ",")))
        else:
            yield from (line.strip() for line in text.splitlines() if line.strip())
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--against {path}: cannot be read: {said}") from error


def _output(spec: str) -> Source:
    shown = gallery(spec)
    pictures: list[tuple[str, Callable[[], bytes]]] = []
    for picture in shown.pictures.values():
        number, suffix = picture.shown[0]
        pictures.append((f"{spec}:{shown.ids[number]}.{suffix}", picture.place.read))
    return Source(spec, pictures, shown.instructions)


def _folder(spec: str) -> Source:
    source = Source(spec)
    for folder, folders, files in os.walk(spec):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.lower().endswith(IMAGES):
                source.pictures.append((path, lambda path=path: paths.read_bytes(path)))  # type: ignore[misc]
            elif name.lower().endswith(TEXTS) and not name.startswith("."):
                try:
                    source.texts += prompts_of(path)
                except InputError:
                    continue  # a folder may hold anything; a file that was named itself may not
    if not source.pictures and not source.texts:
        raise InputError(f"--against {spec}: holds neither images nor files of prompts")
    return source


def _texts_in(value: Any) -> Iterator[str]:
    """Texts of lists, and of objects under the known keys, however deep."""
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, list):
        for one in value:
            yield from _texts_in(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in KEYS or isinstance(one, dict | list):
                yield from _texts_in(one if key in KEYS else _nested(one))


def _nested(value: Any) -> Any:
    """Of what stands under another key only objects are looked into: its texts are no prompts."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else value


def _columns(data: bytes) -> Iterable[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = [name for name in file.schema_arrow.names if name in KEYS]
        table = file.read(columns=names)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return [text for name in names for text in table.column(name).to_pylist() if isinstance(text, str) and text.strip()]
