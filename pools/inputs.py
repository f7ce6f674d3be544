"""Read the rows of a user's list, edit pairs or prompts, from a JSONL or a Parquet table."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pools.lookalikes import listed, lookalikes
from pools.rows import parent
from schemas.errors import InputError
from storage import paths
from storage.remote_errors import as_os_errors

LONGEST = 20_000
MOST_COLUMNS = 200
"""Names of columns that are remembered, of a JSONL whose rows have ever others."""
_ROWS, _ROWS_WITH_BYTES = 1024, 16


@dataclass(frozen=True)
class Form:
    """What the rows of a list hold.

    Attributes:
        name: what such a list is called in a message and in its index.
        text: the column of the text.
        images: the columns of the images.
        illustrated: whether a row needs all of its images; where not, it may have none.
        no_text: the problem of a row without text; empty where text may be absent.
    """

    name: str
    text: str
    images: tuple[str, ...]
    illustrated: bool
    no_text: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read."""
        return ("id", self.text, *self.images)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a list must have."""
        return self.images if self.illustrated else (self.text,)


PAIRS = Form("pairs", "instruction", ("source_image", "edited_image"), illustrated=True)
PROMPTS = Form("prompts", "prompt", ("image",), illustrated=False, no_text="no_prompt")


@dataclass(frozen=True)
class InputRow:
    """One row of a list.

    Attributes:
        number: its place in the list, from 1: a JSONL's line, a table's row.
        id: the user's own; `row-NUMBER` where there is none.
        text: without outer white space, otherwise as it is.
        images: per column a complete path or address, the image itself, or "" where there is none.
        names: per column what the list calls that image, relative to the list where it lies below it; "" where the list
            holds the image itself or has none.
        problem, detail: where the row cannot be used as it stands.
    """

    number: int
    id: str
    text: str
    images: tuple[str | bytes, ...]
    names: tuple[str, ...]
    problem: str = ""
    detail: str = ""


def read_inputs(source: str, form: Form, seen: dict[str, None] | None = None) -> Iterator[InputRow]:
    """The rows of `source`, in its order; other columns than the form's are ignored.

    Args:
        seen: is filled with the columns that the list has, at most `MOST_COLUMNS` of them.

    Raises:
        InputError: `source` is missing, of no known form, empty, or has none of a needed column; a line of a JSONL
            is no JSON object.
    """
    folder, found = parent(source), False
    for number, fields in _fields(source, form, contents=True, seen=seen):
        found = True
        yield _row(number, fields, folder, form)
    if not found:
        raise InputError(f"{source}: has no rows; give one per line with {_and(form.needed)}")


def fingerprint(source: str, form: Form) -> str:
    """A name for what a list holds now: the file, and each local image's size and time of change.

    Images on a bucket count by their address alone, as nothing there says cheaply whether one has changed.

    Raises:
        InputError: as for `read_inputs`.
    """
    _check_name(source, form)
    digest = hashlib.sha256(form.name.encode())
    try:
        stamp = paths.sha256_file(source) if paths.is_remote(source) else _stamp(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error}); name a file that can") from error
    where = source if paths.is_remote(source) else os.path.abspath(source)
    digest.update(f"{where} {stamp}\n".encode("utf-8", "surrogateescape"))
    folder = parent(source)
    for number, fields in _fields(source, form, contents=False):
        for column in form.images:
            image = _image(fields.get(column), folder)
            if image and isinstance(image, str) and not paths.is_remote(image):
                digest.update(f"{number} {_stamp(image)}\n".encode())
    return digest.hexdigest()


def text_of(value: object) -> str | None:
    """Text without outer white space, "" for what is absent; None for what is no text. Always valid Unicode."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value.strip().encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _row(number: int, fields: Mapping[str, Any], folder: str, form: Form) -> InputRow:
    faults = []
    text = text_of(fields.get(form.text))
    if text is None:
        faults.append(f"`{form.text}` is {type(fields[form.text]).__name__}, not text")
    images, names = [], []
    for column in form.images:
        image = _image(fields.get(column), folder)
        names.append(_name(image, folder) if isinstance(image, str) else "")
        if image is None:
            faults.append(f"`{column}` is neither a path nor an image")
        elif form.illustrated and not image:
            faults.append(f"`{column}` is absent or empty")
        images.append(image or "")
    problem, detail = ("bad_row", "; ".join(faults)) if faults else ("", "")
    if not problem and not text and form.no_text:
        problem, detail = form.no_text, f"`{form.text}` is absent or empty"
    if not problem and len(text or "") > LONGEST:
        problem, detail = "too_long", f"`{form.text}` has {len(text or ''):,} characters, above {LONGEST:,}"
    id = _id(fields.get("id")) or f"row-{number}"
    return InputRow(number, id, text or "", tuple(images), tuple(names), problem, detail)


