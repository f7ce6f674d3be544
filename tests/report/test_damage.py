"""Outputs that are not what they say: what is wrong is named, and neither the card nor the page is written half."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cli.report import run
from report.card import CARD
from report.output import balanced_output
from schemas.errors import DamageError
from tests.report.conftest import write_edits, write_realign


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name in (CARD, "report.html", "attribution.csv"))


def test_a_finished_run_without_one_of_its_indexes_is_damaged(tmp_path: Path) -> None:
    folder = write_realign(tmp_path / "out")
    (folder / "shards" / "train-00002-of-00003.parquet").unlink()
    with pytest.raises(DamageError, match=r"train-00002-of-00003\.parquet: is missing, though manifest\.json"):
        run(str(folder), False, None, None)
    assert written(folder) == []


def test_balanced_shards_without_a_manifest_are_no_config(tmp_path: Path) -> None:
    folder = write_edits(tmp_path / "out")
    (folder / "balanced" / "manifest.json").unlink()
    assert balanced_output(str(folder)) is None


def test_the_card_of_an_unfinished_run_loads_what_it_counts(tmp_path: Path) -> None:
    """A tar whose index is not there yet is neither counted nor loaded."""
    datasets = pytest.importorskip("datasets", reason="the extra `test` is not installed")
    folder = write_realign(tmp_path / "out", close=False)
    (folder / "shards" / "train-00002-of-00003.parquet").unlink()
    run(str(folder), True, None, None)
    header = yaml.safe_load((folder / CARD).read_text().split("---\n", 2)[1])
    files = [{"split": "train", "path": ["shards/train-00000-of-00003.tar"]}]
    assert header["configs"][0]["data_files"] == files
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == header["dataset_info"][0]["splits"][0]["num_examples"] == 20
