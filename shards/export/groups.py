"""Parquet files of image bytes: one row group per call, columns built without copying each image on its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shards.export.folder import Folder
from shards.export.source import ImageBytes

FILE_BYTES = 1 << 30
"""A file is closed by the first row group that makes it this large."""

GROUP_BYTES = 256 << 20
"""No row group is to hold more image bytes: readers fetch one whole."""


class Part(NamedTuple):
    """A finished file; `name` relative to the export's folder."""

    name: str
    row_groups: int
    rows: int


class Groups:
    """Writes `FOLDER/part-00000.parquet`, `part-00001.parquet`, ...; a context manager.

    Images are stored as they are (JPEG does not compress); equal rows give equal bytes.

    Attributes:
        parts: the finished files.
    """

    def __init__(self, folder: Folder, below: str, schema: Any, metadata: Mapping[str, str] | None = None) -> None:
        encoded = {key.encode(): value.encode() for key, value in sorted((metadata or {}).items())}
        self._schema = schema.with_metadata(encoded) if encoded else schema
        self._folder, self._below = folder, below
        self._writer: Any = None
        self._name, self._groups, self._rows, self._bytes = "", 0, 0, 0
        self.parts: list[Part] = []

    def write(self, columns: Mapping[str, Any]) -> None:
        """One row group; values as pyarrow takes them for the schema, or as arrays."""
        import pyarrow as pa

        arrays = [
            columns[field.name]
            if isinstance(columns[field.name], pa.Array)
            else pa.array(columns[field.name], type=field.type)
            for field in self._schema
        ]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        if self._writer is None:
            self._open()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._groups += 1
        self._rows += table.num_rows
        self._bytes += table.nbytes
        self._folder.rows[self._name] += table.num_rows
        if self._bytes >= FILE_BYTES:
            self._close()

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._writer is not None:
            self._close()

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._name = f"{self._below}/part-{len(self.parts):05d}.parquet"
        self._groups = self._rows = self._bytes = 0
        self._writer = pq.ParquetWriter(
            self._folder.path(self._name), self._schema, version="2.6", data_page_version="1.0", compression="none",
            use_dictionary=False, write_statistics=False,
        )  # fmt: skip

    def _close(self) -> None:
        self._writer.close()
        self._writer = None
        self.parts.append(Part(self._name, self._groups, self._rows))


def byte_lists(rows: Sequence[Sequence[ImageBytes]]) -> Any:
    """An array of list<binary>, the bytes joined once."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(_offsets([len(row) for row in rows]), _binary([i for row in rows for i in row]))


def image_lists(rows: Sequence[Sequence[ImageBytes]]) -> Any:
    """An array of list<struct<bytes, path>>: a list of images to Hugging Face `datasets`."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(_offsets([len(row) for row in rows]), images([i for row in rows for i in row]))


def images(found: Sequence[ImageBytes]) -> Any:
    """An array of struct<bytes, path>: an image to Hugging Face `datasets`."""
    import pyarrow as pa

    names = pa.array([f"{image.sha256[:32]}.jpg" for image in found], pa.string())
    return pa.StructArray.from_arrays([_binary(found), names], names=["bytes", "path"])


def image_type() -> Any:
    """struct<bytes: binary, path: string>."""
    import pyarrow as pa

    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def features(described: Mapping[str, Any]) -> dict[str, str]:
    """The schema's metadata by which `datasets` knows that structs are images."""
    return {"huggingface": json.dumps({"info": {"features": dict(described)}}, sort_keys=False)}


def _offsets(lengths: Sequence[int]) -> Any:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32))


def _binary(found: Sequence[ImageBytes]) -> Any:
    import pyarrow as pa

    offsets = _offsets([len(image.data) for image in found])
    data = pa.py_buffer(b"".join(image.data for image in found))
    return pa.Array.from_buffers(pa.binary(), len(found), [None, offsets.buffers()[1], data])
