"""A run begins with run.json and ends with manifest.json; slices of it gather into the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import DamageError, InputError, StoppedError
from shards.manifest import canonical, finished_run, read_manifest, read_run, write_manifest, write_run
from shards.merge import merge
from shards.names import ShardName, names_of
from shards.reader import iterate, read_shard, shards_of
from shards.verify import verify
from tests.shards.made import RUN, write_one


def tars(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "shards").iterdir())}


def test_a_run_begun_again_with_the_same_settings_is_recognised(tmp_path: Path) -> None:
    first = write_run(str(tmp_path), RUN)
    assert write_run(str(tmp_path), dict(reversed(RUN.items()))) == first
    assert first == hashlib.sha256((tmp_path / "run.json").read_bytes()).hexdigest()
    assert read_run(str(tmp_path)) == (first, RUN)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 8}, "seed = 7, not 8"),
        ({"shards": {"train": 3, "test": 1}}, "shards.train = 2, not 3"),
        ({"extra": True}, "extra = null, not true"),
        ({"notes": {}}, "notes.clip_text = "),
    ],
)
def test_a_folder_begun_with_other_settings_is_refused_with_the_key(tmp_path: Path, change: dict, said: str) -> None:
    write_run(str(tmp_path), RUN)
    with pytest.raises(InputError) as error:
        write_run(str(tmp_path), {**RUN, **change})
    assert said in str(error.value) and "--out" in str(error.value) and "\n" not in str(error.value)
    assert read_run(str(tmp_path))[1] == RUN


def test_a_folder_with_shards_of_no_known_run_is_refused(run_folder: Path) -> None:
    (run_folder / "run.json").unlink()
    with pytest.raises(InputError, match=r"holds files but no run\.json"):
        write_run(str(run_folder), RUN)


def test_a_broken_run_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{broken")
    with pytest.raises(InputError, match=r"run\.json: it is no JSON"):
        write_run(str(tmp_path), RUN)
    assert (tmp_path / "run.json").read_text() == "{broken"


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as error:
        write_run(str(tmp_path / "file"), RUN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["a-b", "../up", ""])
def test_a_split_whose_name_cannot_be_a_file_is_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(InputError, match="splits: "):
        write_run(str(tmp_path), {"shards": {split: 1}})


def test_the_manifest_sums_up_the_shards(run_folder: Path) -> None:
    manifest = read_manifest(str(run_folder))
    assert manifest is not None and manifest["counts"] == {"planned": 15, "kept": 12, "rejected": 3}
    assert manifest["rejected_by_reason"] == {"no_op": 3}
    assert manifest["usage"]["offline"]["calls"] == 30 and manifest["usage"]["offline"]["usd"] == 0.75
    assert manifest["config"] == RUN and manifest["prompts"] == RUN["prompts"] and manifest["notes"] == RUN["notes"]
    listed = {p: f["sha256"] for p, f in manifest["files"].items()}
    there = [*(run_folder / "shards").iterdir(), *(run_folder / "rejects").iterdir()]
    assert listed == {str(p.relative_to(run_folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in there}
    assert manifest["files"]["shards/train-00000-of-00002.tar"]["samples"] == 4
    run_hash, _ = read_run(str(run_folder))
    assert finished_run(str(run_folder), run_hash) == manifest and finished_run(str(run_folder), "other") is None


def test_a_run_with_a_shard_to_go_gets_no_manifest(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    out = make_run(tmp_path / "run", only=lambda name: name.index == 0, close=False)
    with pytest.raises(StoppedError, match=r"1 of 3 shards are not finished \(train-00001-of-00002\)"):
        write_manifest(str(out))
    assert finished_run(str(out), "x") is None
    assert verify(str(out)) == [
        f"{out}/manifest.json: is missing, so the run is unfinished: "
        "1 of 3 shards are not finished (train-00001-of-00002)"
    ]


def test_a_manifest_that_was_edited_is_not_believed(run_folder: Path) -> None:
    path = run_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["kept"] += 1
    path.write_bytes(canonical(manifest))
    with pytest.raises(InputError, match="damaged"):
        read_manifest(str(run_folder))


def test_slices_gather_into_the_bytes_of_a_whole_run(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    whole = make_run(tmp_path / "whole")
    slices = [
        make_run(tmp_path / f"{i}", only=lambda name, part=part: (name.split, name.index) == part, close=False)
        for i, part in enumerate([("train", 0), ("train", 1), ("test", 0)])
    ]
    manifest = merge([str(s) for s in slices], str(tmp_path / "merged"))
    assert tars(tmp_path / "merged") == tars(whole)
    assert manifest == read_manifest(str(whole)) and verify(str(tmp_path / "merged")) == []


def test_a_shard_that_no_slice_has_is_named_and_nothing_is_copied(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    part = make_run(tmp_path / "a", only=lambda name: name.split == "train", close=False)
    with pytest.raises(StoppedError, match="test-00000-of-00001"):
        merge([str(part)], str(tmp_path / "merged"))
    assert not (tmp_path / "merged" / "shards").exists()


@pytest.mark.parametrize("suffix", ["shards/{}.parquet", "shards/{}.tar", "rejects/{}.parquet"])
def test_a_finished_run_that_lost_a_file_is_damage_unless_another_folder_has_the_shard(
    tmp_path: Path, make_run: Callable[..., Path], suffix: str
) -> None:
    whole, other = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    file = suffix.format("train-00001-of-00002")
    (whole / file).unlink()
    for folders in ([whole], [make_run(tmp_path / "c", only=lambda name: name.index == 0, close=False), whole]):
        with pytest.raises(DamageError, match=rf"a/{file}: is missing, though manifest\.json says"):
            merge([str(folder) for folder in folders], str(tmp_path / "merged"))
    merge([str(whole), str(other)], str(tmp_path / "merged"))
    assert verify(str(tmp_path / "merged")) == []


def test_a_finished_run_whose_tar_is_cut_is_damage_and_a_damaged_manifest_says_nothing(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    whole = make_run(tmp_path / "a")
    tar = whole / "shards" / "train-00001-of-00002.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(DamageError, match=rf"{tar.name}: is not what it was"):
        merge([str(whole)], str(tmp_path / "merged"))
    (whole / "manifest.json").write_text("{}")
    with pytest.raises(StoppedError, match="train-00001-of-00002"):
        merge([str(whole)], str(tmp_path / "merged"))


def test_a_shard_that_two_slices_made_alike_is_taken_once(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    a = make_run(tmp_path / "a", close=False)
    b = make_run(tmp_path / "b", only=lambda name: name.index == 0, close=False)
    merge([str(b), str(a)], str(tmp_path / "merged"))
    assert tars(tmp_path / "merged") == tars(a)


def test_a_shard_that_two_slices_made_differently_is_refused(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    write_one(b, ShardName("train", 0, 2), read_run(str(b))[0], size=3)
    with pytest.raises(InputError, match=r"b/shards/train-00000-of-00002\.tar: differs"):
        merge([str(a), str(b)], str(tmp_path / "merged"))


def test_slices_of_different_runs_do_not_merge(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    a = make_run(tmp_path / "a")
    write_run(str(tmp_path / "b"), {**RUN, "seed": 8})
    with pytest.raises(InputError, match=r"differs from that of .* in seed"):
        merge([str(a), str(tmp_path / "b")], str(tmp_path / "merged"))
    with pytest.raises(InputError, match="no such file"):
        merge([str(a), str(tmp_path / "none")], str(tmp_path / "merged"))


def test_a_folder_merged_into_itself_gets_its_manifest(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    out = make_run(tmp_path / "run", close=False)
    before = {p: os.stat(p).st_mtime_ns for p in (out / "shards").iterdir()}
    merge([str(out)], str(out))
    assert verify(str(out)) == [] and before == {p: os.stat(p).st_mtime_ns for p in (out / "shards").iterdir()}


def test_a_damaged_slice_is_not_copied(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    out = make_run(tmp_path / "a", close=False)
    tar = out / "shards" / "train-00000-of-00002.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DamageError, match=r"train-00000-of-00002\.tar: is not what its index says"):
        merge([str(out)], str(tmp_path / "merged"))
    assert not (tmp_path / "merged" / "shards" / tar.name).exists()


@pytest.mark.parametrize(("parts", "missing"), [(["1/2", "3/3"], "train-00000-of-00002"), (["1/2", "2/4", "4/4"], "")])
def test_slices_of_another_n_gather_where_they_have_every_shard_and_else_it_is_said_which_they_lack(
    parts: list[str], missing: str, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    names = names_of(RUN["shards"])  # test 0, train 0, train 1
    folders = []
    for part in parts:
        index, of = (int(word) for word in part.split("/"))
        own = {names[k] for k in range(index - 1, len(names), of)}
        folders.append(str(make_run(tmp_path / part.replace("/", "of"), only=own.__contains__, close=False)))
    if missing:
        with pytest.raises(StoppedError, match=rf"1 of 3 shards are not finished \({missing}\) in any of the folders"):
            merge(folders, str(tmp_path / "merged"))
    else:
        merge(folders, str(tmp_path / "merged"))
        assert verify(str(tmp_path / "merged")) == []


def test_a_split_reads_back_sample_after_sample(run_folder: Path) -> None:
    samples = list(iterate(str(run_folder), "train"))
    assert len(samples) == 8
    for sample in samples:
        assert sample["json"]["id"] == sample["__key__"] and sample["json"]["split"] == "train"
        images = [s for s in sample if s.startswith("image_")]
        assert len(images) == len(sample["json"]["references"]) and bytes(sample["target.jpg"][:2]) == b"\xff\xd8"
    with pytest.raises(InputError, match=r"run: has no split dev; it has test, train$"):
        next(iterate(str(run_folder), "dev"))


def test_a_shard_without_its_finish_mark_is_not_read(run_folder: Path) -> None:
    (run_folder / "shards" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DamageError, match=r"train-00001-of-00002\.parquet: is missing, though manifest\.json says"):
        shards_of(str(run_folder), "train")
    (run_folder / "manifest.json").unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 shards are not finished \(train-00001-of-00002\)"):
        assert [Path(tar).name for tar in shards_of(str(run_folder), "train")] == ["train-00000-of-00002.tar"]
        assert 0 < len(list(iterate(str(run_folder), "train"))) < 8
    (run_folder / "shards" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="no finished shard"):
        next(iterate(str(run_folder), "train"))


def test_a_finished_shard_without_its_tar_is_damage(run_folder: Path) -> None:
    (run_folder / "shards" / "train-00000-of-00002.tar").unlink()
    with pytest.raises(DamageError, match=r"train-00000-of-00002\.tar: is missing"):
        list(iterate(str(run_folder), "train"))


def test_samples_larger_than_a_read_come_out_whole(tmp_path: Path) -> None:
    from shards.commit import ShardSample, write_shard

    sizes = [5_000_000, 0, 1, 9_000_000, 4_194_304, 511, 512, 513]
    contents = {f"{i:04x}": os.urandom(size) for i, size in enumerate(sizes)}
    name = ShardName("train", 0, 1)
    samples = [ShardSample(key, [("bin", data)]) for key, data in contents.items()]
    write_shard(str(tmp_path), name, samples, [], run_hash="r", planned=len(samples))
    read = {s["__key__"]: bytes(s["bin"]) for s in read_shard(str(tmp_path / name.tar))}
    assert read == contents
