"""Pools to test with: indexes written row by row, and folders of small pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def index_of() -> Callable[[Rows, Path], str]:
    """Writes an index of rows that need not be complete; returns its path."""
    return _index_of


def _index_of(rows: Rows, path: Path) -> str:
    """An index as `pools.index` writes it, of images that are not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pools.index import DIGEST_KEY, FILES_KEY, VERSION, VERSION_KEY, columns

    complete = []
    for i, row in enumerate(rows):
        sha256 = hashlib.sha256(str(i).encode()).hexdigest()
        full = {
            "id": sha256, "sha256": sha256, "source_id": f"row-{i}", "kind": "object", "caption": f"thing {i}",
            "subject": f"subject-{i}", "category": "", "license": "CC0-1.0", "attribution": "", "person": "none",
            "uri": f"images/{i}.jpg", "media_type": "image/jpeg", "phash": "0" * 16, "width": 512, "height": 384,
            "alpha": False,
        }  # fmt: skip
        complete.append(full | row)
    digest = hashlib.sha256(repr(complete).encode()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, columns()) as writer:
        writer.write_table(pa.Table.from_pylist(complete, columns()))
        writer.add_key_value_metadata({VERSION_KEY: VERSION, DIGEST_KEY: digest, FILES_KEY: digest})
    return str(path)


@pytest.fixture(scope="session")
def draw() -> Callable[..., Path]:
    """Draws a small picture that depends on `seed`, in the format of the path's suffix."""
    return _draw


def _draw(path: Path, size: tuple[int, int] = (96, 80), seed: int = 0, **options: Any) -> Path:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste((seed * 37 % 256, seed * 91 % 256, 128), (4 + seed % 20, 6, 40 + seed % 20, 44))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
