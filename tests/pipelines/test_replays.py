"""Work done twice: bundles repeated, workers killed, a shard made by two: one whole shard, paid once, counted right."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from annotators.spending import spent
from schemas.usage import Usage
from shards.commit import finished, write_shard
from shards.manifest import read_manifest, write_run
from shards.merge import merge
from shards.names import ShardName
from shards.verify import verify
from storage import paths
from tests.servers.buckets import Bucket
from tests.servers.running import PracticeServer
from tests.servers.runs import ROOT, TOYS, attempt, digests, paid
from tests.shards.made import COLUMNS, rejection, sample

CALLS = 36
"""What the run of `paid` asks: 12 plans, 3 calls each."""


def command(out: Path, settings: Sequence[str], *more: str) -> list[str]:
    """The same as a command of its own."""
    words = [sys.executable, "-m", "cli.main", "realign", str(ROOT / "configs" / TOYS["realign"]), "--out", str(out)]
    return [*words, *(part for setting in settings for part in ("--set", setting)), *more]


def begun(words: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not true() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def whole(out: Path, server: PracticeServer) -> None:
    """The run is complete and sound, its manifest counts what was asked for, and the provider was asked no more."""
    manifest = read_manifest(str(out))
    assert manifest is not None and verify(str(out)) == []
    assert manifest["counts"] == {"planned": 12, "kept": 12, "rejected": 0}
    used = sum((Usage.model_validate(one) for one in manifest["usage"].values()), Usage())
    assert used.calls + used.ledger_hits == CALLS
    stats = server.stats()
    assert stats["ok"] == stats["distinct"] + stats["repeats"] >= CALLS
    assert sum(spent(str(out)).values(), Usage()).calls <= stats["ok"]


def test_bundles_done_twice_ask_for_nothing_twice(practice_server: PracticeServer, tmp_path: Path) -> None:
    repeated = ["--direct_runner_bundle_repeat=1"]
    assert attempt(tmp_path / "twice", paid(practice_server, tmp_path / "ledger"), repeated) == (0, "")
    assert practice_server.stats()["ok"] == CALLS and practice_server.stats()["repeats"] == 0
    whole(tmp_path / "twice", practice_server)
    assert attempt(tmp_path / "once", paid(practice_server, tmp_path / "ledger")) == (0, "")
    assert digests(tmp_path / "twice") == digests(tmp_path / "once")


@pytest.mark.parametrize("seed", range(3))
def test_one_shard_written_by_many_at_once_is_one_whole_shard(seed: int, tmp_path: Path) -> None:
    name, out = ShardName("train", 0, 1), str(tmp_path / "out")
    run_hash = write_run(out, {"dataset": "realign", "shards": {"train": 1}})
    together(4, lambda: written(out, name, run_hash))
    assert_whole(out, name, run_hash)


@pytest.mark.cloud
def test_one_shard_written_by_two_machines_to_a_bucket_is_one_whole_shard(bucket: Bucket) -> None:
    name, out = ShardName("train", 0, 1), bucket.location
    run_hash = write_run(out, {"dataset": "realign", "shards": {"train": 1}})
    bucket.proxy.latency = 0.01
    together(2, lambda: written(out, name, run_hash))
    assert_whole(out, name, run_hash)


@pytest.mark.cloud
def test_a_writer_that_died_between_tar_and_index_leaves_no_shard_and_the_next_one_makes_it(bucket: Bucket) -> None:
    name, out = ShardName("train", 0, 1), bucket.location
    run_hash = write_run(out, {"dataset": "realign", "shards": {"train": 1}})
    bucket.proxy.fault = lambda seen: 403 if name.index_file in seen.name and seen.method in ("PUT", "POST") else None
    with pytest.raises(Exception, match=r"403|permission|Forbidden|denied"):
        written(out, name, run_hash)
    assert paths.exists(paths.join(out, name.tar)) and finished(out, name, run_hash) is None
    bucket.proxy.fault = lambda seen: None
    written(out, name, run_hash)
    assert_whole(out, name, run_hash)


def written(out: str, name: ShardName, run_hash: str) -> None:
    samples, rejected = [sample("train", i) for i in range(6)], [rejection("train", 6)]
    write_shard(out, name, samples, rejected, run_hash=run_hash, planned=7, columns=COLUMNS)


def together(count: int, do: Callable[[], None]) -> None:
    """`do` in so many threads, which begin at one moment; raises what one of them raised."""
    start, failed = threading.Barrier(count), list[BaseException]()

    def one() -> None:
        start.wait()
        try:
            do()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def assert_whole(out: str, name: ShardName, run_hash: str) -> None:
    footer = finished(out, name, run_hash)
    assert footer is not None and (footer.kept, footer.rejected) == (6, 1)
    assert hashlib.sha256(paths.read_bytes(paths.join(out, name.tar))).hexdigest() == footer.tar_sha256
    manifest = merge([out], out)
    assert manifest["counts"] == {"planned": 7, "kept": 6, "rejected": 1} and verify(out) == []
    assert paths.list_files(paths.join(out, "shards")) == [Path(name.index_file).name, Path(name.tar).name]


def test_two_machines_that_make_the_same_slice_at_once_pay_once(
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    practice_server.configure(latency=0.2)
    settings = paid(practice_server, tmp_path / "ledger")
    other = begun(command(tmp_path / "o", settings))
    until(lambda: practice_server.stats()["requests"] > 0, other)
    assert attempt(tmp_path / "o", settings) == (0, ""), "this process is the second machine"
    ended = other.communicate(timeout=280)
    assert other.returncode == 0, ended
    assert practice_server.stats()["ok"] == CALLS and practice_server.stats()["repeats"] == 0
    whole(tmp_path / "o", practice_server)


KILLED: list[Any] = [
    pytest.param("worker", marks=pytest.mark.soak),
    pytest.param("all", marks=pytest.mark.soak),
]


@pytest.mark.parametrize("whom", KILLED)
def test_killed_in_the_middle_it_repeats_at_most_what_was_in_flight(
    whom: str,
    practice_server: PracticeServer,
    tmp_path: Path,
) -> None:
    practice_server.configure(latency=0.4)
    out, settings = tmp_path / "o", paid(practice_server, tmp_path / "ledger")
    process = begun(command(out, settings, "--workers", "2"))
    until(lambda: practice_server.stats()["ok"] >= 8, process)
    children = worker_pids(process.pid)
    assert len(children) == 2
    for pid in [*children, process.pid] if whom == "all" else children[:1]:
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    if whom == "worker":
        assert process.returncode == 1 and "worker 1 of 2 ended with -9" in errors and "Traceback" not in errors
    assert not (out / "manifest.json").exists()
    practice_server.configure(latency=0.0)
    before = practice_server.stats()["repeats"]
    assert before == 0
    assert attempt(out, settings) == (0, "")
    assert practice_server.stats()["repeats"] <= 3 * 4, "at most what was in flight at each of three models"
    whole(out, practice_server)


def worker_pids(parent: int) -> list[int]:
    """The processes whose parent this is, oldest first."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return sorted(found)
