"""Records of others' making: JSONL, JSON, CSV and TSV, and the scores in them, with a line for whatever is wrong."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from schemas.errors import InputError
from storage import paths

Row = dict[str, Any]
_TABLES = {".csv": ",", ".tsv": "\t"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Records(NamedTuple):
    """A file's records.

    Attributes:
        path: the file.
        rows: the records, objects all.
        places: where each stands, "line 3" or "entry 'a'", for messages.
        several: the records are of several files, and places name theirs.
    """

    path: str
    rows: list[Row]
    places: list[str]
    several: bool = False

    def at(self, i: int) -> str:
        """File and place of a record, for the beginning of a message."""
        return self.places[i] if self.several else f"{self.path}: {self.places[i]}"


def read_text(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: there is none, it is a folder, or it is empty.
    """
    try:
        data = paths.read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; name the file of records in it") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    if not data.strip():
        raise InputError(f"{path}: is empty; records are wanted")
    return data


def read_records(path: str, id_key: str = "id") -> Records:
    """The records of a file: `.csv`, `.tsv`, `.json` (a list, or an object of records by id), else JSON lines.

    An object by id gives each record its id as `id_key`, where it does not say one itself.

    Raises:
        InputError: a missing or empty file, a line or cell that cannot be read, a record that is no object.
    """
    data = read_text(path)
    suffix = path[path.rfind(".") :].lower() if "." in path.rsplit("/", 1)[-1] else ""
    if suffix in _TABLES:
        return _of_table(path, data, _TABLES[suffix])
    if suffix == ".json":
        return _of_json(path, data, id_key)
    return _of_lines(path, data)


def read_object(path: str) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        InputError: as for `read_records`, and for anything but an object.
    """
    value = _loaded(path, read_text(path))
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path}: holds no object of records by id")
    return value


def _of_lines(path: str, data: bytes) -> Records:
    rows: list[Row] = []
    places = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}: line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise InputError(
                f"{path}: line {number} holds {_shown(row)}; one record (a JSON object) per line is wanted"
            )
        rows.append(row)
        places.append(f"line {number}")
    return Records(path, rows, places)


def _of_json(path: str, data: bytes, id_key: str) -> Records:
    value = _loaded(path, data)
    named = list(value.items()) if isinstance(value, dict) else [(None, row) for row in _list_of(path, value)]
    places = [f"entry {i + 1}" if name is None else f"entry {name!r}" for i, (name, _) in enumerate(named)]
    rows = []
    for place, (name, row) in zip(places, named, strict=True):
        if not isinstance(row, dict):
            raise InputError(f"{path}: {place} holds {_shown(row)}; a record (a JSON object) is wanted")
        rows.append(row if name is None else {id_key: name, **row})
    if not rows:
        raise InputError(f"{path}: holds no records")
    return Records(path, rows, places)


class _Repeated(dict[str, Any]):
    """An object that says one of its keys twice; the key is under `repeated`."""

    repeated = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: Counter[str] = Counter(key for key, _ in pairs)
    twice = _Repeated(found)
    twice.repeated = seen.most_common(1)[0][0]
    return twice


def _loaded(path: str, data: bytes) -> Any:
    """The whole file's JSON, by Python's own parser: orjson drops the first of two entries of one id in silence."""
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}") from None
    if isinstance(value, _Repeated):
        raise InputError(f"{path}: id {value.repeated!r} is there twice; each may come once")
    return value


def _list_of(path: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{path}: holds {_shown(value)}; a list or an object of records is wanted")
    return value


def _of_table(path: str, data: bytes, delimiter: str) -> Records:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[Row] = []
    places = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise InputError(f"{path}: line {reader.line_num} has not {len(reader.fieldnames or ())} cells")
            rows.append(row)
            places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is no table row: {error}") from None
    if not rows:
        raise InputError(f"{path}: has a heading and no rows")
    return Records(path, rows, places)


def required(records: Records, i: int, key: str, *others: str) -> Any:
    """The value under the first of these keys that the record has.

    Raises:
        InputError: it has none of them.
    """
    row = records.rows[i]
    for name in (key, *others):
        if row.get(name) is not None:
            return row[name]
    wanted = key if not others else f"{key} (or {', '.join(others)})"
    raise InputError(f"{records.at(i)} has no {wanted}")


def text_of(records: Records, i: int, key: str, *others: str) -> str:
    """Like `required`, as a text: a string, or an id written as a number.

    Raises:
        InputError: it is missing, or something else than a text or a number.
    """
    value = required(records, i, key, *others)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{records.at(i)}: {key} is {_shown(value)}; a text is wanted")


def parsed_score(value: Any) -> float | None:
    """A score as a number; None where there is none to be read.

    A number, the first of a list (judges answer `[4]`), or a text that is a number and nothing else. "4/5", "four",
    true, NaN and nested lists are no scores: nothing is guessed.
    """
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def true_score(records: Records, i: int, key: str, value: Any, low: float, high: float) -> float:
    """A score that must be there and within its scale, as people's are.

    Raises:
        InputError: names the file, the line, the key and the value.
    """
    score = parsed_score(value)
    if score is None or not low <= score <= high:
        raise InputError(f"{records.at(i)}: {key} is {_shown(value)}; a number from {low:g} to {high:g} is wanted")
    return score


UNPARSED = "scores unparsed"
LEFT_OUT = "that could not be used: left out, never guessed"


class Judged:
    """Reads a judge's scores, and counts those that cannot be used; none of them becomes a number.

    Attributes:
        failed: `unparsed` (missing or no number) and `out of range`.
        example: where the first of them stands.
    """

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        self.example = ""

    def score(
        self, records: Records, i: int, key: str, value: Any, low: float, high: float, shown: Any = None
    ) -> float:
        """The score, or NaN where the answer failed; `shown` is the answer in messages, where it is not the value."""
        score = parsed_score(value)
        if score is not None and low <= score <= high:
            return score
        self.failed["unparsed" if score is None else "out of range"] += 1
        if not self.example:
            self.example = f"{records.at(i)}: {key} is {_shown(value if shown is None else shown)}"
        return math.nan

    def counts(self) -> dict[str, int]:
        """For a report's counts."""
        return {UNPARSED: self.failed["unparsed"], "scores out of range": self.failed["out of range"]}

    def notes(self) -> list[str]:
        """For a report's notes: that failures are left out, and the first of them."""
        count = self.failed.total()
        what = "1 score" if count == 1 else f"{count:,} scores"
        return [f"{what} {LEFT_OUT}: {self.example}"] if count else []


def once(seen: dict[Any, int], key: Any, records: Records, i: int, what: str = "id") -> None:
    """Remember an id.

    Raises:
        InputError: it came before.
    """
    before = seen.setdefault(key, i)
    if before != i:
        shown = " ".join(map(str, key)) if isinstance(key, tuple) else key
        raise InputError(
            f"{records.at(i)}: {what} {shown!r} came before, in {records.places[before]}; each may come once"
        )


def combined(files: Sequence[Records]) -> Records:
    """Several files as one; places then name their file."""
    if len(files) == 1:
        return files[0]
    rows = [row for records in files for row in records.rows]
    places = [f"{records.path}: {place}" for records in files for place in records.places]
    return Records(
        ", ".join(records.path for records in files[:2]) + (", ..." if len(files) > 2 else ""), rows, places, True
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
