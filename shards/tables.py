"""The two Parquet files of a shard: the index of what was kept, and the rejects. Equal rows give equal bytes."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from schemas.draft import Rejection
from schemas.usage import Usage
from shards.names import ShardName
from shards.tar import Member

Cell = str | float | int | None
Column = tuple[str, Literal["string", "int", "float"]]

_META = b"plumbline"
_OWN_COLUMNS = ("id", "split", "subjects", "members")


@dataclass(frozen=True)
class IndexRow:
    """A kept sample. `subjects`: what may not appear in another split (of a reference, a source image, a prompt)."""

    id: str
    columns: Mapping[str, Cell]
    subjects: tuple[str, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Footer:
    """The finish mark of a shard, kept in the metadata of its index.

    Attributes:
        run_hash: the sha256 of run.json.
        planned: kept + rejected.
    """

    name: ShardName
    run_hash: str
    tar_sha256: str
    tar_bytes: int
    planned: int
    kept: int
    rejected: int
    rejected_by_reason: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return {**{k: v for k, v in vars(self).items() if k != "name"}, "shard": str(self.name)}

    @classmethod
    def from_json(cls, name: ShardName, found: Mapping[str, Any]) -> Footer:
        """Raises: ValueError, KeyError or TypeError where `found` is not what `to_json` writes for this name."""
        if found["shard"] != str(name):
            raise ValueError(f"it says it belongs to {found['shard']}")
        return cls(name=name, **{k: v for k, v in found.items() if k != "shard"})


def count_reasons(rejections: Iterable[Rejection]) -> dict[str, int]:
    """How many were rejected for each reason, reasons in alphabetical order."""
    return dict(sorted(Counter(r.reason for r in rejections).items()))


def index_bytes(footer: Footer, rows: Sequence[IndexRow], columns: Sequence[Column]) -> bytes:
    """The index: id, split, the caller's columns, subjects and members; the footer in its metadata.

    Raises:
        ValueError: a row with a column that was not declared, or a column declared under a name of our own.
    """
    import pyarrow as pa

    declared = {name for name, _ in columns}
    if len(declared) != len(columns) or declared & set(_OWN_COLUMNS):
        raise ValueError(f"index columns must differ from each other and from {', '.join(_OWN_COLUMNS)}")
    for row in rows:
        if unknown := sorted(set(row.columns) - declared):
            raise ValueError(f"sample {row.id} has the undeclared column {unknown[0]}")
    member = pa.struct([("name", pa.string()), ("sha256", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64()}
    schema = pa.schema(
        [("id", pa.string()), ("split", pa.string())]
        + [(name, types[kind]) for name, kind in columns]
        + [("subjects", pa.list_(pa.string())), ("members", pa.list_(member))]
    )
    data = {
        "id": [row.id for row in rows],
        "split": [footer.name.split] * len(rows),
        **{name: [row.columns.get(name) for row in rows] for name, _ in columns},
        "subjects": [list(row.subjects) for row in rows],
        "members": [[vars(m) for m in row.members] for row in rows],
    }
    return _parquet(data, schema, footer.to_json())


def rejects_bytes(name: ShardName, rejections: Sequence[Rejection], usage: Mapping[str, Usage]) -> bytes:
    """The rejects in the order of their ordinals; the shard's usage per model in the metadata.

    Usage lies here and not in the index because a restart turns calls into ledger hits, while an index must come
    out the same.
    """
    import pyarrow as pa

    text = ["id", "split", "task", "stage", "reason", "class", "detail"]
    schema = pa.schema(
        [("ordinal", pa.int64()), *((c, pa.string()) for c in text), ("attempts", pa.int64()), ("usd", pa.float64())]
        + [(c, pa.string()) for c in ("last_answer", "request_key", "instruction", "scores", "draft")]
        + [("images", pa.list_(pa.string())), ("input_id", pa.string())]
    )
    ordered = sorted(rejections, key=lambda r: (r.ordinal, r.id, r.stage, r.reason))
    rows = [_reject_row(r) for r in ordered]
    data = {column: [row[column] for row in rows] for column in schema.names}
    about = {"shard": str(name), "usage": {m: u.model_dump() for m, u in sorted(usage.items())}}
    return _parquet(data, schema, about)


def _reject_row(r: Rejection) -> dict[str, object]:
    draft = r.draft
    shown = [] if draft is None else [*(p.reference for p in draft.plan.references), draft.target]
    painted = [] if draft is None else [p.image for p in draft.paintings if p.image != draft.target]
    return {
        "id": r.id,
        "ordinal": r.ordinal,
        "split": r.split,
        "task": r.task,
        "stage": r.stage,
        "reason": r.reason,
        "class": str(r.error_class),
        "detail": r.detail,
        "attempts": r.attempts,
        "usd": sum(u.usd for u in r.usage.values()),
        "last_answer": r.last_answer,
        "request_key": r.request_key,
        "instruction": draft.instruction if draft else r.instruction,
        "scores": json.dumps({k: round(v, 4) for k, v in sorted(r.scores.items())}),
        # A run of one painting writes what it wrote before there was a choice of several.
        "draft": (r.label or None)
        if draft is None
        else draft.model_dump_json(exclude=None if draft.paintings else {"paintings"}),
        "images": list(r.images) if draft is None else [image.sha256 for image in [*shown, *painted]],
        "input_id": r.input_id,
    }


def read_index(data: bytes, name: ShardName) -> tuple[Footer, list[dict[str, Any]]]:
    """(footer, rows).

    Raises:
        ValueError: it is no Parquet, or not the index of this shard.
    """
    footer, table = index_table(data, name)
    return footer, cast(list[dict[str, Any]], table.to_pylist())


def read_footer(data: bytes, name: ShardName) -> Footer:
    """The footer alone.

    Raises:
        ValueError: it is no Parquet, or not the index of this shard.
    """
    return index_table(data, name, columns=[])[0]


def index_table(data: bytes, name: ShardName, columns: Sequence[str] | None = None) -> tuple[Footer, Any]:
    """(footer, pyarrow table of these columns, or of all).

    Raises:
        ValueError: it is no Parquet, or not the index of this shard.
    """
    about, table = _read(data, columns)
    try:
        return Footer.from_json(name, about), table
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its footer is not of this shard: {error}") from error


def read_rejects(data: bytes, columns: Sequence[str] | None = None) -> tuple[dict[str, Usage], list[dict[str, Any]]]:
    """(usage per model, rows). A file of before there was an `input_id` has empty ones.

    Raises:
        ValueError: it is no Parquet, or holds no usage.
    """
    about, table = _read(data, columns)
    if not isinstance(about.get("usage"), dict):
        raise ValueError("it holds no usage")
    usage = {model: Usage.model_validate(found) for model, found in about["usage"].items()}
    rows = cast(list[dict[str, Any]], table.to_pylist())
    if "input_id" not in table.column_names and (columns is None or "input_id" in columns):
        rows = [{**row, "input_id": ""} for row in rows]
    return usage, rows


def _parquet(data: Mapping[str, object], schema: Any, about: Mapping[str, object]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pydict(dict(data), schema=schema.with_metadata({_META: json.dumps(about, sort_keys=True)}))
    out = io.BytesIO()
    # Everything that shapes the bytes is pinned, so that only another pyarrow could change them.
    pq.write_table(
        table, out, version="2.6", data_page_version="1.0", compression="zstd", compression_level=3,
        row_group_size=1 << 16, use_dictionary=True, write_statistics=True,
    )  # fmt: skip
    return out.getvalue()


def _read(data: bytes, columns: Sequence[str] | None = None) -> tuple[dict[str, Any], Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        raw = (file.schema_arrow.metadata or {}).get(_META, b"{}")
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        about = json.loads(raw)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"it cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not isinstance(about, dict):
        raise ValueError("its metadata are not ours")
    return about, table
