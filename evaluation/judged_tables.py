"""A benchmark's own records, as it is published: JSON lines, Parquet, or a folder of either as Hugging Face keeps it.

An image in a record is a path, or (in Parquet) its bytes or a struct {bytes, path}; each becomes a `Picture`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evaluation.judged_images import Picture, Workspace
from evaluation.records import Records, Row, combined, read_records
from schemas.errors import InputError
from storage import paths

_LINES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_AT_ONCE = 16  # rows; each holds several images


def read_benchmark(
    source: str,
    images: str,
    image_root: str | None,
    workspace: Workspace,
    wanted: Callable[[Row], bool],
    columns: Sequence[str],
) -> Records:
    """The records of `source` that are wanted, with a list of pictures under `images`.

    Args:
        source: a file, or a folder that holds Parquet files (or else JSON lines) at any depth.
        images: the column of images; one image alone counts as a list of one.
        image_root: what paths are relative to; default: the file's own folder.
        wanted: of a record without its images; the bytes of others are not kept.
        columns: those that are read of a Parquet file, beside the images; those that it lacks are left out.

    Raises:
        InputError: nothing to read there, a broken file, a record whose images are none.
    """
    found = []
    for path in _files(source):
        root = image_root or path.rpartition("/")[0] or "."
        if path.lower().endswith(".parquet"):
            found.append(_of_parquet(path, images, columns, wanted, root, workspace))
            continue
        records = read_records(path, "key")
        places = [i for i, row in enumerate(records.rows) if wanted(row)]
        for i in places:
            records.rows[i][images] = _pictures(records.at(i), images, records.rows[i].get(images), root, workspace)
        found.append(Records(path, [records.rows[i] for i in places], [records.places[i] for i in places]))
    return combined(found)


def _files(source: str) -> list[str]:
    lower = source.lower()
    if lower.endswith((".parquet", *_LINES)):
        return [source]
    names = paths.list_files(source)
    tables = [name for name in names if name.lower().endswith(".parquet")]
    lines = [name for name in names if name.lower().endswith((".jsonl", ".ndjson"))]
    if tables or lines:
        return [paths.join(source, name) for name in tables or lines]
    state = "holds none" if names or paths.exists(source) else "is not there"
    raise InputError(f"--bench {source}: name a .jsonl or .parquet file, or a folder that holds some; this {state}")


def _of_parquet(
    path: str,
    images: str,
    columns: Sequence[str],
    wanted: Callable[[Row], bool],
    root: str,
    workspace: Workspace,
) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = []
    places = []
    try:
        with paths.open_read(path) as file:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            if images not in names:
                raise InputError(f"{path}: has no column {images}; its columns are {', '.join(names)}")
            number = 0
            for batch in table.iter_batches(_AT_ONCE, columns=[name for name in (*columns, images) if name in names]):
                for row in batch.to_pylist():
                    number += 1
                    if wanted(row):
                        place = f"row {number}"
                        row[images] = _pictures(f"{path}: {place}", images, row[images], root, workspace)
                        rows.append(row)
                        places.append(place)
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: is no Parquet file that can be read ({said})") from None
    return Records(path, rows, places)


def _pictures(at: str, key: str, value: Any, root: str, workspace: Workspace) -> list[Picture]:
    many = value if isinstance(value, list) else [value]
    found = [_picture(one, root, workspace) for one in many]
    known = [picture for picture in found if picture is not None]
    if not known or len(known) != len(found):
        raise InputError(f"{at}: {key} must be a list of images (paths, or bytes in a Parquet file), without a gap")
    return known


def _picture(value: Any, root: str, workspace: Workspace) -> Picture | None:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return workspace.keep(value)
    return Picture(root, value) if isinstance(value, str) and value.strip() else None
