"""The benchmark of whole runs: it counts what it made, extrapolates what it did not run, and a million is flat."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.scale import __main__ as scale
from benchmarks.scale import measured as store
from benchmarks.scale.measured import Measured, Size
from benchmarks.scale.watched import Moment, Watched, watched

START = Size(4, 4, wall=20.0, cpu=10.0, parent_peak=240, worker_peak=280, growth=1.0)
THOUSAND = Size(1_000, 1_000, 60.0, 26.0, 240, 320, 1.0, curve=((0.0, 3.0, 40.0), (1.0, 26.0, 320.0)))
MANY = Size(100_000, 100_000, 5_020.0, 1_510.0, 250, 500, 1.05, curve=((0.5, 700.0, 480.0), (1.0, 1500.0, 500.0)))
MEASURED = Measured("2026-11-21", "a machine", 2, 64, START, (MANY, THOUSAND))


def test_a_run_is_made_and_what_it_cost_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny run through the command itself, and the table, the JSON and the plot it leaves."""
    real = scale.measure
    monkeypatch.setattr(scale, "measure", lambda n, *more, **named: START if n == 4 else real(n, *more, **named))
    monkeypatch.setattr(scale, "PLOT", tmp_path / "scale.png")
    monkeypatch.setattr(store, "MEASURED", tmp_path / "measured.json")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    scale.main(["--sizes", "24", "--workers", "1"])
    found = store.load(tmp_path / "measured.json")
    assert [size.samples for size in found.sizes] == [24] and found.start == START
    assert found.sizes[0].cpu > 0.5 and found.sizes[0].parent_peak > 50  # it worked, and it was looked at
    assert "| 24 | measured |" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_the_start_of_the_processes_is_no_sample_s_cost() -> None:
    assert MEASURED.own_ms(THOUSAND) == pytest.approx(16.064, abs=0.001)
    assert MEASURED.own_ms(MANY) == pytest.approx(15.0006, abs=0.001)
    assert MEASURED.times_base(MANY) == pytest.approx(0.934, abs=0.001)


def test_a_million_that_was_not_run_is_called_extrapolated() -> None:
    rows = scale.table(MEASURED)
    assert [row["how"] for row in rows] == ["measured", "measured", "extrapolated from 100,000"]
    assert [row["samples"] for row in rows] == [1_000, 100_000, 1_000_000]
    assert rows[-1]["CPU, s"] == pytest.approx(10 + (1e6 - 4) * 0.0150006, abs=1)
    assert any("1,000,000: not run here" in note for note in scale.notes(MEASURED))
    run = replace(MEASURED, sizes=(THOUSAND, replace(MANY, samples=1_000_000, planned=1_000_000)))
    assert [row["how"] for row in scale.table(run)] == ["measured", "measured"]
    assert not any("not run here" in note for note in scale.notes(run))


def test_a_run_that_was_stopped_says_where() -> None:
    stopped = replace(MEASURED, sizes=(THOUSAND, replace(MANY, samples=30_000)))
    assert [row["how"] for row in scale.table(stopped)][1] == "measured: 100,000, stopped here"
    assert any("at 30,000 / at 1,000" in note for note in scale.notes(stopped))


def test_growth_of_memory_and_of_cost_are_said_to_miss_the_goal() -> None:
    slow = replace(MANY, cpu=1_900.0, growth=1.4)
    said = "\n".join(scale.notes(replace(MEASURED, sizes=(THOUSAND, slow))))
    assert "1.18 (goal <= 1.1: missed)" in said and "1.40 (grows)" in said


def test_growth_of_a_run_that_was_stopped_is_that_of_what_it_did() -> None:
    def moment(share: float, resident: float) -> Moment:
        return Moment(1.0, share, 1.0, 240.0, (resident, 100.0))

    run = Watched(moments=[moment(0.0, 900), moment(0.1, 400), moment(0.15, 410), moment(0.4, 450), moment(0.5, 492)])
    assert run.growth() == pytest.approx(1.2)
    assert Watched().growth() == 1.0


def test_what_is_kept_is_read_back_as_it_was(tmp_path: Path) -> None:
    store.save(MEASURED, tmp_path / "measured.json")
    assert store.load(tmp_path / "measured.json") == MEASURED


def test_a_command_that_fails_ends_the_benchmark_with_its_line() -> None:
    with pytest.raises(SystemExit, match="ended with 3: out of money"):
        watched([sys.executable, "-c", "import sys; sys.exit(print('out of money', file=sys.stderr) or 3)"], lambda: 0)


def test_a_command_is_stopped_when_its_time_is_up_and_its_children_are_seen() -> None:
    child = "import time; b = bytearray(60_000_000); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    found = watched([sys.executable, "-c", parent], lambda: 0.5, every=0.1, most=2.0)
    assert found.stopped
    if Path("/proc/self/task").exists():
        assert found.worker_peak > 50 and found.moments[-1].workers


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_a_million_samples_cost_each_what_a_thousand_do_and_memory_stays() -> None:
    samples = int(os.environ.get("PLUMBLINE_SOAK_SAMPLES", "20000"))
    start, few, many = scale.measure(scale.START), scale.measure(scale.BASE), scale.measure(samples)
    found = Measured("", "", scale.WORKERS, scale.SIDE, start, (few, many))
    print(results.table(scale.table(found)))
    assert (found.times_base(many) or 9) <= scale.GOAL and many.growth <= scale.GOAL
