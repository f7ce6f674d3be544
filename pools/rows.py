"""Read the rows of a raw pool, whatever form it has: a folder, a JSONL, a Parquet table or WebDataset tars."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import InputError
from storage import paths

KIND_FOLDERS = {"characters": "character", "objects": "object", "scenes": "scene"}
IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
TARS = (".tar", ".tar.gz", ".tgz")
# The keys under which a row may name its image, in the order in which they are tried.
PATH_KEYS = ("path", "uri", "file_name", "image")
FIELDS = (
    *PATH_KEYS, "id", "kind", "caption", "subject", "category", "class", "license", "attribution", "person", "sha256",
)  # fmt: skip
# A pool's image; anything larger is no photo.
LARGEST = 256 << 20

# What cameras, phones and downloads call a file before they number it, and hashes.
_COUNTER = re.compile(
    r"(?:img|dsc[nf]?|pxl|mvimg|p|image|photo|picture|screenshot|untitled|scan)\d*|[0-9a-f]{8,}", re.IGNORECASE
)
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, OSError)


@dataclass(frozen=True)
class Row:
    """One image that a source names.

    Attributes:
        number: its place in the source, from 1: a JSONL's line, a table's row, a folder's or tar's image.
        name: what to call it in a message; its path where it has one.
        folder: what `path` is relative to and may not leave.
        path: where the image lies; empty when `data` holds it or the row names none.
        data: the image itself, for a source that carries it inside.
        fields: everything else the source says, under its own keys.
        fault: (reason, detail) when the source itself is broken here.
    """

    number: int
    name: str
    folder: str
    path: str = ""
    data: bytes | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: tuple[str, str] | None = None


def read_rows(source: str) -> Iterator[Row]:
    """The rows of `source`, in an order that depends only on what it holds.

    A folder that has a `pool.jsonl` is read through it; one without has characters/ objects/ scenes/, or tars.

    Raises:
        InputError: `source` is missing, empty or of no known form, or a line of a JSONL is broken.
    """
    lower = source.lower()
    if lower.endswith((".jsonl", ".ndjson", ".parquet", *TARS)):
        if not paths.exists(source):
            raise InputError(f"{source}: no such file; name a pool that exists")
        if lower.endswith(".parquet"):
            return _table(source)
        return _tars([source]) if lower.endswith(TARS) else _lines(source)
    names = paths.list_files(source)
    if "pool.jsonl" in names:
        return _lines(paths.join(source, "pool.jsonl"))
    if any(name.split("/")[0].lower() in KIND_FOLDERS for name in names):
        return _folder(source, names)
    tars = [paths.join(source, name) for name in names if name.lower().endswith(TARS)]
    if tars:
        return _tars(tars)
    state = "holds none of them" if names else "is missing or empty"
    forms = "a folder of characters/ objects/ scenes/, a .jsonl, a .parquet or .tar files"
    raise InputError(f"{source}: a pool is {forms}; this {state}")


def parent(path: str) -> str:
    """The folder a file lies in; `.` for a bare name."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def caption_of_name(name: str) -> str:
    """The words of a file's name, or of the folder it lies in: `objects/red-kettle_02.jpg` is `red kettle`.

    Empty where a name has no words: a camera's counter (`IMG_2041`), digits, a hash.
    """
    *folders, file = name.split("/")
    below_kind = folders[1:] if folders and folders[0].lower() in KIND_FOLDERS else folders
    for part in (file.rpartition(".")[0] or file, *reversed(below_kind)):
        words = [w for w in re.split(r"[\s_\-.,()+]+", part) if re.search(r"[^\W\d]", w)]
        words = [w for w in words if not _COUNTER.fullmatch(w)]
        if words:
            return " ".join(words)
    return ""


