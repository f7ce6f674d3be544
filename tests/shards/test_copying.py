"""Copied samples: the same bytes in an output of their own, whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DamageError, InputError
from shards import copying
from shards.copying import copy_samples, ids_digest, selection_of
from shards.indexes import read_indexes
from shards.manifest import read_manifest, read_run, root_run, write_manifest
from shards.merge import merge
from shards.reader import read_samples
from shards.tables import read_index, read_rejects
from shards.verify import verify
from storage import paths
from tests.shards.labelled import write_labelled
from tests.shards.made import COLUMNS as MADE_COLUMNS

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("copying") / "out")
    write_labelled(out)
    return out


def ids_of(out: str) -> list[str]:
    return [key for index in read_indexes(out, ["id"]) for key in index.table.column("id").to_pylist()]


def rows_of(out: str) -> dict[str, dict[str, Any]]:
    """Index rows by id, without the places of the members."""
    found = {}
    for index in read_indexes(out, ["id"]):
        for row in read_index(paths.read_bytes(paths.join(out, index.name.index_file)), index.name)[1]:
            row["members"] = [(m["name"], m["sha256"], m["size"]) for m in row["members"]]
            found[row["id"]] = row
    return found


def contents(out: str) -> dict[str, tuple[dict[str, Any], dict[str, bytes]]]:
    return {s.id: (s.json, s.images) for split in ("train", "test") for s in read_samples(out, split)}


def tree(out: str) -> dict[str, str]:
    return {name: paths.sha256_file(paths.join(out, name)) for name in paths.list_files(out)}


def test_a_copy_is_sound_and_every_sample_is_what_it_was(source: str, tmp_path: Path) -> None:
    chosen = sorted(ids_of(source))[::3]
    dest = str(tmp_path / "dest")
    manifest = copy_samples(source, dest, chosen, note={"why": "every third"})
    assert verify(dest) == []
    assert manifest == read_manifest(dest)
    assert manifest["counts"] == {"planned": len(chosen), "kept": len(chosen), "rejected": 0}
    assert manifest["usage"] == {} and manifest["dataset"] == "firm-edit"
    before, after = contents(source), contents(dest)
    assert after == {key: before[key] for key in chosen}
    was = rows_of(source)
    assert rows_of(dest) == {key: was[key] for key in chosen}


def test_run_json_says_what_it_is_a_selection_of(source: str, tmp_path: Path) -> None:
    chosen = ids_of(source)[:5]
    copy_samples(source, str(tmp_path / "dest"), chosen, note={"why": "five"})
    run_hash, parent = read_run(source)
    _, run = read_run(str(tmp_path / "dest"))
    said = selection_of(run)
    assert (said["run"], said["of"], said["samples"], said["note"]) == (run_hash, parent, 5, {"why": "five"})
    assert said["ids"] == hashlib.sha256("".join(f"{key}\n" for key in sorted(chosen)).encode()).hexdigest()
    assert run["prompts"] == parent["prompts"]
    assert selection_of(parent) == {}


def test_splits_stay_and_empty_rejects_are_there(source: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    copy_samples(source, dest, ids_of(source), shard_samples=10)
    _, run = read_run(dest)
    assert run["shards"] == {"train": 7, "test": 4}
    indexes = read_indexes(dest, ["split"])
    assert [index.footer.kept for index in indexes] == [10, 10, 10, 2, *[10] * 6, 4]
    for index in indexes:
        assert set(index.table.column("split").to_pylist()) == {index.name.split}
        assert read_rejects(paths.read_bytes(paths.join(dest, index.name.rejects))) == ({}, [])


def test_by_default_shards_are_as_large_as_the_fullest_one_was(source: str, tmp_path: Path) -> None:
    copy_samples(source, str(tmp_path / "dest"), ids_of(source))
    assert read_run(str(tmp_path / "dest"))[1]["shards"] == {"train": 2, "test": 1}


@settings(max_examples=25)
@given(st.data())
def test_any_choice_in_shards_of_any_size_is_sound(
    source: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    every = ids_of(source)
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True))
    dest = str(tmp_path_factory.mktemp("any") / "dest")
    copy_samples(source, dest, iter(chosen), shard_samples=data.draw(st.integers(1, 100)))
    assert verify(dest) == []
    assert sorted(rows_of(dest)) == sorted(chosen)


def test_the_same_choice_gives_the_same_bytes_in_whatever_order_it_comes(source: str, tmp_path: Path) -> None:
    chosen = ids_of(source)[10:50]
    copy_samples(source, str(tmp_path / "a"), chosen)
    copy_samples(source, str(tmp_path / "b"), [*reversed(chosen), chosen[0]])
    assert tree(str(tmp_path / "a")) == tree(str(tmp_path / "b"))


def test_a_copy_of_a_copy_is_a_copy(source: str, tmp_path: Path) -> None:
    first = ids_of(source)[::2]
    copy_samples(source, str(tmp_path / "a"), first)
    copy_samples(str(tmp_path / "a"), str(tmp_path / "b"), first[::2])
    assert verify(str(tmp_path / "b")) == []
    said = selection_of(read_run(str(tmp_path / "b"))[1])
    assert selection_of(said["of"])["ids"] == ids_digest(first)
    own = read_run(source)[1]
    assert root_run(read_run(str(tmp_path / "b"))[1]) == root_run(read_run(str(tmp_path / "a"))[1]) == own
    assert root_run(own) == own


def test_a_realign_output_with_null_columns_goes_along(run_folder: Path, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    copy_samples(str(run_folder), dest, ids_of(str(run_folder))[::2])
    assert verify(dest) == []
    (index, *_) = read_indexes(dest, [name for name, _ in MADE_COLUMNS])
    was = read_indexes(str(run_folder), [name for name, _ in MADE_COLUMNS])[0]
    assert index.table.schema.remove_metadata() == was.table.schema.remove_metadata()
    assert set(index.table.column("never_computed").to_pylist()) == {None}


def test_a_bucket_and_a_folder_give_the_same(source: str, tmp_path: Path) -> None:
    bucket = f"memory://copying-{next(_NUMBERS)}"
    for name in paths.list_files(source):
        paths.copy_atomic(paths.join(source, name), f"{bucket}/out/{name}")
    chosen = ids_of(source)[::4]
    copy_samples(f"{bucket}/out", f"{bucket}/dest", chosen)
    copy_samples(source, str(tmp_path / "dest"), chosen)
    assert verify(f"{bucket}/dest") == []
    assert tree(f"{bucket}/dest") == tree(str(tmp_path / "dest"))


def test_ids_that_are_not_there_are_counted_and_the_first_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no sample 'aaa' \(2 of 3 ids not in it\)"):
        copy_samples(source, str(tmp_path / "dest"), ["zzz", "aaa", ids_of(source)[0]])
    assert not (tmp_path / "dest").exists()


def test_an_unfinished_run_is_not_chosen_from(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    write_labelled(out, only=lambda name: name.index != 1, close=False)
    with pytest.raises(InputError, match=r"1 of 4 shards are not finished \(train-00001-of-00003\)"):
        copy_samples(out, str(tmp_path / "dest"), [])


def test_an_index_of_another_shard_is_damage_that_says_whose_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_labelled(str(out))
    first, second = (out / "shards" / f"train-0000{i}-of-00003.parquet" for i in range(2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(DamageError, match=f"its footer is not of this shard: it says it belongs to {first.stem}"):
        copy_samples(str(out), str(tmp_path / "dest"), [])
    assert not (tmp_path / "dest").exists()


def test_shards_need_no_manifest_to_be_chosen_from(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    write_labelled(out, close=False)
    copy_samples(out, str(tmp_path / "dest"), ids_of(out)[:3])
    assert verify(str(tmp_path / "dest")) == []


def test_another_choice_needs_another_folder_or_leave_to_replace(source: str, tmp_path: Path) -> None:
    dest, every = str(tmp_path / "dest"), ids_of(source)
    copy_samples(source, dest, every[:20], shard_samples=5)
    with pytest.raises(InputError, match=r"begun with selection\.ids = "):
        copy_samples(source, dest, every[:7], shard_samples=5)
    assert verify(dest) == []
    copy_samples(source, dest, every[:7], shard_samples=5, replace=True)
    assert verify(dest) == [] and sorted(rows_of(dest)) == sorted(every[:7])


def test_only_selections_are_replaced(source: str, run_folder: Path, tmp_path: Path) -> None:
    before = tree(str(run_folder))
    with pytest.raises(InputError, match="was begun with"):
        copy_samples(source, str(run_folder), ids_of(source)[:3], replace=True)
    assert tree(str(run_folder)) == before
    with pytest.raises(InputError, match="is the output that is chosen from"):
        copy_samples(source, os.path.join(source, "..", "out"), [], replace=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt: this folder holds files but no run\.json"):
        copy_samples(source, str(tmp_path / "mine"), [], replace=True)


def test_a_finished_copy_is_not_written_again(source: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    first = copy_samples(source, str(dest), ids_of(source))
    times = {path: path.stat().st_mtime_ns for path in dest.rglob("*.tar")}
    assert copy_samples(source, str(dest), ids_of(source)) == first
    assert {path: path.stat().st_mtime_ns for path in dest.rglob("*.tar")} == times


def test_a_shard_whose_files_were_deleted_is_made_anew(source: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    copy_samples(source, str(dest), ids_of(source))
    before = tree(str(dest))
    for file in (dest / "shards").glob("train-00001-of-*"):
        file.unlink()
    copy_samples(source, str(dest), ids_of(source))
    assert tree(str(dest)) == before and verify(str(dest)) == []


def test_a_damaged_tar_is_named_and_its_copy_does_not_pass_for_whole(tmp_path: Path) -> None:
    out, dest = str(tmp_path / "out"), tmp_path / "dest"
    write_labelled(out)
    tar = tmp_path / "out" / "shards" / "train-00001-of-00003.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DamageError, match=r"out/shards/train-00001-of-00003\.tar: \w+\.image_1\.jpg has the sha256"):
        copy_samples(out, str(dest), ids_of(out))
    assert "is unfinished" in verify(str(dest))[0]
    assert not [path for path in dest.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("left", [None, 0, 5_000])
def test_a_tar_that_is_gone_or_cut_is_named(tmp_path: Path, left: int | None) -> None:
    out = str(tmp_path / "out")
    write_labelled(out)
    tar = tmp_path / "out" / "shards" / "test-00000-of-00001.tar"
    if left is None:
        tar.unlink()
    else:
        tar.write_bytes(tar.read_bytes()[:left])
    with pytest.raises(DamageError, match=r"test-00000-of-00001\.tar: is (missing|cut short)"):
        copy_samples(out, str(tmp_path / "dest"), ids_of(out))


def test_a_killed_copy_goes_on_and_comes_out_the_same(source: str, tmp_path: Path) -> None:
    """Killed while a tar is half-written: what was finished stays, and what was not does not count."""
    dest = tmp_path / "dest"
    script = f"""
