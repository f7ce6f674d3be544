"""Flat Parquet for Hugging Face `datasets`, pandas and SQL: a row per sample, its images as image structs.

Texts and numbers of a sample's JSON keep their names; each score is a column of its own (`score_NAME`); what is nested
beyond that is JSON text. `images` are the references (or what a critic sees), in order; `target` is Re-Align's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from schemas.errors import DamageError
from shards.export.folder import Folder
from shards.export.groups import Groups, features, image_lists, image_type, images
from shards.export.options import Options
from shards.export.source import Row, Source

GROUP_ROWS = 64
_GROUP_BYTES = 32 << 20
_TEXT, _NUMBER = {"dtype": "string", "_type": "Value"}, {"dtype": "float64", "_type": "Value"}
_OTHERS = "others"
"""Paintings that were not chosen."""


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT/part-*.parquet."""
    for split in source.kept:
        rows = source.rows(split)
        first = next(rows, None)
        if first is None:
            continue
        columns = columns_of(first)
        with Groups(folder, split, *_schema(columns)) as groups:
            for some in _grouped(chain([first], _alike(first, rows))):
                groups.write({name: _column(some, name, kind) for name, kind in columns.items()})


def _alike(first: Row, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows. What one has and the first lacks has no column, and would be lost unseen.

    Raises:
        DamageError: there is such a row.
    """
    known = _names(first)
    for row in rows:
        if more := _names(row) - known:
            raise DamageError(
                f"{row.place}: sample {row.id} has `{min(more)}`, which the first sample lacks; run `verify`"
            )
        yield row


def _names(row: Row) -> set[str]:
    scores = row.json.get("scores")
    named = {f"scores.{name}" for name in scores} if isinstance(scores, dict) else set()
    return {*row.json, *named, *(["target.jpg"] if "target" in row.images else [])}


def _grouped(rows: Iterable[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(image.data) for image in row.images.values())
        if len(some) >= GROUP_ROWS or size >= _GROUP_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def columns_of(row: Row) -> dict[str, str]:
    """Column to kind (`text`, `number`, `texts`, `json`, `image`, `images`); every sample of a run has the same."""
    columns: dict[str, str] = {}
    for key, value in row.json.items():
        if key == "scores" and isinstance(value, dict):
            columns.update({f"score_{name}": "number" for name in value})
        elif isinstance(value, str):
            columns[key] = "text"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            columns[key] = "number"
        else:
            columns[key] = "json"
    if "reasonings" in columns:
        columns["iccots"] = "texts"
    columns["images"] = "images"
    if "target" in row.images:
        columns["target"] = "image"
    if "paintings" in columns:
        columns[_OTHERS] = "images"
    return columns


def _schema(columns: dict[str, str]) -> tuple[Any, dict[str, str]]:
    import pyarrow as pa

    text = pa.string()
    texts, picture = pa.list_(text), image_type()
    types = {"text": text, "json": text, "number": pa.float64(), "texts": texts, "image": picture}
    types["images"] = pa.list_(picture)
    described = {"text": _TEXT, "json": _TEXT, "number": _NUMBER, "texts": {"feature": _TEXT, "_type": "List"}}
    described["image"] = {"_type": "Image"}
    described["images"] = {"feature": {"_type": "Image"}, "_type": "List"}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    return schema, features({name: described[kind] for name, kind in columns.items()})


def _column(rows: list[Row], name: str, kind: str) -> Any:
    if kind == "image":
        return images([row.image(name) for row in rows])
    if kind == "images":
        return image_lists([_others(row) if name == _OTHERS else row.inputs for row in rows])
    if kind == "texts":
        return [[str(item.get("text", "")) for item in row.records("reasonings")] for row in rows]
    if kind == "json":
        return [json.dumps(_value(row, name), ensure_ascii=False) for row in rows]
    if kind == "number":
        return [_number(row, name) for row in rows]
    return [row.text(name) for row in rows]


def _others(row: Row) -> list[Any]:
    names = sorted((name for name in row.images if name.startswith("other_")), key=lambda n: int(n.split("_")[1]))
    return [row.images[name] for name in names]


def _number(row: Row, name: str) -> float:
    scores = row.json.get("scores")
    own = name.startswith("score_") and name not in row.json and isinstance(scores, dict)
    value = scores.get(name.removeprefix("score_")) if own and isinstance(scores, dict) else _value(row, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise DamageError(f"{row.place}: sample {row.id} has no number `{name}`, which the first sample has; run `verify`")


def _value(row: Row, name: str) -> Any:
    if name not in row.json:
        raise DamageError(f"{row.place}: sample {row.id} has no `{name}`, which the first sample has; run `verify`")
    return row.json[name]
