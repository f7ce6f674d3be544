"""A pool is opened from whatever a configuration names."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pools.licenses import AllowList
from pools.pool import Pool
from pools.stress import apply
from schemas.errors import InputError
from schemas.plan import Stress
from schemas.references import Kind, Reference
from storage import paths
from tests.servers.buckets import Bucket


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for i in range(3):
        draw(tmp_path / "raw" / "objects" / f"cup {i}.png", seed=i)
    draw(tmp_path / "raw" / "scenes" / "hill.jpg", seed=9)
    return tmp_path / "raw"


def test_an_index_is_opened_and_its_references_come_in_the_order_asked(
    tmp_path: Path, index_of: Callable[..., str]
) -> None:
    path = index_of([{"kind": k, "caption": k} for k in ("object", "scene", "object")], tmp_path / "pool.parquet")
    pool = Pool.open(path, str(tmp_path / "cache"))
    assert len(pool) == 3 and pool.counts == {Kind.CHARACTER: 0, Kind.OBJECT: 2, Kind.SCENE: 1}
    references = pool.references([2, 0, 1, 0])
    assert [r.source_id for r in references] == ["row-2", "row-0", "row-1", "row-0"]
    assert all(Reference.model_validate(r.model_dump()) == r for r in references)
    assert references[0].uri == str(tmp_path / "images" / "2.jpg")
    assert pool.references([]) == []


def test_a_pool_that_was_pickled_is_opened_again(tmp_path: Path, index_of: Callable[..., str]) -> None:
    pool = Pool.open(index_of([{}], tmp_path / "pool.parquet"), str(tmp_path / "cache"))
    data = pickle.dumps(pool)
    again = pickle.loads(data)
    assert len(data) < 1000 and again.references([0]) == pool.references([0])


def test_a_raw_pool_is_indexed_once_for_as_long_as_it_stays_the_same(
    folder: Path, draw: Callable[..., Path], tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache")
    first = Pool.open(str(folder), cache)
    assert first.report is not None and len(first) == 4
    second = Pool.open(str(folder), cache)
    assert second.report is None and (second.path, second.digest) == (first.path, first.digest)
    (folder / "objects" / "cup 1.txt").write_text("a blue cup")
    third = Pool.open(str(folder), cache)
    assert third.report is not None and third.digest != first.digest
    draw(folder / "objects" / "cup 1.png", seed=77)
    assert Pool.open(str(folder), cache).digest != third.digest


def test_changed_images_of_a_jsonl_are_noticed(folder: Path, draw: Callable[..., Path], tmp_path: Path) -> None:
    row = {"path": "objects/cup 0.png", "kind": "object", "caption": "a cup"}
    (folder / "some.jsonl").write_text(json.dumps(row))
    first = Pool.open(str(folder / "some.jsonl"), str(tmp_path / "cache"))
    draw(folder / "objects" / "cup 0.png", seed=50)
    assert Pool.open(str(folder / "some.jsonl"), str(tmp_path / "cache")).digest != first.digest


def test_relative_paths_start_at_the_current_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    pool = Pool.open("raw", "cache")
    assert all(os.path.isabs(r.uri) and os.path.exists(r.uri) for r in pool.references(range(len(pool))))
    assert Pool.open("raw", "cache", str(folder.parent)).digest == pool.digest


def test_the_toy_world_is_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toyworld import pool as toy

    some = list(toy.entries())[::9]
    monkeypatch.setattr(toy, "entries", lambda: iter(some))
    pool = Pool.open("toyworld", str(tmp_path))
    assert len(pool) == len(some) and all(pool.counts.values())
    references = pool.references(range(len(pool)))
    assert {r.license for r in references} == {"CC0-1.0"} and all(os.path.exists(r.uri) for r in references)
    assert Pool.open("toyworld", str(tmp_path)).path == pool.path


@pytest.mark.parametrize("name", ["gone.parquet", "gone.jsonl", "gone"])
def test_a_missing_pool_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        Pool.open(str(tmp_path / name), str(tmp_path / "cache"))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_index_without_rows_is_one_line(tmp_path: Path, index_of: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="without a row"):
        Pool.open(index_of([], tmp_path / "pool.parquet"), str(tmp_path / "cache"))


def test_an_index_of_another_version_or_a_broken_one_is_one_line(tmp_path: Path) -> None:
    table = pa.table({"path": ["a"]}).replace_schema_metadata({"plumbline.pool": "99", "plumbline.digest": "0"})
    pq.write_table(table, tmp_path / "future.parquet")
    with pytest.raises(InputError, match="version 99"):
        Pool.open(str(tmp_path / "future.parquet"), str(tmp_path / "cache"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(InputError, match=r"broken\.parquet: not a Parquet file"):
        Pool.open(str(tmp_path / "broken.parquet"), str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("entry", "license", "passes"),
    [
        ("CC-BY-4.0", "CC-BY-4.0", True),
        ("cc-by-4.0", " CC-BY-4.0\n", True),
        ("CC-BY", "CC-BY-NC-4.0", False),
        ("CC-BY-4.0", "CC-BY-4.0 (dataset); photo: Unsplash License", False),
        ("CC-BY-4.0*", "CC-BY-4.0 (dataset); photo: Unsplash License", True),
        ("*public domain*", "Public domain (NASA/NSSDC, per Tux Paint CONTRIBUTORS)", True),
        ("MIT [X11]", "mit [x11]", True),
        ("", "", True),
        ("CC0*", "", False),
    ],
)
def test_licences_match_as_a_whole_with_wildcards(entry: str, license: str, passes: bool) -> None:
    assert (license in AllowList([entry])) == passes


@given(st.text(max_size=30))
def test_any_licence_without_a_wildcard_allows_itself(text: str) -> None:
    if not set(text) & set("*?"):
        assert text in AllowList([text])
        assert (text + " or worse") not in AllowList([text])


def test_only_blurred_references_change_their_pixels(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    image = Image.open(folder / "objects" / "cup 0.png")

    def detail(picture: Image.Image) -> float:
        return float(np.abs(np.diff(np.asarray(picture, dtype=float), axis=1)).max())

    for stress in (Stress.NONE, Stress.MISMATCHED, Stress.DISTRACTOR):
        assert apply(image, stress) is image
    soft = apply(image, Stress.BLURRED)
    assert soft.size == image.size and detail(soft) < detail(image) / 2


def test_a_raw_pool_on_a_bucket_is_indexed_once_for_as_long_as_it_stays_the_same(
    bucket: Bucket,
    tmp_path: Path,
) -> None:
    raw = f"{bucket.location}/raw"
    for i, name in enumerate(("objects/red-cup.png", "scenes/sea.png")):
        file = tmp_path / "one.png"
        Image.new("RGB", (80, 80 + i), (200, 30 * i, 60)).save(file)
        paths.write_atomic(f"{raw}/{name}", file.read_bytes())
    first = Pool.open(raw, str(tmp_path / "cache"))
    assert first.report is not None and len(first) == 2
    bucket.proxy.seen.clear()
    again = Pool.open(raw, str(tmp_path / "cache"))
    assert again.report is None and again.digest == first.digest
    assert not [seen for seen in bucket.proxy.seen if ".png" in seen.path], "no image is read again"
    Image.new("RGB", (90, 80), (1, 2, 3)).save(tmp_path / "one.png")
    paths.write_atomic(f"{raw}/objects/red-cup.png", (tmp_path / "one.png").read_bytes())
    changed = Pool.open(raw, str(tmp_path / "cache"))
    assert changed.report is not None and changed.digest != first.digest
