"""`plumbline calibrate` over a finished run, and what it prints to paste."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from cli.calibrate import read_labels, run
from cli.making import make
from filters.config import FiltersConfig
from pipelines.config import load
from pipelines.shares import Share
from schemas.errors import DamageError, InputError
from shards.stored import stored_rows
from tests.pipelines.conftest import SETTINGS


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose filter rejects some, by a measure that needs no weights."""
    folder = tmp_path_factory.mktemp("calibrated")
    settings = [*SETTINGS, f"ledger={folder / 'ledger'}", "filters={quality: {min_sharpness: 6000, min_side: 32}}"]
    config = load("configs/toy.yaml", settings)
    make(config, "configs/toy.yaml", str(folder / "out"), Share(), 1, None, [], [])
    return folder / "out"


def pasted(printed: str) -> dict[str, Any]:
    return dict(yaml.safe_load(printed[printed.index("filters:") :])["filters"])


def test_rejected_samples_count_and_the_yaml_is_a_configuration(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = stored_rows(str(out))
    assert {row.kept for row in rows} == {True, False}
    for share in (0.1, 0.5):
        run(str(out), share, ["sharpness"], True, None, "f1")
        tree = pasted(capsys.readouterr().out)
        FiltersConfig.model_validate(tree)
        limit = tree["quality"]["min_sharpness"]
        values = [row.scores["sharpness"] for row in rows]
        assert sum(v < limit for v in values) == pytest.approx(share * len(values), abs=1)
        for task, own in tree["tasks"].items():
            values = [row.scores["sharpness"] for row in rows if row.task == task]
            dropped = sum(v < (own["quality"]["min_sharpness"] or 0) for v in values)
            assert dropped == pytest.approx(share * len(values), abs=1)


def test_labels_choose_the_limit(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sorted(stored_rows(str(out)), key=lambda row: row.scores["sharpness"])
    file = tmp_path / "labels.csv"
    file.write_text("id,good\n" + "".join(f"{row.id},{int(n >= 7)}\n" for n, row in enumerate(rows)))
    run(str(out), 0.2, ["sharpness"], False, str(file), "youden")
    printed = capsys.readouterr().out
    assert "precision 1.000  recall 1.000  drops 7 of" in printed
    limit = pasted(printed)["quality"]["min_sharpness"]
    assert rows[6].scores["sharpness"] < limit <= rows[7].scores["sharpness"]


def test_labels_are_read_as_jsonl_and_csv(tmp_path: Path) -> None:
    for name, text in {
        "a.jsonl": '{"id": "x", "good": true}\n\n{"id": "y", "good": 0}\n',
        "a.csv": "good,id\nyes,x\nFalse,y\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_labels(str(tmp_path / name)) == {"x": True, "y": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": "x"}\n', "labels:1: needs `id`, and `good`"),
        ('{"id": "x", "good": true}\n{oh\n', "labels:2: is no JSON"),
        ("id,good\nx,maybe\n", "labels:2: needs"),
        ('{"id": "nobody", "good": true}\n', "none of its 1 ids"),
    ],
)
def test_bad_labels_are_told_by_line(out: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels").write_text(text)
    with pytest.raises(InputError, match=said):
        run(str(out), 0.2, ["sharpness"], False, str(tmp_path / "labels"), "f1")


def test_labels_that_are_missing_or_of_one_kind_are_refused(out: Path, tmp_path: Path) -> None:
    ids = [row.id for row in stored_rows(str(out))]
    for good in (True, False):
        (tmp_path / "labels").write_text("".join(f'{{"id": "{key}", "good": {str(good).lower()}}}\n' for key in ids))
        with pytest.raises(InputError, match=f"all of them are {'good' if good else 'bad'}"):
            run(str(out), 0.2, ["sharpness"], False, str(tmp_path / "labels"), "f1")
    with pytest.raises(InputError, match="--labels nowhere: there is no such file"):
        read_labels("nowhere")


@pytest.mark.parametrize(
    ("drop", "by", "criterion", "said"),
    [
        (1.0, [], "f1", "--drop 1"),
        (0.2, ["clip_text"], "f1", "has no such score; it has sharpness"),
        (0.2, [], "auc", "--criterion auc"),
        (0.2, [], "youden", "--criterion youden: .* add --labels"),
    ],
)
def test_bad_usage_is_one_line(out: Path, drop: float, by: list[str], criterion: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(str(out), drop, by, False, None, criterion)


def test_a_finished_run_without_one_of_its_indexes_is_damaged(out: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(out, tmp_path / "own"))
    next((own / "shards").glob("*.parquet")).unlink()
    with pytest.raises(DamageError, match=r"\.parquet: is missing, though manifest\.json says"):
        run(str(own), 0.2, [], False, None, "f1")


def test_the_index_has_what_was_kept_and_nothing_was_changed(out: Path) -> None:
    kept = [row.id for row in stored_rows(str(out)) if row.kept]
    assert kept == [i for f in sorted((out / "shards").glob("*.parquet")) for i in pq.read_table(f)["id"].to_pylist()]
