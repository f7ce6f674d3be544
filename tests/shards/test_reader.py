"""The reader that trainers use: all samples, each once, shuffled, and resumed at the exact one."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import DamageError, InputError
from shards.commit import ShardSample, write_shard
from shards.copying import copy_samples
from shards.fetching import Fetcher, Form
from shards.manifest import write_manifest, write_run
from shards.names import ShardName
from shards.order import Even
from shards.places import places_of
from shards.reader import Reader, iterate, read_samples
from storage import images
from tests.shards.labelled import write_labelled
from tests.shards.made import COLUMNS, sample

SIZES = (13, 0, 7, 20)
TOTAL = sum(SIZES)


def write_split(out: str) -> str:
    """Forty samples of one to three references in four shards, one of them empty."""
    run_hash = write_run(out, {"dataset": "realign", "shards": {"train": len(SIZES)}})
    for i, size in enumerate(SIZES):
        rows = [sample("train", sum(SIZES[:i]) + k) for k in range(size)]
        name = ShardName("train", i, len(SIZES))
        write_shard(out, name, rows, [], run_hash=run_hash, planned=size, columns=COLUMNS)
    write_manifest(out)
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_split(str(tmp_path_factory.mktemp("reader") / "out"))


@pytest.fixture
def own(out: str, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(out, tmp_path / "own"))


def ids(samples: Any) -> list[str]:
    return [one.id for one in samples]


def test_without_a_seed_it_is_what_read_samples_gives(out: str) -> None:
    assert list(Reader(out)) == list(read_samples(out))


def test_raw_members_are_those_of_the_tar(out: str) -> None:
    before = [{k: v if k in ("__key__", "json") else bytes(v) for k, v in raw.items()} for raw in iterate(out)]
    after = [{k: v if k == "__key__" else bytes(v) for k, v in raw.items()} for raw in Reader(out, form="raw")]
    assert [{**raw, "json": json.loads(raw["json"])} for raw in after] == before


def test_an_epoch_is_shuffled_by_seed_and_epoch_and_the_next_loop_is_the_next(out: str) -> None:
    reader = Reader(out, seed=7)
    first, second = ids(reader), ids(reader)
    assert reader.epoch == 2
    assert sorted(first) == sorted(second) == sorted(ids(Reader(out))) and first != second
    assert ids(Reader(out, seed=7)) == first and ids(Reader(out, seed=8)) != first
    reader.set_epoch(0)
    assert ids(reader) == first
    assert [s.json["id"] for s in Reader(out, seed=7)] == first


@settings(max_examples=25)
@given(st.data())
def test_an_id_list_is_read_in_the_order_of_the_whole_by_any_world_and_resumes(out: str, data: st.DataObject) -> None:
    whole = ids(Reader(out, seed=7))
    wanted = set(data.draw(st.lists(st.sampled_from(whole), min_size=1)))
    world = data.draw(st.integers(1, 3))
    parts = [ids(Reader(out, seed=7, ids=wanted, rank=rank, world=world)) for rank in range(world)]
    assert sum(len(Reader(out, ids=wanted, rank=r, world=world)) for r in range(world)) == len(wanted)
    assert sorted(key for part in parts for key in part) == sorted(wanted)
    reader = Reader(out, seed=7, ids=wanted)
    found = [one.id for one, _ in zip(reader, range(data.draw(st.integers(0, len(wanted)))), strict=False)]
    again = Reader(out, seed=7, ids=list(wanted))
    again.load_state_dict({**reader.state_dict(), "given": len(found)})
    assert found + ids(again) == [key for key in whole if key in wanted]


def test_ids_that_are_not_there_are_refused_and_a_position_is_of_its_ids(out: str) -> None:
    some = ids(Reader(out))[:5]
    with pytest.raises(InputError, match=r"ids: 1 of 2 are not in this split, such as nobody"):
        Reader(out, ids=[some[0], "nobody"])
    state = Reader(out, ids=some[:4]).state_dict()
    with pytest.raises(InputError, match="not one of this reader"):
        Reader(out, ids=some[1:]).load_state_dict(state)


def test_a_window_mixes_too(out: str) -> None:
    found = ids(Reader(out, seed=7, window=10))
    assert sorted(found) == sorted(ids(Reader(out))) and found != ids(Reader(out, seed=7))


@settings(max_examples=40)
@given(st.data())
def test_ranks_read_everything_once(out: str, data: st.DataObject) -> None:
    world = data.draw(st.integers(1, 7))
    seed = data.draw(st.none() | st.integers(0, 9))
    even: Even = data.draw(st.sampled_from(["no", "drop", "repeat"]))  # type: ignore[assignment]
    readers = [Reader(out, seed=seed, rank=rank, world=world, even=even) for rank in range(world)]
    lengths = [len(reader) for reader in readers]
    found = [ids(reader) for reader in readers]
    assert [len(part) for part in found] == lengths
    together = [key for part in found for key in part]
    if even == "no":
        assert sorted(together) == sorted(ids(Reader(out))) and len(together) == TOTAL
    else:
        assert len(set(lengths)) == 1
        assert lengths[0] == (TOTAL // world if even == "drop" else -(-TOTAL // world))


@settings(max_examples=60)
@given(st.data())
def test_a_state_resumes_at_the_exact_sample(out: str, data: st.DataObject) -> None:
    world = data.draw(st.integers(1, 4))
    options: dict[str, Any] = {
        "seed": data.draw(st.none() | st.integers(0, 9)),
        "window": data.draw(st.none() | st.integers(1, 50)),
        "world": world,
        "rank": data.draw(st.integers(0, world - 1)),
    }
    whole = Reader(out, **options)
    wanted = [*ids(whole), *ids(whole)]
    stops = sorted(data.draw(st.lists(st.integers(0, len(wanted)), max_size=4)))
    state, found = Reader(out, **options).state_dict(), []
    for stop in [*stops, len(wanted)]:
        reader = Reader(out, **options)
        reader.load_state_dict(json.loads(json.dumps(state)))
        while len(found) < stop:
            for one in reader:
                found.append(one.id)
                if len(found) == stop:
                    break
        state = reader.state_dict()
    assert found == wanted


@settings(max_examples=40)
@given(st.data())
def test_a_world_of_another_size_goes_on_where_the_first_was(out: str, data: st.DataObject) -> None:
    worlds = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    seed = data.draw(st.none() | st.integers(0, 9))
    found: list[str] = []
    state = None
    for k, world in enumerate(worlds):
        readers = [Reader(out, seed=seed, rank=rank, world=world) for rank in range(world)]
        states = []
        fewest = min(reader.left if state is None else _loaded(reader, state).left for reader in readers)
        steps = fewest if k == len(worlds) - 1 else data.draw(st.integers(0, fewest))
        for reader in readers:
            part = iter(reader)
            found += [next(part).id for _ in range(steps)]
            states.append(reader.state_dict())
            if k == len(worlds) - 1:
                found += ids(part)
        assert all(one == states[0] for one in states)
        state = states[0]
    assert sorted(found) == sorted(ids(Reader(out))) and len(found) == TOTAL


def _loaded(reader: Reader, state: dict[str, Any]) -> Reader:
    reader.load_state_dict(state)
    return reader


def test_a_state_of_something_else_is_refused(out: str, tmp_path: Path) -> None:
    state = Reader(out, seed=7).state_dict()
    with pytest.raises(InputError, match="seed is 7, here 8"):
        Reader(out, seed=8).load_state_dict(state)
    with pytest.raises(InputError, match="window is None, here 5"):
        Reader(out, seed=7, window=5).load_state_dict(state)
    with pytest.raises(InputError, match="tars is not in it"):
        Reader(out, seed=7).load_state_dict({"epoch": 3})
    with pytest.raises(InputError, match="is damaged"):
        Reader(out, seed=7).load_state_dict({**state, "given": -1})
    other = str(tmp_path / "other")
    write_labelled(other)
    with pytest.raises(InputError, match="tars is "):
        Reader(other, seed=7).load_state_dict(state)


def test_set_epoch_keeps_the_position_in_the_current_one_and_rewind_does_not(out: str) -> None:
    reader = Reader(out, seed=7)
    whole = ids(Reader(out, seed=7))
    assert [next(iter(reader)).id for _ in range(3)] == whole[:3]
    reader.set_epoch(0)
    assert reader.left == TOTAL - 3 and next(iter(reader)).id == whole[3]
    reader.rewind()
    assert ids(reader) == whole


def test_images_at_a_side_as_arrays_and_as_pictures(tmp_path: Path, test_data: Path) -> None:
    photos = sorted((test_data / "pool").rglob("*.jpg"))[:6]
    files = [images.clean(photo.read_bytes(), max_side=768).data for photo in photos]
    run_hash = write_run(str(tmp_path), {"dataset": "firm-gen", "shards": {"train": 1}})
    rows = [ShardSample(f"{i:04x}", [("image_1.jpg", d), ("json", b'{"a": 1}')]) for i, d in enumerate(files)]
    write_shard(str(tmp_path), ShardName("train", 0, 1), rows, [], run_hash=run_hash, planned=len(rows))
    arrays = list(Reader(str(tmp_path), form="numpy", side=224))
    pictures = list(Reader(str(tmp_path), form="pil", side=224))
    whole = list(Reader(str(tmp_path), form="numpy"))
    for data, small, picture, full in zip(files, arrays, pictures, whole, strict=True):
        careful = images.decode(data, max_side=224)
        found = small.images["image_1"]
        assert found.shape == (careful.height, careful.width, 3) and found.dtype == np.uint8
        assert found.flags.c_contiguous and found.flags.writeable
        assert np.array_equal(np.asarray(picture.images["image_1"]), found)
        # Another resampling than Lanczos, and the same picture.
        assert np.corrcoef(found.ravel(), np.asarray(careful).ravel())[0, 1] > 0.98
        assert full.images["image_1"].shape[:2] == Image.open(io.BytesIO(data)).size[::-1]


def test_only_the_images_that_are_wanted(out: str) -> None:
    for one in Reader(out, images=["target"]):
        assert list(one.images) == ["target"]
    assert all(not one.images for one in Reader(out, images=[]))


@pytest.mark.parametrize("form", ["raw", "bytes"])
def test_an_image_that_no_sample_has_is_refused(out: str, form: Form) -> None:
    words = r"images: no sample of this split has 'typo'; there are image_1, image_2, image_3, target$"
    with pytest.raises(InputError, match=words):
        Reader(out, form=form, images=["target", "typo"])
    # Few samples have a third one.
    counts = {len(one.images) for one in Reader(out, images=["image_3"])}
    assert counts == {0, 1}


def test_threads_change_nothing(out: str) -> None:
    assert ids(Reader(out, seed=7, threads=3)) == ids(Reader(out, seed=7))


def test_all_splits_and_datasets_read_alike(tmp_path: Path) -> None:
    write_labelled(str(tmp_path / "firm"))
    found = list(Reader(str(tmp_path / "firm"), "test", form="numpy", side=16, seed=1))
    assert len(found) == 32 and all(set(one.images) == {"image_1", "image_2"} for one in found)
    with pytest.raises(InputError, match=r"firm: has no split dev; it has test, train$"):
        Reader(str(tmp_path / "firm"), "dev")


def test_a_folder_that_is_missing_and_a_split_that_is_not_finished_are_told_apart(own: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        Reader(str(own.parent / "nowhere"))
    (own / "manifest.json").unlink()
    for file in (own / "shards").glob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError, match=r"own/shards: there is no finished shard of the split train$"):
        Reader(str(own))


def test_shards_alone_tell_their_splits(own: Path) -> None:
    for name in ("run.json", "manifest.json"):
        (own / name).unlink()
    assert len(Reader(str(own))) == TOTAL
    with pytest.raises(InputError, match=r"own: has no split test; it has train$"):
        Reader(str(own), "test")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "tensor"}, "form: 'tensor' is none of raw, bytes, numpy, pil"),
        ({"side": 224}, "side: 224 needs"),
        ({"form": "pil", "side": 0}, "side: 0"),
        ({"window": 0}, "window: 0"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"even": "pad"}, "even: 'pad'"),
        ({"on_damage": "ignore"}, "on_damage: 'ignore'"),
    ],
)
def test_arguments_that_cannot_be(out: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        Reader(out, **options)


def _cut(tar: Path) -> None:
    with open(tar, "r+b") as file:
        file.truncate(tar.stat().st_size // 2)


def _flip(tar: Path) -> None:
    data = bytearray(tar.read_bytes())
    at = data.index(b"\xff\xda") + 40  # coded pixels of the first image
    data[at] ^= 0xFF
    tar.write_bytes(data)


def _exchange(tar: Path) -> None:
    """Another shard's bytes under this one's name."""
    tar.write_bytes(tar.with_name("train-00002-of-00004.tar").read_bytes().ljust(tar.stat().st_size, b"\0"))


def _remove(tar: Path) -> None:
    tar.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, r"train-00003-of-00004\.tar: is cut short within [0-9a-f]{32}\.\w+"),
        (_flip, r"train-00003-of-00004\.tar: [0-9a-f]{32}\.image_1\.jpg is damaged: its sha256"),
        (_exchange, r"train-00003-of-00004\.tar: [0-9a-f]{32}\.image_1\.jpg is not where the index says"),
        (_remove, r"train-00003-of-00004\.tar: is missing, though its index says that it is finished"),
    ],
)
def test_damage_names_shard_and_member_and_is_skipped_only_when_told(
    own: Path, damage: Callable[[Path], None], words: str
) -> None:
    tar = own / "shards" / "train-00003-of-00004.tar"
    whole = ids(Reader(str(own), seed=7))
    damage(tar)
    strict = Reader(str(own), seed=7, form="numpy")
    with pytest.raises(DamageError, match=words):
        list(strict)
    before = strict.state_dict()["given"]
    with pytest.raises(DamageError, match=words):
        next(iter(strict))
    assert strict.state_dict()["given"] == before, "what was not given out is not counted"
    skipping = Reader(str(own), seed=7, form="numpy", on_damage="skip")
    rest = ids(skipping)
    assert skipping.skipped.total() == TOTAL - len(rest) > 0
    assert rest == [key for key in whole if key in set(rest)], "the others keep their order"
    assert any(tar.name in message for message in skipping.skipped)


def test_damaged_bytes_of_raw_members_are_found_when_asked(own: Path) -> None:
    _flip(own / "shards" / "train-00003-of-00004.tar")
    assert len(list(Reader(str(own), form="raw"))) == TOTAL
    with pytest.raises(DamageError, match="its sha256"):
        list(Reader(str(own), form="raw", check=True))


def test_an_index_that_is_no_index(own: Path) -> None:
    index = own / "shards" / "train-00000-of-00004.parquet"
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(DamageError, match=r"train-00000-of-00004\.parquet: it cannot be read as Parquet"):
        Reader(str(own))
    reader = Reader(str(own), on_damage="skip")
    assert len(list(reader)) == TOTAL - SIZES[0]
    assert [Path(message.partition(": ")[0]).name for message in reader.skipped] == [index.name]


@pytest.mark.parametrize("also", ["nothing", "run.json"])
def test_an_index_that_a_finished_run_lost_is_damage(own: Path, also: str) -> None:
    (own / "shards" / "train-00000-of-00004.parquet").unlink()
    (own / also).unlink(missing_ok=True)
    for read in (Reader, lambda out: list(read_samples(out)), lambda out: list(iterate(out))):
        with pytest.raises(DamageError, match=r"shards/train-00000-of-00004\.parquet: is missing, though manifest"):
            read(str(own))
    reader = Reader(str(own), on_damage="skip")
    assert len(list(reader)) == TOTAL - SIZES[0] and not reader.unfinished
    assert [Path(message.partition(": ")[0]).name for message in reader.skipped] == ["train-00000-of-00004.parquet"]


def test_a_finished_run_that_lost_every_index(own: Path) -> None:
    for file in (own / "shards").glob("*.parquet"):
        file.unlink()
    with pytest.raises(DamageError, match="is missing, though"):
        Reader(str(own))
    reader = Reader(str(own), on_damage="skip")
    assert list(reader) == [] and len(reader.skipped) == len(SIZES)


def test_of_an_unfinished_run_what_is_there_is_read_and_the_rest_is_named(own: Path) -> None:
    (own / "manifest.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Reader(str(own)).unfinished, "every shard of the split is there"
    (own / "shards" / "train-00000-of-00004.parquet").unlink()
    words = r"own: 1 of 4 shards are not finished \(train-00000-of-00004\); only the others are read"
    with pytest.warns(UserWarning, match=words):
        reader = Reader(str(own))
    assert len(list(reader)) == TOTAL - SIZES[0] and "1 of 4 shards" in reader.unfinished and not reader.skipped
    with pytest.warns(UserWarning, match=words):
        assert len(list(read_samples(str(own)))) == TOTAL - SIZES[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [*(("offset", n) for n in (10**12, 0, 700, -512, None)), *(("size", n) for n in (-1, 10**6, 2**62))],
)
def test_an_index_that_no_tar_can_have(own: Path, key: str, value: int | None) -> None:
    sample = _rewrite_member(own / "shards" / "train-00003-of-00004.parquet", key, value)
    words = rf"train-00003-of-00004\.parquet: sample {sample} has a member at .* can have none"
    with pytest.raises(DamageError, match=words):
        Reader(str(own))
    reader = Reader(str(own), on_damage="skip")
    assert len(list(reader)) == TOTAL - SIZES[3]
    with pytest.raises(DamageError, match=words):
        copy_samples(str(own), str(own.parent / "dest"), [*ids(reader), sample])


def test_places_that_could_be_but_are_not_are_damage_too(own: Path) -> None:
    index = own / "shards" / "train-00003-of-00004.parquet"
    # The first member of a sample in the middle, put behind its last: what lies between cannot be read.
    sample = _rewrite_member(
        index, "offset", (own / "shards" / "train-00003-of-00004.tar").stat().st_size // 512 * 512 - 8192
    )
    with pytest.raises(DamageError, match=rf"train-00003-of-00004\.tar: .*{sample}|cannot be read"):
        list(Reader(str(own)))
    reader = Reader(str(own), on_damage="skip")
    assert len(list(reader)) == TOTAL - reader.skipped.total() < TOTAL


def _rewrite_member(index: Path, key: str, value: int | None) -> str:
    """Change a place in the sixth row of an index; returns the sample's id."""
    table = pq.read_table(index)
    rows = table.to_pylist()
    rows[5]["members"][0][key] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), index)
    return str(rows[5]["id"])


