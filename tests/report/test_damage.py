"""Outputs that are not what they say: what is wrong is named, and neither the card nor the page is written half."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.report import run
from report.card import CARD
from report.figures import figures
from report.output import balanced_output, read_output
from schemas.errors import DamageError
from tests.report.conftest import write_edits, write_one, write_realign


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


def change_index(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> str:
    """Change the rows of the first shard's index; returns the id of its first sample."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "shards" / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    return str(rows[0]["id"])


def member(row: dict[str, Any], suffix: str) -> dict[str, Any]:
    return next(one for one in row["members"] if one["name"].endswith(suffix))


@pytest.mark.parametrize("offset", [-512, 10**15])
def test_an_index_that_points_outside_its_tar_is_damage(tmp_path: Path, offset: int) -> None:
    folder = write_edits(tmp_path / "out")

    def change(rows: list[dict[str, Any]]) -> None:
        member(rows[0], "image_1.jpg")["offset"] = offset

    key = change_index(folder, change)
    with pytest.raises(DamageError, match=rf"train-00000-of-00001\.parquet: .*{key}"):
        run(str(folder), False, None, None)
    assert written(folder) == []


def test_records_that_changed_places_are_damage(tmp_path: Path) -> None:
    folder = write_edits(tmp_path / "out")

    def change(rows: list[dict[str, Any]]) -> None:
        one, other = member(rows[0], ".json"), member(rows[1], ".json")
        for name in ("offset", "size"):
            one[name], other[name] = other[name], one[name]

    key = change_index(folder, change)
    with pytest.raises(DamageError, match=rf"train-00000-of-00001\.tar: ({key}|\w+)\.json is not what the index says"):
        run(str(folder), False, None, None)
    assert written(folder) == []


def test_pictures_that_are_not_those_of_the_index_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two images that changed places, and one with a flipped bit that still decodes."""
    folder = write_edits(tmp_path / "out")
    flipped: list[int] = []

    def change(rows: list[dict[str, Any]]) -> None:
        # Rows of one pair share its images, so all of them must point to the wrong place.
        pairs = sorted({row["pair_id"] for row in rows})
        for row in (row for row in rows if row["pair_id"] == pairs[0]):
            one, other = member(row, "image_1.jpg"), member(row, "image_2.jpg")
            for name in ("offset", "size"):
                one[name], other[name] = other[name], one[name]
        flipped.extend(member(row, "image_1.jpg")["offset"] + 330 for row in rows if row["pair_id"] == pairs[1])

    change_index(folder, change)
    tar = folder / "shards" / "train-00000-of-00001.tar"
    data = bytearray(tar.read_bytes())
    for at in flipped:
        data[at] ^= 1
    tar.write_bytes(data)
    run(str(folder), False, None, None)
    assert "3 pictures are not what the index says" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    found = re.search(r'id="damaged">(.*?)</script>', page)
    assert found and len(json.loads(found[1])) == 3
    assert re.search(r'id="pictures-0">\n(.*?)\n</script>', page, re.DOTALL)[1].split().count("-") == 3  # type: ignore[index]


def test_where_the_page_cannot_be_made_there_is_no_card(tmp_path: Path) -> None:
    folder = write_realign(tmp_path / "out")
    (folder / "report.html").mkdir()
    with pytest.raises(OSError):
        run(str(folder), False, None, None)
    assert written(folder) == ["report.html"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"id": "x", "scores": {"clip_text": NaN}}', r"a{32}\.json is no readable JSON \(NaN is no JSON\)"),
        ('["x"]', r"a{32}\.json is no JSON object"),
        ('{"id": "x", "provenance": "no JSON"}', "sample x: its provenance is no JSON"),
        ('{"id": "x", "provenance": "[1]"}', "sample x: its provenance does not name a source"),
        ('{"id": "x", "references": ["y"]}', "sample x: its references are no JSON objects"),
    ],
)
def test_a_record_that_no_run_writes_is_named(tmp_path: Path, record: str, said: str) -> None:
    folder = write_one(tmp_path / "out", record, {}, [])
    with pytest.raises(DamageError, match=said):
        run(str(folder), False, None, None)
    assert written(folder) == []


def test_scores_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    """NaN in an index and in a rejection, and a number in a record that no float holds."""
    record = '{"id": "x", "scores": {"clip_text": 1e999, "copy_paste": 0.5}, "task": "add"}'
    scores = {"clip_text": math.nan, "copy_paste": 0.5}
    rejected = [{"clip_text": math.nan, "copy_paste": math.inf}, {"copy_paste": 0.25}]
    folder = write_one(tmp_path / "out", record, scores, rejected)
    run(str(folder), False, None, None)
    found = {one["name"]: one for one in figures(read_output(str(folder)))["scores"]}
    assert list(found) == ["copy_paste"]
    assert (sum(found["copy_paste"]["kept"]), sum(found["copy_paste"]["rejected"])) == (1, 1)


def test_a_score_is_binned_by_what_it_is(tmp_path: Path) -> None:
    """One that is always 1.0 is no judgement from 1 to 5; one that only rejected samples have is shown too."""
    rejected = [{"same": 1.0, "late": 0.1}, {"late": 0.3}]
    folder = write_one(tmp_path / "out", '{"id": "x"}', {"same": 1.0}, rejected)
    run(str(folder), False, None, None)
    found = {one["name"]: one for one in figures(read_output(str(folder)))["scores"]}
    same, late = found["same"], found["late"]
    assert not same["whole"] and (same["edges"][0], same["edges"][-1]) == (0.5, 1.5)
    assert (sum(same["kept"]), sum(same["rejected"])) == (1, 1)
    assert late["mean"] is None and (sum(late["kept"]), sum(late["rejected"])) == (0, 2)
    assert "| late |" not in (folder / CARD).read_text()