def _id(value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, float) and math.isnan(value)):
        return ""
    return text_of(str(value) if isinstance(value, int | float) else value) or ""


def _image(value: object, folder: str) -> str | bytes | None:
    """A complete path or address, the bytes, or "" where there is neither; None for what is none of these."""
    if isinstance(value, Mapping) and value.keys() & {"bytes", "path"}:  # as Hugging Face writes images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        return None
    path = value.removeprefix("file://")
    if not path.strip():
        return ""
    if paths.is_remote(path):
        return path
    path = os.path.normpath(path)
    return path if os.path.isabs(path) else paths.join(folder, path)


def _name(image: str, folder: str) -> str:
    """What a message calls an image: its place in the list's folder, so that the two may move together."""
    path = image.removeprefix(f"{folder.rstrip('/')}/")
    if os.path.isabs(path) and not paths.is_remote(folder):
        path = path.removeprefix(f"{os.path.abspath(folder).rstrip('/')}/")
    return path.encode("utf-8", "replace").decode()


def _check_name(source: str, form: Form) -> None:
    if not source.lower().endswith((".jsonl", ".ndjson", ".parquet")):
        raise InputError(f"{source}: {form.name} are a .jsonl or a .parquet file; convert this one or name another")
    if not paths.exists(source):
        raise InputError(f"{source}: no such file; name a .jsonl or .parquet that exists")


def _fields(
    source: str, form: Form, contents: bool, seen: dict[str, None] | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbered rows. `contents`: with the bytes of images that the table holds itself; `seen` takes the columns."""
    _check_name(source, form)
    seen = {} if seen is None else seen
    if source.lower().endswith(".parquet"):
        return _table(source, form, contents, seen)
    return _lines(source, form, seen)


def _lines(source: str, form: Form, seen: dict[str, None]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with _readable(source), paths.open_read(source) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                said = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
                raise InputError(f"{source}: line {number} is not JSON ({said}); mend it or take it out") from error
            if not isinstance(fields, dict):
                raise InputError(f"{source}: line {number} is not a JSON object; write one object per line")
            if not fields.keys() <= seen.keys():
                known = [key for key in fields if len(seen) < MOST_COLUMNS or key in form.columns]
                seen |= dict.fromkeys(key.encode("utf-8", "replace").decode() for key in known)
            yield number, fields
    lacking = [key for key in form.needed if key not in seen]
    if lacking and seen:
        raise _lacks(source, form, lacking, list(seen), "no row has")


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """What reading a JSONL raises, when it is opened or later, as a line for its user."""
    try:
        with as_os_errors(source):
            yield
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error}); name a file of JSON lines") from error


def _table(source: str, form: Form, contents: bool, seen: dict[str, None]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with paths.open_read(source) as file, as_os_errors(source):
            table = pq.ParquetFile(file)
            schema = table.schema_arrow
            seen |= dict.fromkeys(schema.names)
            lacking = [name for name in form.needed if name not in schema.names]
            if lacking:
                raise _lacks(source, form, lacking, schema.names, "there is no column")
            carrying = [name for name in form.images if name in schema.names and _carries(schema.field(name).type)]
            wanted = [name for name in form.columns if name in schema.names]
            if not contents:
                wanted = [f"{name}.path" if name in carrying else name for name in wanted]
            number = 0
            rows = _ROWS_WITH_BYTES if contents and carrying else _ROWS
            for batch in table.iter_batches(batch_size=rows, columns=wanted):
                for fields in batch.to_pylist():
                    number += 1
                    yield number, fields
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{source}: not a Parquet file that can be read ({said}); write it again") from error


def _carries(kind: Any) -> bool:
    """Whether a column of this Arrow type may hold images themselves."""
    import pyarrow as pa

    return bool(pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _lacks(source: str, form: Form, lacking: list[str], there: list[str], said: str) -> InputError:
    meant = [f"`{other}` for `{name}`" for name, other in lookalikes(lacking, there, form.columns).items()]
    asked = f" (did you mean {' and '.join(meant)}? rename)" if meant else ""
    return InputError(
        f"{source}: {said} {_and(lacking)}, only {listed(there)}; {form.name} need {_and(form.needed)}{asked}"
    )


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"
