"""A run by two workers: the bytes of one, one event log of both, and the sum of their numbers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.test_metrics_file import read, value
from tests.pipelines.conftest import CLIP, ROOT, Command, digests, run


class ByTwo(NamedTuple):
    """A run by two workers with scores, told at its most talkative."""

    words: list[str]
    out: Path
    log: Path
    metrics: Path

    @property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "manifest.json").read_text()))

    def told(self) -> list[dict[str, Any]]:
        """The lines of its log, but those that come where a machine is slow."""
        lines = [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]
        return [line for line in lines if line["event"] != "progress"]


@pytest.fixture(scope="module")
def by_two(command: Command, tmp_path_factory: pytest.TempPathFactory) -> ByTwo:
    folder = tmp_path_factory.mktemp("workers")
    log, metrics = folder / "logs" / "run.jsonl", folder / "run.prom"
    watched = ("--log", str(log), "--log-level", "debug", "--metrics", str(metrics))
    words = command(folder / "o", "--set", CLIP, "--workers", "2", *watched, ledger=folder / "ledger")
    done = run(words)
    assert done.returncode == 0, done.stderr
    return ByTwo(words, folder / "o", log, metrics)


def test_two_workers_make_the_same_bytes_scores_included(scored: Path, by_two: ByTwo) -> None:
    assert digests(by_two.out) == digests(scored)
    assert by_two.manifest["counts"] == json.loads((scored / "manifest.json").read_text())["counts"]


def test_the_metrics_are_the_sum_of_the_workers(by_two: ByTwo) -> None:
    samples, _ = read(by_two.metrics)
    counts = by_two.manifest["counts"]
    assert value(samples, "plumbline_plans_total", run=by_two.manifest["run"][:12]) == counts["planned"] == 24
    assert value(samples, "plumbline_samples_total", outcome="kept") == counts["kept"]
    assert value(samples, "plumbline_samples_total", outcome="rejected") == counts["rejected"]
    assert value(samples, "plumbline_answers_total") == by_two.manifest["usage"]["offline"]["calls"]
    assert value(samples, "plumbline_shards_total") == len(digests(by_two.out)) / 2
    assert (value(samples, "plumbline_running"), value(samples, "plumbline_exit_code")) == (0, 0)


def test_two_workers_write_one_log_and_every_sample_can_be_followed(by_two: ByTwo) -> None:
    told, manifest = by_two.told(), by_two.manifest
    counts = manifest["counts"]
    assert {line["run"] for line in told} == {manifest["run"][:12]}
    assert [line["event"] for line in told if line["worker"] == 0] == ["run_started", "run_finished"]
    assert told[0]["event"] == "run_started" and told[-1]["event"] == "run_finished"
    assert told[-1]["counts"] == counts and told[-1]["exit_code"] == 0
    shards = told[0]["shards"]
    assert told[0]["finished"] == 0 and "finished" not in told[0]["message"]
    begun, ended = ([line for line in told if line["event"] == f"wave_{word}"] for word in ("begun", "ended"))
    assert sum(line["shards"] for line in begun) == shards and sum(line["plans"] for line in begun) == counts["planned"]
    assert {(w["worker"], w["wave"]) for w in begun} == {(w["worker"], w["wave"]) for w in ended}
    committed = [line for line in told if line["event"] == "shard_committed"]
    assert {line["worker"] for line in committed} == {1, 2}
    assert sum(line["kept"] for line in committed) == counts["kept"]
    assert len({line["sample"] for line in told if line["event"] == "rejected"}) == counts["rejected"]
    assert len({line["sample"] for line in told if line["event"] == "answer"}) == counts["planned"]
    assert run(by_two.words[:-2]).returncode == 0  # without its metrics, which tell of the first time
    again = by_two.told()[len(told) :]
    assert [line["event"] for line in again] == ["run_started", "run_finished"]
    assert again[0]["finished"] == shards and f"{shards} of {shards} shards are finished" in again[0]["message"]


@pytest.mark.soak
def test_on_stderr_the_log_is_all_there_is_of_workers_too(command: Command, tmp_path: Path) -> None:
    words = command(tmp_path / "o", "--workers", "2", "--log", "-", ledger=tmp_path / "ledger")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["worker"] for line in told} == {0, 1, 2}
    assert told[-1]["event"] == "run_finished"
