"""An indexed pool, open for planning: columns mapped from disk, references made in batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pools.drawn import drawn_pool
from pools.index import DIGEST_KEY, FILES_KEY, IndexReport, columns, index, index_metadata
from pools.rows import TARS, parent, read_rows
from pools.unchecked import unchecked
from schemas.errors import InputError
from schemas.references import Kind, Person, Reference
from storage import paths

if TYPE_CHECKING:
    import pyarrow as pa

TOYWORLD = "toyworld"
# Columns with few values or, like `subject`, whose numbers planning needs.
_CODED = ("kind", "media_type", "subject", "category", "license", "attribution", "person")
# `id` is `sha256`.
_TAKEN = (
    "uri", "sha256", "width", "height", "media_type", "source_id", "kind", "caption", "subject", "category", "license",
    "attribution", "person", "phash", "alpha",
)  # fmt: skip
# Codes of a column with at most this many values are looked up in a Python list.
_LISTED = 1 << 16


class Pool:
    """An indexed pool. Pickles as its address and is opened again where it is unpickled.

    Attributes:
        path: the index; opening it again is quick, whatever `open` was given.
        digest: sha256 over the rows' ids and metadata; where the images lie has no part in it.
        report: what indexing a raw pool found, where `open` had to index; else None.
    """

    def __init__(self, path: str, cache_dir: str, report: IndexReport | None = None) -> None:
        self.path, self._cache_dir, self.report = path, cache_dir, report
        metadata = index_metadata(path)
        if DIGEST_KEY not in metadata:
            raise InputError(f"{path}: not a pool index; make one with `plumbline pool index`")
        self.digest = metadata[DIGEST_KEY].decode()
        files = metadata.get(FILES_KEY, b"").decode()
        self._folder = parent(path) if paths.is_remote(path) else os.path.abspath(parent(path))
        self._batch = _mapped(path, os.path.join(cache_dir, f"{self.digest[:32]}-{files[:16]}.arrow"))
        self._values = {name: _values(self._batch.column(name)) for name in _CODED}

    @classmethod
    def open(cls, spec: str, cache_dir: str, config_dir: str = ".") -> Pool:
        """The pool that a configuration names: an index, `toyworld`, or anything `pools.index.index` takes.

        A raw pool is indexed under `cache_dir`, once for as long as its rows and files stay the same; on a bucket the
        listing of its folder tells.

        Args:
            spec: a path (relative to `config_dir`) or address.
            cache_dir: a local folder for what can be made again.

        Raises:
            InputError: the pool is missing, empty or broken.
        """
        if spec == TOYWORLD:
            spec = drawn_pool(cache_dir)
        elif config_dir not in ("", "."):
            spec = paths.join(config_dir, spec)
        if spec.lower().endswith(".parquet"):
            if not paths.exists(spec):
                raise InputError(f"{spec}: no such pool; make one with `plumbline pool index SRC --out {spec}`")
            if DIGEST_KEY in index_metadata(spec):
                return cls(spec, cache_dir)
        out = os.path.join(cache_dir, "indexed", _fingerprint(spec), "pool.parquet")
        if paths.exists(out):
            return cls(out, cache_dir)
        return cls(out, cache_dir, index(spec, out))

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pool, (self.path, self._cache_dir)

    @property
    def counts(self) -> dict[Kind, int]:
        """Images per kind; 0 for a kind the pool lacks."""
        found = {v["values"]: v["counts"] for v in self.column("kind").value_counts().to_pylist()}
        return {kind: found.get(kind.value, 0) for kind in Kind}

    def column(self, name: str) -> pa.Array:
        """A whole column in one piece, row i at place i; kind, subject, license and person are dictionary-encoded."""
        return self._batch.column(name)

    def references(self, rows: Sequence[int]) -> list[Reference]:
        """The references at `rows`, in that order. Uris are absolute or complete addresses."""
        import pyarrow as pa

        wanted = pa.array(rows, pa.int64())
        folder = self._folder.rstrip("/") + "/"
        # A literal dict is filled in half the time that one built from names takes.
        return unchecked(
            Reference,
            (
                {
                    "uri": uri if uri.startswith("/") or "://" in uri else folder + uri,
                    "sha256": sha256,
                    "width": width,
                    "height": height,
                    "media_type": media_type,
                    "id": sha256,
                    "source_id": source_id,
                    "kind": _KINDS[kind],
                    "caption": caption,
                    "subject": subject,
                    "category": category,
                    "license": license,
                    "attribution": attribution,
                    "person": _PERSONS[person],
                    "phash": phash,
                    "alpha": alpha,
                }
                for (
                    uri, sha256, width, height, media_type, source_id, kind, caption, subject, category, license,
                    attribution, person, phash, alpha,
                ) in zip(*(self._taken(name, wanted) for name in _TAKEN), strict=True)
            ),
        )  # fmt: skip

    def _taken(self, name: str, wanted: pa.Array) -> list[Any]:
        column = self._batch.column(name).take(wanted)
        if name not in _CODED:
            return list(column.to_pylist())
        values = self._values[name]
        if isinstance(values, list):
            return [values[code] for code in column.indices.to_numpy().tolist()]
        return list(values.take(column.indices).to_pylist())


_KINDS = {str(kind): kind for kind in Kind}
_PERSONS = {str(person): person for person in Person}


def _mapped(path: str, arrow: str) -> pa.RecordBatch:
    """The index as one record batch, mapped from `arrow`: a copy of it laid out for that, made where it is missing.

    Processes on a machine share the mapped pages, so a pool of a million rows costs each of them next to nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not os.path.exists(arrow):
        with paths.open_read(path) as file:
            table = pq.read_table(file, columns=columns().names, read_dictionary=list(_CODED))
        if not table.num_rows:
            raise InputError(f"{path}: an index without a row; index a pool that has images")
        wide = [
            pa.field(f.name, pa.large_string() if f.type == pa.string() else f.type)
            for f in table.schema.remove_metadata()
        ]
        batches = table.cast(pa.schema(wide)).unify_dictionaries().combine_chunks().to_batches()
        with paths.open_atomic(arrow) as out, pa.ipc.new_file(out, batches[0].schema) as writer:
            writer.write_batch(batches[0])
    return pa.ipc.open_file(pa.memory_map(arrow)).get_batch(0)


def _values(column: pa.DictionaryArray) -> list[str] | pa.Array:
    values = column.dictionary
    return list(values.to_pylist()) if len(values) <= _LISTED else values


def _fingerprint(source: str) -> str:
    """A name for what a raw pool holds now: each file's name, size and time of change."""
    if paths.is_remote(source):
        return _fingerprint_on_bucket(source)
    digest = hashlib.sha256(os.path.abspath(source).encode("utf-8", "surrogateescape"))
    files = [("", source)] + [(name, os.path.join(source, name)) for name in paths.list_files(source)]
    if os.path.isfile(source) and not source.lower().endswith(TARS):
        files += [(row.path, os.path.join(row.folder, row.path)) for row in read_rows(source) if row.path]
    for name, path in files:
        digest.update(f"{name} {_stamp(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _fingerprint_on_bucket(source: str) -> str:
    digest = hashlib.sha256(source.encode())
    # The files that a JSONL or a table names lie in its folder.
    folder = parent(source) if source.lower().endswith((".jsonl", ".ndjson", ".parquet", *TARS)) else source
    for name, stamp in paths.stamps(folder):
        if not source.lower().endswith(TARS) or name == source[len(folder.rstrip("/")) + 1 :]:
            digest.update(f"{name} {stamp}\n".encode())
    return digest.hexdigest()


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"
