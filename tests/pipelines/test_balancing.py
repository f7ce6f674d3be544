"""Balanced shards of a finished run: chosen, copied, said in the manifest, and replaced when the choice changes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from filters.balance import BalanceConfig
from pipelines import config as configs
from pipelines.balancing import score_lines, write_balanced
from pipelines.estimate import Sampled
from pipelines.measured import of_run
from schemas.errors import InputError
from shards.commit import write_shard
from shards.copying import copy_samples
from shards.manifest import read_manifest, read_run, write_manifest, write_run
from shards.names import ShardName
from shards.reader import read_samples
from shards.rejects import reopen
from shards.scores import histograms, read_scores
from shards.verify import verify
from storage import paths
from tests.shards import made
from tests.shards.labelled import COLUMNS, RUN, labelled, write_labelled
from tests.shards.made import rejection

UNIFORM = BalanceConfig(execution="uniform", consistency="uniform")
FIVE = ["1", "2", "3", "4", "5"]


@pytest.fixture
def out(tmp_path: Path) -> str:
    """All shards of a run, not closed yet."""
    write_labelled(str(tmp_path / "out"), close=False)
    return str(tmp_path / "out")


def closed(out: str, config: BalanceConfig, seed: int = 7) -> dict[str, Any]:
    return write_manifest(out, balance=write_balanced(out, config, seed))


def written(out: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(out, "balanced").rglob("*") if path.is_file()}


def test_the_run_keeps_all_and_the_balanced_shards_have_the_shape(out: str) -> None:
    manifest = closed(out, UNIFORM)
    before = {"1": 3, "2": 6, "3": 9, "4": 12, "5": 18}
    said = {"before": before, "after": dict.fromkeys(FIVE, 3)}
    assert manifest["balance"] == {"consistency": said, "execution": said}
    assert manifest["counts"]["kept"] == 96
    assert histograms(paths.join(out, "balanced")) == dict.fromkeys(("consistency", "execution"), said["after"])
    assert verify(out) == [] and verify(paths.join(out, "balanced")) == []
    balanced = [s for split in ("train", "test") for s in read_samples(paths.join(out, "balanced"), split)]
    assert {s.id for s in balanced} < {key for rows in read_scores(out).values() for key in rows}


def test_a_dimension_without_a_target_is_whole(out: str) -> None:
    found = closed(out, BalanceConfig.model_validate({"execution": {1: 0.5, 5: 0.5}}))["balance"]
    assert found["execution"]["after"] == {"1": 3, "2": 0, "3": 0, "4": 0, "5": 3}
    assert found["consistency"]["after"] == found["consistency"]["before"]


def test_called_again_it_does_nothing_and_with_another_choice_it_begins_anew(out: str) -> None:
    manifest, first = closed(out, UNIFORM), written(out)
    assert closed(out, UNIFORM) == manifest and written(out) == first
    closed(out, UNIFORM, seed=8)
    assert written(out) != first and verify(paths.join(out, "balanced")) == []
    closed(out, BalanceConfig(execution="uniform"))
    assert read_manifest(out) != manifest and verify(paths.join(out, "balanced")) == []
    assert closed(out, UNIFORM) == manifest


def test_without_a_target_nothing_is_written(out: str) -> None:
    assert "balance" not in closed(out, BalanceConfig())
    assert not paths.exists(paths.join(out, "balanced"))


def test_a_shard_made_anew_makes_the_balance_anew(out: str) -> None:
    """A retry may keep a row that was rejected: the choice is then one from other rows."""
    before = closed(out, UNIFORM)
    name = ShardName("test", 0, 1)
    reopen(out, [name])
    with pytest.raises(InputError, match="1 of 4 shards are not finished"):
        write_balanced(out, UNIFORM, 7)
    rows = [labelled("test", i, lambda i: 1.0) for i in range(31)]
    hashed = read_run(out)[0]
    rejected = [rejection("test", 1000), rejection("test", 1001)]
    write_shard(out, name, rows, rejected, run_hash=hashed, planned=33, columns=COLUMNS)
    after = closed(out, UNIFORM)
    assert after["balance"]["execution"]["before"] != before["balance"]["execution"]["before"]
    assert after["balance"]["execution"]["after"] == dict.fromkeys(FIVE, 4)
    assert verify(out) == [] and verify(paths.join(out, "balanced")) == []


def test_the_choice_is_told_in_run_json(out: str) -> None:
    config = BalanceConfig.model_validate({"execution": {1: 0.2, 5: 0.8}})
    closed(out, config)
    _, run = read_run(paths.join(out, "balanced"))
    note = run["selection"]["note"]
    assert note == {"balance": {"execution": {"1": 0.2, "5": 0.8}}, "seed": 7, "left_out": {}}
    assert run["selection"]["of"] == RUN


def test_a_score_that_nobody_has_is_said(tmp_path: Path) -> None:
    out = str(tmp_path / "few")
    run_hash = write_run(out, {**RUN, "shards": {"train": 1}})
    rows = [labelled("train", i, lambda i: 1.0 + 4 * (i % 2)) for i in range(16)]
    write_shard(out, ShardName("train", 0, 1), rows, [], run_hash=run_hash, planned=16, columns=COLUMNS)
    found = closed(out, BalanceConfig(execution="uniform"))["balance"]
    assert found == {"execution": {"before": {"1": 8, "5": 8}, "after": {"1": 8, "5": 8}}}
    assert read_run(paths.join(out, "balanced"))[1]["selection"]["note"]["left_out"] == {"execution": [2.0, 3.0, 4.0]}


def test_rows_without_scores_are_named(tmp_path: Path) -> None:
    run_hash = write_run(str(tmp_path / "out"), {**made.RUN, "shards": {"train": 1}})
    made.write_one(tmp_path / "out", ShardName("train", 0, 1), run_hash)
    with pytest.raises(InputError, match=r"train-00000-of-00001\.parquet: has no column score"):
        write_balanced(str(tmp_path / "out"), UNIFORM, 7)


def test_lines_to_read(out: str) -> None:
    lines = score_lines(out, closed(out, BalanceConfig(execution="uniform"))["balance"])
    assert lines == [
        "scores of consistency: 1: 3, 2: 6, 3: 9, 4: 12, 5: 18",
        "scores of execution: 1: 3, 2: 6, 3: 9, 4: 12, 5: 18",
        f"balanced execution, in {out}/balanced: 15 of 48 rows; 1: 3, 2: 3, 3: 3, 4: 3, 5: 3",
    ]


def test_a_selection_is_no_run_to_measure_by(tmp_path: Path) -> None:
    run_hash = write_run(str(tmp_path / "out"), {**made.RUN, "shards": {"train": 1}})
    made.write_one(tmp_path / "out", ShardName("train", 0, 1), run_hash)
    copy_samples(str(tmp_path / "out"), str(tmp_path / "chosen"), [made.sample("train", 1).id])
    path = str(Path(made.__file__).parents[2] / "configs" / "toy.yaml")
    with pytest.raises(InputError, match="is a selection, which cost nothing"):
        of_run(str(tmp_path / "chosen"), Sampled(configs.load(path), path), path)


def test_the_examples_of_the_page_hold(
    out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(made.__file__).parents[2] / "docs" / "balance.md").read_text(encoding="utf-8")
    (settings,), (code,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("yaml", "python"))
    config = BalanceConfig.model_validate(yaml.safe_load(settings)["balance"])
    assert sum(config.targets["consistency"].values()) == pytest.approx(1)
    shown = closed(out, config)["balance"]["execution"]
    printed = json.loads("{" + re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0] + "}")
    assert printed["balance"]["execution"] == shown
    monkeypatch.chdir(Path(out).parent)
    exec(compile(code, "docs/balance.md", "exec"), {})
    assert "consistency" in capsys.readouterr().out
    assert histograms("low") == {"execution": {"1": 3, "2": 6}} and verify("low") == []
