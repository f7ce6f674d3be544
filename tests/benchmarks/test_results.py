"""RESULTS.md: a section is replaced by its next run and leaves the others alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import help_time, planning, results
from benchmarks.__main__ import main as run_named
from benchmarks.results import record


def test_a_section_is_replaced_in_place_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for title in ("First", "Second", "Third"):
        record(title, f"run {title}", [{"what": "ours", "MB/s": 1234.5, "n": 10_000}], ["goal met"], path)
    before = path.read_text()
    record("Second", "run Second", [{"what": "ours", "MB/s": 0.125, "n": 7}], [], path)
    after = path.read_text()
    assert after.count("## Second") == 1 and "0.125" in after and "| 1,234 | 10,000 |" in after
    assert [line for line in after.splitlines() if line.startswith("## ")] == ["## First", "## Second", "## Third"]
    record("Second", "run Second", [{"what": "ours", "MB/s": 1234.5, "n": 10_000}], ["goal met"], path)
    assert _without_load(path.read_text()) == _without_load(before)


def test_each_benchmark_takes_no_word_of_the_command_that_ran_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m benchmarks planning` names a benchmark, which is not an argument of that benchmark."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(planning, "measure", lambda rows, plans: ({"images": rows, "plans": plans}, 30_000))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "planning"])
    run_named()
    assert "goal 20,000 plans/s, memory flat: met" in (tmp_path / "RESULTS.md").read_text()


def test_planning_and_help_are_measured_and_their_goals_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(planning, "_WARM_UP", 10)
    planning.main(["--rows", "2000", "--plans", "50"])
    help_time.main(runs=1)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## Planning" in text and "| 2,000 | 50 |" in text and "goal 20,000 plans/s" in text
    assert "## plumbline --help" in text and "| wall |" in text and "| CPU |" in text and "goal 0.5 s" in text


def _without_load(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if " cores" not in line)
