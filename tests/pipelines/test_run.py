"""A run ends the same however it is made: whole, in slices, killed and resumed, retried. Workers: test_workers.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from shards.reader import read_samples
from shards.verify import verify
from tests.pipelines.conftest import ROOT, Command, digests, run


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def finished(out: Path) -> int:
    return len(list((out / "shards").glob("[!.]*.parquet"))) if (out / "shards").exists() else 0


def test_everything_planned_is_kept_or_rejected_and_verify_agrees(whole: Path) -> None:
    counts = manifest(whole)["counts"]
    assert counts["planned"] == 24 == counts["kept"] + counts["rejected"]
    assert counts["kept"] > 10
    assert verify(str(whole)) == []


def test_samples_hold_what_the_contract_says(scored: Path) -> None:
    for split in ("train", "test"):
        for sample in read_samples(str(scored), split):
            record = sample.json
            count = len(record["references"])
            assert sorted(sample.images) == sorted([*(f"image_{i + 1}" for i in range(count)), "target"])
            assert record["split"] == split
            assert 1 <= len(record["reasonings"]) <= 2
            assert all(r["clip_text"] >= 0.4 for r in record["reasonings"])
            assert json.loads(record["provenance"])["painter"]["model"] == "offline"


def test_three_slices_merged_are_the_same_bytes(whole: Path, command: Command, tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in (1, 2, 3)]
    for i, folder in enumerate(folders, 1):
        done = run(command(folder, "--slice", f"{i}/3"))
        assert done.returncode == 0, done.stderr
        assert not (folder / "manifest.json").exists()
    merged = tmp_path / "merged"
    merge = [*command(merged)[:3], "merge", *map(str, folders), "--out", str(merged)]
    incomplete = run([*command(merged)[:3], "merge", *map(str, folders[:2]), "--out", str(tmp_path / "part")])
    assert incomplete.returncode == 3
    assert "not finished" in incomplete.stderr
    done = run(merge)
    assert done.returncode == 0, done.stderr
    assert digests(merged) == digests(whole)
    assert verify(str(merged)) == []


@pytest.mark.parametrize(
    ("how", "whom", "code", "workers"),
    [
        (signal.SIGKILL, "parent", -9, 1),
        pytest.param(signal.SIGINT, "parent", 130, 1, marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "group", 130, 2, marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, "parent", 130, 2, marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, "parent", -9, 2, marks=pytest.mark.soak),
    ],
)
def test_a_run_ended_in_the_middle_resumes_to_the_same_bytes(
    whole: Path, command: Command, tmp_path: Path, how: int, whom: str, code: int, workers: int
) -> None:
    out = tmp_path / "o"
    words = command(out, "--workers", str(workers), ledger=tmp_path / "ledger")
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while finished(out) < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    (os.killpg if whom == "group" else os.kill)(process.pid, how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert not (out / "manifest.json").exists()
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(whole)
    assert [p.name for p in (out / "shards").iterdir() if p.name.startswith(".")] == []


def test_a_finished_output_is_recognised_and_left(whole: Path, command: Command) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    done = run(command(whole))
    assert done.returncode == 0
    assert "finished already" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()} == before


def test_another_seed_may_not_go_on_in_the_same_output(whole: Path, command: Command) -> None:
    done = run(command(whole, "--set", "seed=8"))
    assert done.returncode == 2
    assert "planning.seed" in done.stderr
    assert "begun with" in done.stderr


def test_limits_and_workers_may_change_between_attempts(whole: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "o")
    name = sorted((tmp_path / "o" / "shards").glob("*.parquet"))[0]
    name.unlink()
    (tmp_path / "o" / "manifest.json").unlink()
    done = run(command(tmp_path / "o", "--set", "models.painter.in_flight=3", "--workers", "2"))
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "o") == digests(whole)


def test_a_flipped_bit_is_exit_4(whole: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "o")
    tar = sorted((tmp_path / "o" / "shards").glob("*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    done = run([*command(whole)[:3], "verify", str(tmp_path / "o")])
    assert done.returncode == 4
    assert tar.name in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "--direct_num_workers=many"], "direct_num_workers"),
        (["--", "--nonsense=1"], "--nonsense=1: is no option of Beam"),
        (["samples=3"], "samples=3: is no option of Beam; a key of the configuration is set with --set"),
        (["--", "--direct_running_mode=multi_processing"], "--workers"),
    ],
)
def test_words_that_nobody_takes_are_refused(command: Command, tmp_path: Path, words: list[str], said: str) -> None:
    done = run(command(tmp_path / "o", *words))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert said in done.stderr


def test_bundles_executed_twice_change_nothing(whole: Path, command: Command, tmp_path: Path) -> None:
    done = run(command(tmp_path / "o", "--", "--direct_runner_bundle_repeat=1"))
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "o") == digests(whole)


def test_rejects_are_counted_and_shown(whole: Path, command: Command) -> None:
    done = run([*command(whole)[:3], "rejects", str(whole)])
    assert done.returncode == 0
    assert f"{manifest(whole)['counts']['rejected']} rejected" in done.stdout
    retried = run([*command(whole)[:3], "rejects", str(whole), "--retry", "--ledger", str(whole.parent / "none")])
    assert "nothing to retry" in retried.stdout
    assert os.path.exists(whole / "manifest.json")


def test_a_lost_shard_is_made_anew_and_until_then_no_manifest_vouches_for_it(
    whole: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "o")
    sorted((tmp_path / "o" / "shards").glob("*.tar"))[0].unlink()
    done = run(command(tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    assert digests(tmp_path / "o") == digests(whole)
    assert verify(str(tmp_path / "o")) == []


def test_a_place_that_cannot_be_written_stops_in_order_and_resumes(
    whole: Path, command: Command, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "o" / "shards" / "train-00002-of-00005.tar"
    in_the_way.mkdir(parents=True)
    done = run(command(tmp_path / "o"))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert in_the_way.name in done.stderr
    in_the_way.rmdir()
    assert run(command(tmp_path / "o")).returncode == 0
    assert digests(tmp_path / "o") == digests(whole)


def test_an_output_whose_folder_is_a_file_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "shards").write_text("in the way")
    done = run(command(tmp_path / "o"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "o" / "shards") in done.stderr


def test_a_spoilt_target_costs_its_sample_even_without_filters(command: Command, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    first = run(command(tmp_path / "a", "--set", "filters={}", ledger=ledger))
    assert first.returncode == 0, first.stderr
    spoilt = sorted(ledger.rglob("*.jpg"))[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-200] + bytes(200))
    again = run(command(tmp_path / "b", "--set", "filters={}", ledger=ledger))
    assert again.returncode == 0, again.stderr
    assert "changed" in again.stdout
    before, after = manifest(tmp_path / "a")["counts"], manifest(tmp_path / "b")["counts"]
    assert before["kept"] > after["kept"]
    assert after["planned"] == after["kept"] + after["rejected"]