import os, signal, sys
from shards import copying
from tests.shards.test_copying import ids_of
read, calls = copying._read, []
def dying(*args):
    calls.append(1)
    if len(calls) == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*args)
copying._read = dying
copying.copy_samples({source!r}, {str(dest)!r}, ids_of({source!r}), shard_samples=20)
"""
    root = Path(copying.__file__).resolve().parents[1]
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    done = sorted(path.name for path in (dest / "shards").glob("*.parquet"))
    assert 0 < len(done) < 6 and not (dest / "manifest.json").exists()
    assert "is unfinished" in verify(str(dest))[0]
    times = {name: (dest / "shards" / name).stat().st_mtime_ns for name in done}
    copy_samples(source, str(dest), ids_of(source), shard_samples=20)
    assert verify(str(dest)) == []
    assert {name: (dest / "shards" / name).stat().st_mtime_ns for name in done} == times
    assert not list(dest.rglob(".*.tmp"))
    copy_samples(source, str(tmp_path / "other"), ids_of(source), shard_samples=20)
    assert tree(str(dest)) == tree(str(tmp_path / "other"))


def test_a_selection_merges_into_itself(source: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    manifest = copy_samples(source, str(dest), ids_of(source)[:9])
    (dest / "manifest.json").unlink()
    assert merge([str(dest)], str(dest)) == manifest


def test_memory_does_not_hold_the_samples(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a shard's samples, no more are read ahead of the writer than twice the readers, and one each."""
    alive, most = [0], [0]

    class Counted(bytes):
        def __new__(cls, data: memoryview) -> Counted:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return super().__new__(cls, data)

        def __del__(self) -> None:
            alive[0] -= 1

    read = copying._read

    def counting(*args: Any) -> list[tuple[str, bytes]]:
        return [(suffix, Counted(data)) for suffix, data in read(*args)]

    monkeypatch.setattr(copying, "_read", counting)
    # The tar's hasher holds what is not hashed yet, a MiB at a time, so a tiny sample would count for long.
    monkeypatch.setattr("shards.tar.CHUNK", 1)
    copy_samples(source, str(tmp_path / "dest"), ids_of(source), shard_samples=96)
    assert 0 < most[0] < 3 * 40


def test_a_manifest_keeps_its_digest_right_with_a_balance(source: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    write_labelled(out)
    plain = read_manifest(out)
    section = {"execution": {"before": {"1": 2}, "after": {"1": 1}}}
    assert write_manifest(out, balance=section) == read_manifest(out)
    assert json.loads((tmp_path / "out" / "manifest.json").read_bytes())["balance"] == section
    assert verify(out) == ["manifest.json: its balance is not that of the scores in the indexes"]
    assert write_manifest(out) == plain
    assert write_manifest(out, balance={}) == plain