def _folder(source: str, names: list[str]) -> Iterator[Row]:
    known, number = set(names), 0
    for name in names:
        parts = name.split("/")
        stem, _, extension = name.rpartition(".")
        if extension.lower() not in IMAGES or any(part.startswith(".") for part in parts):
            continue
        number += 1
        fields = {"id": name, "kind": KIND_FOLDERS.get(parts[0].lower(), ""), "caption": caption_of_name(name)}
        if len(parts) > 2:  # photos in a folder of their own are photos of one subject
            fields["subject"] = "/".join(parts[:-1])
        if f"{stem}.txt" in known:
            try:
                fields["caption"] = paths.read_bytes(paths.inside(source, f"{stem}.txt")).decode("utf-8", "replace")
            except (OSError, ValueError) as error:
                yield Row(number, name, source, fault=("no_caption", f"its .txt cannot be read: {error}"))
                continue
        yield Row(number, name, source, path=name, fields=fields)


def _lines(source: str) -> Iterator[Row]:
    try:
        file = paths.open_read(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error}); name a file of JSON lines") from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                said = str(error) if isinstance(error, json.JSONDecodeError) else f"{type(error).__name__}"
                raise InputError(f"{source}: line {number} is not JSON ({said}); mend it or take it out") from error
            if not isinstance(fields, dict):
                raise InputError(f"{source}: line {number} is not a JSON object; write one object per line")
            yield _named(number, source, fields)


def _table(source: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with paths.open_read(source) as file:
            table = pq.ParquetFile(file)
            columns = [name for name in FIELDS if name in table.schema_arrow.names]
            if not set(columns) & set(PATH_KEYS):
                raise InputError(f"{source}: no column names the images; give one called `path`")
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=columns):
                for fields in batch.to_pylist():
                    number += 1
                    yield _named(number, source, fields)
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{source}: not a Parquet file that can be read ({said}); write it again") from error


def _named(number: int, source: str, fields: dict[str, Any]) -> Row:
    """A row of a table or JSONL: an image by its path, or (as Hugging Face writes them) a struct of bytes and path."""
    value = next((fields[key] for key in PATH_KEYS if fields.get(key)), None)
    folder = parent(source)
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return Row(number, str(value.get("path") or f"row {number}"), folder, data=value["bytes"], fields=fields)
    if not isinstance(value, str):
        wanted = "row names no image: " + ", ".join(f"`{key}`" for key in PATH_KEYS) + " are absent, empty or no text"
        return Row(number, f"row {number}", folder, fields=fields, fault=("no_path", wanted))
    return Row(number, value, folder, path=value, fields=fields)


def _tars(sources: list[str]) -> Iterator[Row]:
    """One row per sample (WebDataset: files that share a name up to the first dot), its first image in name order."""
    number = 0
    for source in sources:
        try:
            for key, members in _samples(source):
                number += 1
                yield _sample(number, f"{source}:{key}", parent(source), members)
        except _BROKEN_TAR as error:
            number += 1
            yield Row(number, source, parent(source), fault=("unreadable", f"the tar ends early or is broken: {error}"))


def _samples(source: str) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    current, members = "", dict[str, "bytes | None"]()
    with paths.open_read(source) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            folder, _, base = member.name.rpartition("/")
            stem, dot, extension = base.partition(".")
            if not member.isfile() or not dot or not stem:
                continue
            key = f"{folder}/{stem}" if folder else stem
            if key != current and members:
                yield current, members
                members = {}
            current = key
            content = tar.extractfile(member) if member.size <= LARGEST else None
            members[extension.lower()] = content.read() if content else None
    if members:
        yield current, members


def _sample(number: int, name: str, folder: str, members: dict[str, bytes | None]) -> Row:
    image = next((e for e in sorted(members) if e.rpartition(".")[2] in IMAGES), None)
    if image is None:
        return Row(number, name, folder, fault=("no_path", "the sample has no image"))
    if members[image] is None:
        return Row(number, name, folder, fault=("bomb", f"the image is above {LARGEST >> 20} MiB"))
    fields: dict[str, Any] = {"id": name.rpartition(":")[2]}
    try:
        said = json.loads(members.get("json") or b"{}")
    except (ValueError, RecursionError) as error:
        return Row(number, name, folder, fault=("bad_json", f"the sample's .json is not JSON: {error}"))
    fields |= said if isinstance(said, dict) else {}
    for extension, key in (("txt", "caption"), ("caption", "caption"), ("kind", "kind")):
        if members.get(extension):
            fields[key] = (members[extension] or b"").decode("utf-8", "replace")
    return Row(number, name, folder, data=members[image], fields=fields)
