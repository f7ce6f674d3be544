"""`plumbline demo`: three datasets, each sound, and judges held against what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo import CONFIGS, run, verdicts
from shards.manifest import read_manifest
from shards.verify import verify


def test_the_demo_makes_all_three_datasets_and_says_how_right_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(tmp_path), 24)
    for name in CONFIGS:
        out = str(tmp_path / name)
        manifest = read_manifest(out)
        assert manifest is not None and manifest["counts"]["kept"] > 0 and verify(out) == []
        assert manifest["dataset"] == name
        assert all((tmp_path / name / file).stat().st_size > 1000 for file in ("report.html", "README.md"))
    assert verify(str(tmp_path / "firm-edit" / "balanced")) == []
    said = capsys.readouterr().out
    for words in ("precision ", "on average in execution", "on average in consistency", "without an error"):
        assert words in said
    assert verdicts(str(tmp_path / "realign"))["all"].precision > 0