def test_neighbours_are_fetched_in_one_read(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage import paths

    reads: list[tuple[str, int, int]] = []
    plain = paths.read_range
    monkeypatch.setattr(paths, "read_range", lambda uri, at, n: (reads.append((uri, at, n)), plain(uri, at, n))[1])
    list(Fetcher(places_of(out, "train"))(Reader(out).sequence))
    assert len(reads) == len([size for size in SIZES if size])


TRAINER = """
import json, os, sys
from shards.reader import Reader
out, log = sys.argv[1], sys.argv[2]
reader = Reader(out, seed=5, rank=1, world=2)
seen = []
if os.path.exists(log):
    saved = json.load(open(log))
    seen = saved["seen"]
    reader.load_state_dict(saved["state"])
while reader.epoch < 3:
    for sample in reader:
        seen.append(sample.id)
        with open(log + ".new", "w") as file:
            json.dump({"seen": seen, "state": reader.state_dict()}, file)
        os.replace(log + ".new", log)
print("done", flush=True)
"""


def test_killed_at_random_it_repeats_and_loses_nothing(out: str, tmp_path: Path) -> None:
    """SIGKILL while reading, wherever that hits; what it wrote last is where the next process begins."""
    log, rng = tmp_path / "log.json", random.Random(11)
    command = [sys.executable, "-c", TRAINER, out, str(log)]
    kills = 0
    for _ in range(7):
        known = len(json.loads(log.read_text())["seen"]) if log.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        until = known + rng.randint(1, 12) if kills < 4 else 10**9
        while process.poll() is None and (len(json.loads(log.read_text())["seen"]) if log.exists() else 0) < until:
            time.sleep(rng.uniform(0, 0.002))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        said = process.communicate()[0]
        if b"done" in said:
            break
    assert kills >= 3
    whole = Reader(out, seed=5, rank=1, world=2)
    assert json.loads(log.read_text())["seen"] == [key for _ in range(3) for key in ids(whole)]
