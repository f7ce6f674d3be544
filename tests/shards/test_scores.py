"""Stored scores are read from the indexes; the manifest's balance follows from the shards that lie there."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from schemas.errors import InputError
from shards.copying import copy_samples
from shards.manifest import canonical, digest_of, write_manifest
from shards.merge import merge
from shards.scores import balance_of, histograms, read_scores
from shards.verify import verify
from tests.shards.labelled import score_of, write_labelled


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_labelled(str(tmp_path / "out"))
    return tmp_path / "out"


def halved(out: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Every other row of Execution as the balanced shards."""
    chosen = list(read_scores(str(out))["execution"])[::2]
    copy_samples(str(out), str(out / "balanced"), chosen, replace=True)
    found = balance_of(str(out))
    assert found is not None
    return found


def test_histograms_count_rows_of_all_splits_by_dimension_without_a_tar(out: Path) -> None:
    for tar in out.rglob("*.tar"):
        tar.unlink()
    of = Counter(score_of(i) for i in range(16))
    each = {str(int(score)): 3 * n for score, n in sorted(of.items())}
    assert histograms(str(out)) == {"consistency": each, "execution": each}
    assert histograms(str(out), column="tries", by="split")["test"]["0"] == 1
    assert sum(len(rows) for rows in read_scores(str(out)).values()) == 96
    assert sum(len(rows) for rows in read_scores(str(out), column="tries").values()) == 48


@pytest.mark.parametrize(("column", "by"), [("scroe", "dimension"), ("score", "dimensions")])
def test_a_column_that_is_not_there_is_named(out: Path, column: str, by: str) -> None:
    with pytest.raises(InputError, match=r"parquet: has no column (scroe|dimensions)"):
        read_scores(str(out), column, by)


def test_words_are_no_scores(out: Path) -> None:
    with pytest.raises(InputError, match="the column task holds 'execution', which is no score"):
        read_scores(str(out), "task")


def test_balance_tells_before_and_after_and_a_dropped_score_is_zero(out: Path) -> None:
    chosen = [key for key, score in read_scores(str(out))["execution"].items() if score < 4]
    copy_samples(str(out), str(out / "balanced"), chosen)
    found = balance_of(str(out))
    assert found is not None
    assert found["execution"]["before"] == histograms(str(out))["execution"]
    assert found["execution"]["after"] == {"1": 3, "2": 6, "3": 9, "4": 0, "5": 0}
    assert set(found["consistency"]["after"].values()) == {0}


def test_what_is_not_finished_or_of_other_shards_is_no_balance(out: Path, tmp_path: Path) -> None:
    assert balance_of(str(out)) is None
    halved(out)
    (out / "balanced" / "manifest.json").unlink()
    assert balance_of(str(out)) is None
    other = tmp_path / "other"
    write_labelled(str(other))
    copy_samples(str(out), str(other / "mine"), list(read_scores(str(out))["execution"])[:4])
    write_labelled(str(tmp_path / "third"))
    shutil.copytree(other / "mine", tmp_path / "third" / "balanced")
    # The same run made the same shards, so a selection of the one is one of the other ...
    assert balance_of(str(tmp_path / "third")) is not None
    # ... and one of a selection is not.
    copy_samples(str(other / "mine"), str(tmp_path / "fourth"), [])
    shutil.rmtree(tmp_path / "third" / "balanced")
    shutil.copytree(tmp_path / "fourth", tmp_path / "third" / "balanced")
    assert balance_of(str(tmp_path / "third")) is None


def test_merge_keeps_the_balance_of_a_folder_merged_into_itself(out: Path) -> None:
    whole = write_manifest(str(out), balance=halved(out))
    assert verify(str(out)) == []
    (out / "manifest.json").write_text("damaged")
    assert merge([str(out)], str(out)) == whole


def test_slices_merge_without_a_balance(out: Path, tmp_path: Path) -> None:
    plain = write_manifest(str(out))
    write_manifest(str(out), balance=halved(out))
    merged = merge([str(out)], str(tmp_path / "merged"))
    assert merged == plain and not (tmp_path / "merged" / "balanced").exists()
    assert verify(str(tmp_path / "merged")) == []


@pytest.mark.parametrize("side", ["before", "after"])
def test_verify_finds_a_balance_that_is_not_so(out: Path, side: str) -> None:
    manifest = write_manifest(str(out), balance=halved(out))
    manifest["balance"]["execution"][side]["5"] += 1
    manifest["digest"] = digest_of(manifest)
    (out / "manifest.json").write_bytes(canonical(manifest))
    (problem,) = verify(str(out))
    assert problem.startswith("manifest.json: its balance is not that of")
    # Without the balanced shards, which may be removed, only what was before can be checked.
    shutil.rmtree(out / "balanced")
    assert bool(verify(str(out))) == (side == "before")


def test_a_run_without_scores_and_with_a_balance_is_a_problem_and_no_crash(run_folder: Path) -> None:
    write_manifest(str(run_folder), balance={"execution": {"before": {"1": 1}, "after": {"1": 1}}})
    (problem,) = verify(str(run_folder))
    assert "its balance cannot be checked" in problem and "has no column score" in problem
    assert json.loads((run_folder / "manifest.json").read_text())["balance"]
