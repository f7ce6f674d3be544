"""Index a raw pool: look at every image once, and write what planning needs into one Parquet file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from pools.examine import Examiner, Problem, one_line
from pools.licenses import AllowList
from pools.rows import Row, read_rows
from schemas.errors import InputError
from schemas.references import Kind
from storage import paths

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "1"
VERSION_KEY, DIGEST_KEY, FILES_KEY = b"plumbline.pool", b"plumbline.digest", b"plumbline.files"
MIN_SIDE = 64
_WINDOW = 64
_ROW_GROUP = 10_000
_EXTENSIONS = {"image/jpeg": "jpg", "image/tiff": "tif"}


@dataclass
class IndexReport:
    """What came of indexing: the index at `out`, one line of `problems_file` per row left out.

    Attributes:
        kinds: images indexed per kind.
        digest: see `pools.pool.Pool.digest`.
    """

    out: str
    problems_file: str
    kinds: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""

    @property
    def indexed(self) -> int:
        return sum(self.kinds.values())

    @property
    def reasons(self) -> dict[str, int]:
        """Problems per reason, the most frequent first."""
        return dict(sorted(Counter(p.reason for p in self.problems).items(), key=lambda item: (-item[1], item[0])))


def index(
    source: str,
    out: str,
    *,
    kind: Kind | None = None,
    licenses: list[str] | None = None,
    min_side: int = MIN_SIDE,
    threads: int | None = None,
) -> IndexReport:
    """Index `source` into the Parquet file `out`, and list what was left out in `OUT.problems.jsonl`.

    `source` is a folder of characters/ objects/ scenes/, a JSONL, a Parquet table, or WebDataset tars (whose images
    are stored beside the index in `<out without suffix>-images/`, named by their digest). The order of rows is that
    of the source, whatever the threads. Paths in the index are relative to it where they lie below its folder.

    Args:
        kind: for rows that do not say theirs.
        licenses: an allow-list (`pools.licenses.AllowList`); default all.
        threads: that read and decode; by default 2, or more where the source is on a bucket.
        min_side: images whose shorter side is below this many pixels are left out as `tiny`.

    Raises:
        InputError: the source is missing, empty or broken, no row is usable, or `out` holds something else already
            or cannot be written.
    """
    before = _digest_at(out)
    report = IndexReport(out, f"{out}.problems.jsonl")
    examiner = Examiner(out, kind, AllowList(licenses) if licenses is not None else None, min_side)
    with _writing(out) as file:
        with paths.open_atomic(report.problems_file) as problems:
            threads = threads or (paths.REQUESTS if paths.is_remote(source) else 2)
            examined = _in_order(examiner, read_rows(source), threads)
            _write(file, _accepted(examined, report, examiner, problems), report)
            if before and report.indexed and before != report.digest:
                raise InputError(f"{out}: holds another pool already; delete it or choose another --out")
        if not report.indexed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.reasons.items()) or "it has no rows"
            raise InputError(f"{source}: no usable image ({reasons}); see {report.problems_file}")
    return report


@contextmanager
def _writing(out: str) -> Iterator[IO[bytes]]:
    """The index's file; errors of reading are said where they arise, so what is left is about `out` or beside it."""
    try:
        with paths.open_atomic(out) as file:
            yield file
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise InputError(f"{out}: cannot be written ({said}); choose another --out") from error


def columns() -> pa.Schema:
    """The index's columns: the fields of `schemas.references.Reference`."""
    import pyarrow as pa

    text = ("id", "source_id", "kind", "caption", "subject", "category", "license", "attribution", "person")
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in (*text, "uri", "sha256", "media_type", "phash")]
        + [pa.field(name, pa.int32(), nullable=False) for name in ("width", "height")]
        + [pa.field("alpha", pa.bool_(), nullable=False)]
    )


_Examined = tuple[Row, "dict[str, Any] | Problem"]


def _in_order(examiner: Examiner, rows: Iterator[Row], threads: int) -> Iterator[_Examined]:
    """Rows examined by several threads, a bounded number at a time, in their order."""
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        while window := list(islice(rows, _WINDOW)):
            yield from zip(window, pool.map(examiner, window), strict=True)


def _accepted(
    examined: Iterable[_Examined], report: IndexReport, examiner: Examiner, problems: Any
) -> Iterator[dict[str, Any]]:
    """Rows for the index; duplicates and problems go to the report and to the problems file."""
    first: dict[str, int] = {}
    for row, found in examined:
        if isinstance(found, dict) and found["sha256"] in first:
            detail = f"the same bytes as row {first[found['sha256']]}"
            found = Problem(row.number, one_line(row.name), "duplicate", detail)
        if isinstance(found, Problem):
            report.problems.append(found)
            problems.write(json.dumps(asdict(found), ensure_ascii=False).encode() + b"\n")
            continue
        first[found["sha256"]] = row.number
        found["subject"] = found["subject"] or found["sha256"]
        if row.data is not None:
            found["uri"] = _stored(row.data, found, examiner)
        report.kinds[found["kind"]] = report.kinds.get(found["kind"], 0) + 1
        yield found
    report.kinds = {str(kind): report.kinds[kind] for kind in Kind if kind in report.kinds}


def _stored(data: bytes, found: dict[str, Any], examiner: Examiner) -> str:
    extension = _EXTENSIONS.get(found["media_type"], found["media_type"].rpartition("/")[2])
    target = paths.join(examiner.images, f"{found['sha256']}.{extension}")
    if not paths.exists(target):
        paths.write_atomic(target, data)
    return f"{examiner.images.rpartition('/')[2]}/{found['sha256']}.{extension}"


def _write(file: Any, rows: Iterator[dict[str, Any]], report: IndexReport) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, digest, files = columns(), hashlib.sha256(), hashlib.sha256()
    with pq.ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            for row in group:
                # Where an image lies is not what the pool is: moving a pool keeps its digest.
                digest.update(json.dumps({k: v for k, v in row.items() if k != "uri"}, sort_keys=True).encode() + b"\n")
                files.update(row["uri"].encode() + b"\n")
            writer.write_table(pa.Table.from_pylist(group, schema))
        report.digest = digest.hexdigest()
        metadata = {VERSION_KEY: VERSION, DIGEST_KEY: report.digest, FILES_KEY: files.hexdigest()}
        writer.add_key_value_metadata(metadata)


def index_metadata(path: str) -> dict[bytes, bytes]:
    """What an index says of itself under its keys; empty where `path` is no index.

    Raises:
        InputError: it is no Parquet file, or an index of another version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with paths.open_read(path) as file:
            found: dict[bytes, bytes] = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{path}: not a Parquet file that can be read ({said}); index the pool again") from error
    version = found.get(VERSION_KEY, VERSION.encode()).decode("utf-8", "replace")
    if version != VERSION:
        raise InputError(f"{path}: an index of version {version}, this reads {VERSION}; index the pool again")
    return found


def _digest_at(out: str) -> str:
    if not paths.exists(out):
        return ""
    digest = index_metadata(out).get(DIGEST_KEY, b"").decode()
    if not digest:
        raise InputError(f"{out}: exists and is no pool index; choose another --out")
    return digest
