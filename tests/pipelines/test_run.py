"""A run ends the same however it is made: one worker or two, slices, killed and resumed, retried."""

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
    assert counts["planned"] == 48 == counts["kept"] + counts["rejected"]
    assert counts["kept"] > 20
    assert verify(str(whole)) == []


def test_samples_hold_what_the_contract_says(whole: Path) -> None:
    for split in ("train", "test"):
        for sample in read_samples(str(whole), split):
            record = sample.json
            count = len(record["references"])
            assert sorted(sample.images) == sorted([*(f"image_{i + 1}" for i in range(count)), "target"])
            assert record["split"] == split
            assert 1 <= len(record["reasonings"]) <= 2
            assert all(r["clip_text"] >= 0.5 for r in record["reasonings"])
            assert json.loads(record["provenance"])["painter"]["model"] == "offline"


def test_two_workers_make_the_same_bytes(whole: Path, command: Command, tmp_path: Path) -> None:
    done = run(command(tmp_path / "o", "--workers", "2", ledger=tmp_path / "ledger"))
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "o") == digests(whole)
    assert manifest(tmp_path / "o")["counts"] == manifest(whole)["counts"]


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


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_ended_in_the_middle_resumes_to_the_same_bytes(
    whole: Path, command: Command, tmp_path: Path, how: int, code: int
) -> None:
    out, ledger = tmp_path / "o", tmp_path / "ledger"
    words = command(out, ledger=ledger)
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while finished(out) < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert not (out / "manifest.json").exists()
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
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


def test_beams_own_options_are_passed_on(command: Command, tmp_path: Path) -> None:
    done = run(command(tmp_path / "o", "--", "--direct_num_workers=notanumber"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "direct_num_workers" in done.stderr


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
