"""The card says what `plumbline contamination` found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.report import run
from pipelines.contamination import REPORT, Checks, contamination
from report.card import CARD
from schemas.errors import DamageError


@pytest.fixture
def out(outputs: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs["realign"], tmp_path / "out"))


def card(out: Path) -> str:
    run(str(out), True, None, None)
    return (out / CARD).read_text()


def test_overlaps_are_counted_and_told_of_these_shards_alone(out: Path, tmp_path: Path) -> None:
    assert "Overlaps" not in card(out)
    bench = tmp_path / "secret" / "bench.txt"
    bench.parent.mkdir()
    bench.write_text("words that nobody here has ever written\n")
    contamination(str(out), [str(bench)], Checks(distance=None))
    told = card(out)
    assert "## Overlaps with benchmarks" in told and "no sample overlaps" in told and "1 prompt." in told
    assert str(tmp_path) not in told
    report = contamination(str(out), [str(out)], Checks(distance=None))
    assert f"{report['excluded']:,} by equal bytes" in card(out) and "contamination-exclude.txt" in card(out)
    (out / REPORT).write_text(json.dumps({**report, "tars": "0" * 64}))
    assert "Overlaps" not in card(out)


def test_what_is_no_report_is_damage(out: Path) -> None:
    (out / REPORT).write_text("[]")
    with pytest.raises(DamageError, match="contamination"):
        card(out)
