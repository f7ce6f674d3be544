"""RESULTS.md: a section is replaced by its next run and leaves the others alone."""

from __future__ import annotations

from pathlib import Path

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


def _without_load(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if " cores" not in line)
