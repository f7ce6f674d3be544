"""The pool tells the truth about itself: captions parse, cut-outs have alpha, and references can be drawn again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.references import Kind, Reference
from toyworld import pool
from toyworld.captions import parse
from toyworld.render import render


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("pool")
    count = pool.build(str(folder), 64)
    rows = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    assert len(rows) == count
    return folder, rows


def reference(row: dict[str, Any], folder: Path) -> Reference:
    digest = hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
    return Reference(
        uri=str(folder / row["path"]), sha256=digest, width=64, height=64, media_type="image/jpeg", id=digest,
        source_id=row["id"], kind=Kind(row["kind"]), caption=row["caption"], subject=row["subject"],
        attribution=row["attribution"],
    )  # fmt: skip


def test_ids_are_unique_and_every_file_exists(built: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = built
    assert len({row["id"] for row in rows}) == len(rows)
    assert all((folder / row["path"]).is_file() for row in rows)
    digests = {hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest() for row in rows}
    assert len(digests) == len(rows)


def test_all_three_kinds_are_there_and_subjects_have_several_photos(built: tuple[Path, list[dict[str, Any]]]) -> None:
    _, rows = built
    assert set(Counter(row["kind"] for row in rows)) == {"character", "object", "scene"}
    assert min(Counter(row["subject"] for row in rows).values()) >= 2


def test_things_that_stand_alone_are_cutouts_and_scenes_hold_no_thing(built: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = built
    for row in rows:
        told = parse(row["caption"])
        with Image.open(folder / row["path"]) as image:
            assert image.mode == ("RGBA" if not told.scene else "RGB")
        assert (row["kind"] == "scene") == (not told.things)


def test_a_reference_can_be_drawn_again_exactly(built: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = built
    for row in rows[2::23]:
        ref = reference(row, folder)
        assert pool.is_toy(ref)
        with Image.open(ref.uri) as image:
            stored = Image.new("RGBA", image.size, "white")
            stored.alpha_composite(image.convert("RGBA"))
        drawn = render(pool.picture_of(ref), 64)
        difference = np.abs(np.asarray(stored.convert("RGB")).astype(int) - np.asarray(drawn))
        assert difference.mean() < 2.5


def test_another_pool_is_no_toy_pool(built: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = built
    ref = reference(rows[0], folder)
    assert not pool.is_toy(ref.model_copy(update={"attribution": "someone"}))
    assert not pool.is_toy(ref.model_copy(update={"caption": "a photo of a cat"}))


def test_building_twice_writes_the_same_bytes(built: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = built
    for entry, row in list(zip(pool.entries(), rows, strict=True))[::29]:
        assert pool._encoded(entry, 64) == (folder / row["path"]).read_bytes()
