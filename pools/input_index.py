"""Index a user's list of edit pairs or prompts: look at every image once, and write one Parquet file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from pools.examine import one_line
from pools.index import MIN_SIDE
from pools.input_keys import InputKeys
from pools.inputs import Form, InputRow, read_inputs
from pools.lookalikes import listed, lookalikes
from pools.rows import LARGEST
from schemas.errors import ImageError, InputError
from storage import paths
from storage.objects import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "2"
VERSION_KEY, FORM_KEY = b"plumbline.inputs", b"plumbline.form"
DIGEST_KEY, FILES_KEY, COLUMNS_KEY = b"plumbline.digest", b"plumbline.files", b"plumbline.columns"
_WINDOW, _ROW_GROUP = 64, 10_000
# Paths whose image is remembered, as one source often has several edits, side by side.
_REMEMBERED = 4096
_LISTED = 1000
_EXTENSIONS = {"image/jpeg": "jpg", "image/tiff": "tif"}


@dataclass(frozen=True)
class InputProblem:
    """A row that cannot be used, and why: a line of the problems file.

    Attributes:
        row: its place in the list, from 1 (a JSONL's line).
        id: the user's own; `row-NUMBER` where there is none.
        reason: one word for counting (docs/inputs.md).
        detail: the sentence behind it; images by what the list calls them.
    """

    row: int
    id: str
    reason: str
    detail: str


@dataclass
class InputReport:
    """What indexing found: the index at `out`, and one line of `problems_file` per row that cannot be used.

    Attributes:
        rows: all of them.
        reasons: rows with a problem, per problem, the most frequent first.
        problems: the first thousand of them; none where the index was there already.
        already: whether the index was there already.
        notes: sentences about columns that are ignored although they look like ones that are read.
    """

    out: str
    problems_file: str
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    problems: list[InputProblem] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    already: bool = False

    @property
    def indexed(self) -> int:
        """Rows that can be used."""
        return self.rows - sum(self.reasons.values())


@dataclass(frozen=True)
class SeenImage:
    """Where an image lies and what it is; all empty where it cannot be used."""

    uri: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    media_type: str = ""


def columns(form: Form) -> pa.Schema:
    """The index's columns: per image what an `ImageRef` has, in columns that end in the image's number.

    `row`, `id`, `text`, `problem`, `detail` and each image's `name` are those of `pools.inputs.InputRow`; `given`:
    whether the row names an image; `plan` and `subject` are explained at `pools.input_keys.InputKeys`.
    """
    import pyarrow as pa

    fields = [(name, pa.large_string()) for name in ("id", "text", "problem", "detail")]
    fields += [("row", pa.int64()), ("given", pa.bool_())]
    for i in range(len(form.images)):
        fields += [(f"{name}_{i}", pa.large_string()) for name in ("name", "uri", "sha256", "media_type")]
        fields += [(f"{name}_{i}", pa.int32()) for name in ("width", "height")]
    fields += [("plan", pa.large_string()), ("subject", pa.large_string())]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


def index_inputs(source: str, form: Form, out: str, threads: int = 8) -> InputReport:
    """Index the list `source` into the Parquet file `out`; rows that cannot be used are in it with their problem.

    An image's bytes are hashed and its header is read; it is not decoded. Images that a table holds itself are stored
    beside the index in `<out without suffix>-images/`, named by their digest.

    Raises:
        InputError: the list cannot be read (`pools.inputs.read_inputs`), none of its rows can be used, or `out`
            cannot be written.
    """
    report, keys, seen = InputReport(out, problems_file(out)), InputKeys(form), dict[str, None]()
    try:
        with paths.open_atomic(out) as file, tempfile.TemporaryFile() as spool:
            _spool(spool, _looked_at(read_inputs(source, form, seen), _Look(out, form), threads), form, keys)
            spool.seek(0)
            with paths.open_atomic(report.problems_file) as problems:
                _write(file, spool, form, keys, list(seen), _Problems(report, problems))
            report.notes = column_notes(form, list(seen))
            if not report.indexed:
                first = report.problems[0]
                reasons = ", ".join(f"{count} {reason}" for reason, count in report.reasons.items())
                raise InputError(f"{source}: no row can be used ({reasons}); row {first.row}: {first.detail}")
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise InputError(f"{out}: cannot be written ({said}); choose another cache folder") from error
    return report


def problems_file(out: str) -> str:
    """Where an index's problems are listed."""
    return f"{out}.problems.jsonl"


def column_notes(form: Form, there: list[str]) -> tuple[str, ...]:
    """A sentence for each column of `form` that is not `there` in a list, though another seems to mean it."""
    found = lookalikes([name for name in form.columns if name not in there], there, form.columns)
    ends = {"id": "to keep your own ids", form.text: "to be read"}
    return tuple(
        f"no column `{name}`; `{other}` is ignored: did you mean it? rename it {ends.get(name, 'to be judged')}"
        for name, other in found.items()
    )


def none_has(form: Form, there: list[str]) -> str:
    """A sentence for a list none of whose rows has a text."""
    if form.text in there:
        return f"no usable row has `{form.text}`: it is null or empty"
    other = lookalikes([form.text], there, form.columns).get(form.text)
    meant = f" (did you mean `{other}`? rename it)" if other else ""
    return f"no row has `{form.text}`, only {listed(there)}{meant}"


def _looked_at(rows: Iterator[InputRow], look: _Look, threads: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the index but for what only all rows together decide, in order, looked at by several threads."""
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        while window := list(islice(rows, _WINDOW)):
            yield from pool.map(look, window)


class _Look:
    """Turns a row of a list into a row of the index; safe in several threads."""

    def __init__(self, out: str, form: Form) -> None:
        self._columns = form.images
        self._images = f"{out.removesuffix('.parquet')}-images"
        self._at = lru_cache(maxsize=_REMEMBERED)(_image_at)

    def __call__(self, row: InputRow) -> tuple[Any, ...]:
        problem, detail, seen = row.problem, row.detail, [SeenImage() for _ in row.images]
        for i, image in enumerate(row.images if not problem else ()):
            try:
                if image:
                    seen[i] = self._at(image) if isinstance(image, str) else self._stored(image)
            except ImageError as error:
                called = f"`{self._columns[i]}` {row.names[i]}".rstrip()
                problem, detail = problem or error.reason, detail or one_line(f"{called}: {error.detail}")
        cells = (row.id, row.text, problem, detail, row.number, any(row.images))
        return cells + tuple(cell for i, one in enumerate(seen) for cell in (row.names[i], *_cells(one)))

    def _stored(self, data: bytes) -> SeenImage:
        found = _described(data, "")
        extension = _EXTENSIONS.get(found.media_type, found.media_type.rpartition("/")[2])
        name = f"{found.sha256}.{extension}"
        target = paths.join(self._images, name)
        if not paths.exists(target):
            paths.write_atomic(target, data)
        # Relative to the index, so that the two may move together.
        return replace(found, uri=f"{self._images.rpartition('/')[2]}/{name}")


def _image_at(uri: str) -> SeenImage:
    try:
        uri.encode("utf-8")
        if not paths.is_remote(uri):
            uri = os.path.abspath(uri)
            if os.stat(uri).st_size > LARGEST:
                raise ImageError("bomb", f"the file is above {LARGEST >> 20} MiB")
        data = paths.read_bytes(uri)
    except FileNotFoundError as error:
        raise ImageError("missing", "there is no such file") from error
    except StoreError as error:
        if not error.here_only:
            raise  # not this image's fault, and it would be every other one's
        raise ImageError("unreadable", str(error)) from error
    except OSError as error:
        raise ImageError("unreadable", f"{type(error).__name__}: {error.strerror or 'cannot be read'}") from error
    except ValueError as error:  # a name that is not UTF-8 or holds a null
        raise ImageError("unreadable", f"the path is no file's name ({error})") from error
    except InputError as error:  # an address of no known kind
        raise ImageError("unreadable", str(error)) from error
    return _described(data, uri)


def _described(data: bytes, uri: str) -> SeenImage:
    from storage import images

    probe = images.probe(data)
    if min(probe.width, probe.height) < MIN_SIDE:
        raise ImageError("tiny", f"{probe.width} x {probe.height}: a side is below {MIN_SIDE} pixels")
    return SeenImage(uri, hashlib.sha256(data).hexdigest(), probe.width, probe.height, probe.media_type)


def _cells(image: SeenImage) -> tuple[Any, ...]:
    return image.uri, image.sha256, image.media_type, image.width, image.height


def _spool(file: IO[bytes], rows: Iterator[tuple[Any, ...]], form: Form, keys: InputKeys) -> None:
    """Rows into a stream of Arrow batches, and their keys into `keys`."""
    import pyarrow as pa

    schema = pa.schema(list(columns(form))[:-2])
    with pa.ipc.new_stream(file, schema) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            batch = pa.record_batch(
                [pa.array(cells, field.type) for cells, field in zip(zip(*group, strict=True), schema, strict=True)],
                schema=schema,
            )
            keys.add(batch)
            writer.write_batch(batch)


class _Problems:
    """Rows that cannot be used, told to the report and to its file."""

    def __init__(self, report: InputReport, file: IO[bytes]) -> None:
        self.report, self._file, self._counts = report, file, Counter[str]()

    def add(self, batch: pa.RecordBatch) -> None:
        """A batch of the index, whose rows with a problem are told."""
        import pyarrow.compute as pc

        self.report.rows += batch.num_rows
        ill = batch.filter(pc.not_equal(batch.column("problem"), ""))
        for row in ill.select(["row", "id", "problem", "detail"]).to_pylist():
            found = InputProblem(row["row"], one_line(row["id"]), row["problem"], row["detail"])
            self._counts[found.reason] += 1
            if len(self.report.problems) < _LISTED:
                self.report.problems.append(found)
            self._file.write(json.dumps(asdict(found), ensure_ascii=False).encode() + b"\n")
        self.report.reasons = dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))


def _write(
    file: IO[bytes], spool: IO[bytes], form: Form, keys: InputKeys, seen: list[str], problems: _Problems
) -> None:
    """The index: the spooled rows with their plan, their subject, and the problem of those that repeat another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, digest, files, first = columns(form), hashlib.sha256(), hashlib.sha256(), 0
    # Where the images lie is not what the list is: moving it keeps its digest.
    places = ("row", "detail", *(f"{name}_{i}" for i in range(len(form.images)) for name in ("name", "uri")))
    settled = keys.settled()
    with pq.ParquetWriter(file, schema) as writer, pa.ipc.open_stream(spool) as stream:
        for batch in stream:
            whole = settled.complete(batch, first, schema)
            first += batch.num_rows
            problems.add(whole)
            for cells in zip(*(whole.column(name).to_pylist() for name in ("plan", "subject", "problem")), strict=True):
                digest.update("\n".join(cells).encode())
            for cells in zip(*(whole.column(name).to_pylist() for name in places), strict=True):
                files.update(repr(cells).encode())
            writer.write_batch(whole)
        writer.add_key_value_metadata(
            {
                VERSION_KEY: VERSION,
                FORM_KEY: form.name,
                DIGEST_KEY: digest.hexdigest(),
                FILES_KEY: files.hexdigest(),
                COLUMNS_KEY: json.dumps(seen),
            }
        )
