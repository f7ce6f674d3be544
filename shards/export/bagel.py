"""BAGEL: Parquet rows of references and target, with the IC-CoTs beside the instruction.

A row is what BAGEL's editing loaders take: `image_list` holds the references and, last, the target;
`instruction_list` one inner list of one text, as Echo-4o's multi-reference loader wants it (it calls `.item()` on it).
BAGEL hands out work by row group and drops what does not divide evenly, and a worker without a row group waits for
ever; so their number in the training split is a multiple of `units`.
BAGEL skips files whose exact path is no key of parquet_info.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from typing import Any

from schemas.counting import many
from schemas.errors import InputError
from shards.export.folder import Folder
from shards.export.groups import GROUP_BYTES, Groups, Part, byte_lists
from shards.export.options import Options
from shards.export.prompts import PlaceholderError, pieces, plain, plain_prompt
from shards.export.source import Row, Source

GROUP_ROWS = 16
NAME = "realign_iccot"
"""What the dataset is called in BAGEL's registry and in the files written here."""

_DATASET = "bagel_dataset.py"


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT/part-*.parquet, SPLIT.parquet_info.json, and what registers the training split with BAGEL.

    Raises:
        InputError: the training split has fewer samples that fit than `units`.
    """
    import pyarrow as pa

    text = pa.string()
    types = {
        "id": text,
        "task": text,
        "image_list": pa.list_(pa.binary()),
        "instruction_list": pa.list_(pa.list_(text)),
    }
    schema = pa.schema({**types, "prompt": text, "iccot_list": pa.list_(text), "without_iccot": pa.float32()})
    where = options.data_dir.rstrip("/") or folder.final
    for split, kept in source.kept.items():
        if not kept:
            continue
        units = options.units if split == "train" else 1
        _enough(source, split, kept, units)
        parts = _written(source, split, folder, schema, options.without_iccot, units)
        info = {f"{where}/{part.name}": {"num_row_groups": part.row_groups} for part in parts}
        folder.text(f"{split}.parquet_info.json", json.dumps(info, indent=1) + "\n")
        folder.notes.append(f"{split} has {many(sum(part.row_groups for part in parts), 'row group')}")
        if split == "train":
            _register(folder, where, len(parts), sum(part.rows for part in parts))


def _enough(source: Source, split: str, rows: int, units: int, left_out: str = "") -> None:
    if rows < units:
        raise InputError(
            f"{source.out}: the split {split} has {rows:,} samples{left_out}, fewer than the {units:,} workers that "
            "--units counts, and BAGEL waits for ever for a worker without data; use fewer"
        )


def _written(source: Source, split: str, folder: Folder, schema: Any, without_iccot: float, units: int) -> list[Part]:
    """The finished files of a split, whose row groups divide evenly over the workers.

    Which samples do not fit, and how large they are, is known only when they have been read. Where that took a row
    group away or split one, all is written once more, with the numbers that are known by then.
    """
    kept = source.kept[split]
    before = source.samples, Counter(folder.left_out), Counter(folder.rows)
    parts, size = _once(source, split, folder, schema, without_iccot, _even(kept, 0, units))
    rows = sum(part.rows for part in parts)
    groups = sum(part.row_groups for part in parts)
    if groups % units or (split == "train" and not groups):
        _enough(source, split, rows, units, f" ({kept - rows:,} left out)" if rows < kept else "")
        for part in parts:
            os.unlink(folder.path(part.name))
        source.samples, folder.left_out, folder.rows = before
        parts, _ = _once(source, split, folder, schema, without_iccot, _even(rows, size, units), rows)
    return parts


def _even(rows: int, size: int, units: int) -> int:
    """How many row groups: a multiple of `units`, with few enough rows and bytes in each where that can be."""
    wanted = max(1, -(-rows // GROUP_ROWS), -(-size // (GROUP_BYTES // 2)))
    count = min(rows, units * -(-wanted // units))
    return count - count % units


def _once(
    source: Source,
    split: str,
    folder: Folder,
    schema: Any,
    without_iccot: float,
    count: int,
    fitting: int | None = None,
) -> tuple[list[Part], int]:
    """(files, bytes of images) of one pass."""
    size = 0
    with Groups(folder, split, schema) as groups:
        for some in _grouped(source, split, folder, count, fitting):
            size += sum(map(_bytes, some))
            groups.write(_columns(some, without_iccot))
    return groups.parts, size


def _bytes(row: Row) -> int:
    return sum(len(image.data) for image in row.images.values())


def _grouped(source: Source, split: str, folder: Folder, count: int, fitting: int | None) -> Iterator[list[Row]]:
    """The rows of each row group, all of about one size: exactly `count` where it is known how many rows fit.

    Otherwise one less for each whose rows all do not fit, and one more for each that would be too large.
    """
    whole = source.kept[split] if fitting is None else fitting
    rows: list[Row] = []
    size = group = position = 0
    for row in source.rows(split):
        try:
            pieces(row.text("prompt"), len(row.inputs))
        except PlaceholderError:
            folder.leave_out("placeholders")
            position += fitting is None
            continue
        if rows and (position * count // whole != group or (fitting is None and size >= GROUP_BYTES)):
            yield rows
            rows, size = [], 0
        group = position * count // whole
        position += 1
        rows.append(row)
        size += _bytes(row)
    if rows:
        yield rows


def _columns(rows: list[Row], without_iccot: float) -> dict[str, Any]:
    return {
        "id": [row.id for row in rows],
        "task": [row.text("task") for row in rows],
        "image_list": byte_lists([[*row.inputs, row.image("target")] for row in rows]),
        "instruction_list": [[[plain(row.text("instruction"))]] for row in rows],
        "prompt": [plain_prompt(row.text("prompt")) for row in rows],
        "iccot_list": [[plain(text) for text in row.reasonings()] for row in rows],
        "without_iccot": [without_iccot] * len(rows),
    }


def _register(folder: Folder, where: str, files: int, samples: int) -> None:
    info = {
        NAME: {
            NAME: {
                "data_dir": f"{where}/train",
                "num_files": files,
                "num_total_samples": samples,
                "parquet_info_path": f"{where}/train.parquet_info.json",
            }
        }
    }
    folder.text("bagel_info.json", json.dumps(info, indent=1) + "\n")
    folder.text("bagel.yaml", _YAML.format(name=NAME, files=files))
    folder.text(_DATASET, resources.files("shards.export").joinpath(_DATASET).read_text(encoding="utf-8"))


_YAML = """\
# A group of BAGEL's data configuration (--dataset_config_file). Sizes as in its own example.
{name}:
  dataset_names:
  - {name}
  image_transform_args:
    image_stride: 16
    max_image_size: 1024
    min_image_size: 512
  vit_image_transform_args:
    image_stride: 14
    max_image_size: 518
    min_image_size: 224
  is_mandatory: true
  num_used_data:  # counts files: fewer leaves some out, more repeats some
  - {files}
  weight: 1
  think: true  # the IC-CoT between <think> tags, as BAGEL writes when it thinks
"""
