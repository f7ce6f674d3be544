"""RL on what FIRM's pipelines asked for: the prompts of `firm-gen` under QMA, the edits of `firm-edit` under CME."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cli.making import make
from pipelines.config import load as load_run
from pipelines.shares import Share
from schemas.errors import InputError
from tests.servers.reward_server import serving
from tests.training import tiny_models
from tests.training.conftest import metrics, rl_config, sft_config
from training import checkpoint, rl, sft
from training.config import RLConfig
from training.data import reader_of
from training.examples import Example, example, targets_of

OFFLINE = {"provider": "offline"}
JUDGE: dict[str, Any] = {"models": {"judge": OFFLINE}, "world": "toyworld", "ledger": False}
SIDE = 64


def quiet(line: str) -> None:
    """Nobody listens."""


def labels(folder: Path, **tree: Any) -> str:
    path = folder / "labels.yaml"
    path.write_text(json.dumps({"seed": 7, "output": {"shard_samples": 10}, "ledger": str(folder / "ledger"), **tree}))
    out = str(folder / "out")
    make(load_run(str(path), []), str(path), out, Share(), 1, None, [], [])
    return out


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """20 prompts with two paintings each, judged in two ways: 80 rows."""
    models = dict.fromkeys(("painter", "planner", "judge"), OFFLINE)
    asked = {"prompts_file": "toyworld", "samples": 20, "paintings": 2, "quality": True}
    return labels(tmp_path_factory.mktemp("gen"), dataset="firm-gen", models=models, **asked)


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """20 pairs, each judged in two ways, with its own instruction and a wrong one: 80 rows."""
    models = dict.fromkeys(("describer", "rewriter", "judge"), OFFLINE)
    asked = {"pairs": "toyworld", "samples": 20, "rewrites": {"share": 1.0}}
    return labels(tmp_path_factory.mktemp("edit"), dataset="firm-edit", models=models, **asked)


def read(config: RLConfig, part: Any) -> list[Example]:
    reader = reader_of(config, part, side=SIDE, seed=None)
    return [example(one.sample) for one in reader.fetched(reader.rest)]


@pytest.mark.parametrize("data", ["prompts", "edits"])
def test_each_is_asked_once_and_evaluated_or_trained_on(
    data: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = rl_config(request.getfixturevalue(data), None, tmp_path)
    trained, held = read(config, "rl"), read(config, "test")
    asked = [(one.record["instruction"], *(image.numpy().tobytes() for image in one.prompt.images)) for one in trained]
    assert len(asked) > 2 and len(set(asked)) == len(asked)
    assert not {one.prompt.text for one in trained} & {one.prompt.text for one in held}
    assert all(one.target is None and not one.reasonings for one in [*trained, *held])
    with pytest.raises(InputError, match="has no target: give `data` an output of `plumbline realign`"):
        targets_of(trained)


def test_an_edit_is_asked_as_it_was_and_not_as_it_was_rewritten(edits: str, tmp_path: Path) -> None:
    config = rl_config(edits, None, tmp_path, held_out={"rl": 0.9, "test": 0.1})
    rows = {one.id: one.json for one in _samples(edits)}
    for one in [*read(config, "rl"), *read(config, "test")]:
        row = rows[one.prompt.id]
        assert one.record["instruction"] == row["original_instruction"] == row["instruction"]
        assert one.prompt.text == f"<image_1> {row['instruction']}" and len(one.prompt.images) == 1
        assert one.record["references"] == [{"role": "base"}]


def _samples(data: str) -> list[Any]:
    from shards.reader import Reader

    return list(Reader(data, form="bytes"))


def test_sd3_is_trained_on_prompts_by_qma(prompts: str, tmp_path: Path) -> None:
    weights = str(tiny_models.save_sd3(tmp_path))
    backbone = {"kind": "sd3", "weights": weights, "text_tokens": 32, "width": SIDE, "height": SIDE}
    with serving(reward={"kind": "qma"}, **JUDGE) as server:
        config = rl_config(
            prompts,
            None,
            tmp_path / "rl",
            backbone=backbone,
            reasons=False,
            reward=[{"kind": "qma", "url": server.url}],
            eval_samples=2,
        )
        rl.train(config, quiet)
    lines = metrics(config.out)
    updates = [line for line in lines if "reward_std" in line]
    assert len(updates) == 2 and all(line["unrewarded"] == 0 for line in updates)
    evaluated = [line for line in lines if "eval_reward" in line]
    assert [line["step"] for line in evaluated] == [0, 2]
    assert not any("pixel_mse" in line or "eval_truth" in line for line in evaluated), "there is no target"
    assert checkpoint.load_init(config.out)["step"] == 2


def test_edits_are_trained_on_by_cme_and_go_on(edits: str, sft_run: str, tmp_path: Path) -> None:
    with serving(reward={"kind": "cme"}, **JUDGE) as server:
        config = rl_config(
            edits, sft_run, tmp_path / "rl", reasons=False, reward=[{"kind": "cme", "url": server.url}], steps=1
        )
        rl.train(config, quiet)
        rl.train(config.model_copy(update={"steps": 2}), quiet)
        whole = config.model_copy(update={"steps": 2, "out": str(tmp_path / "whole")})
        rl.train(whole, quiet)
    one, other = (checkpoint.load_init(run.out)["weights"] for run in (config, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)
    updates = [line for line in metrics(config.out) if "reward_std" in line]
    assert [(line["unrewarded"], round(line["distinct_reasonings"], 3)) for line in updates] == [(0, 0.333)] * 2
    grid = Image.open(tmp_path / "rl" / "grids" / "step-00000002.png")
    assert grid.height == 3 * 2 * (16 + 2), "the source, an empty row, what was drawn"


@pytest.mark.parametrize(("data", "name"), [("prompts", "firm-gen"), ("edits", "firm-edit")])
def test_labels_teach_no_reasoning(data: str, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    line = f"is an output of '{name}', which has no reasonings; give one of `plumbline realign`"
    with pytest.raises(InputError, match=line):
        sft.train(sft_config(request.getfixturevalue(data), tmp_path / "sft"), quiet)


@pytest.mark.parametrize("choice", [{"tasks": ["replace"]}, {"max_references": 2}])
def test_labels_have_no_tasks_to_choose_from(
    choice: dict[str, Any], prompts: str, sft_run: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"tasks, max_references: .* 'firm-gen', which has neither; unset them"):
        rl.train(rl_config(prompts, sft_run, tmp_path / "rl", **choice), quiet)


def test_labels_need_a_critic_that_sees(prompts: str, sft_run: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="qma without a url reads the drawn world alone"):
        rl.train(rl_config(prompts, sft_run, tmp_path / "rl"), quiet)


@pytest.mark.parametrize("change", [{"reward": [{"kind": "clip_surrogate"}]}, {"policy": "both"}])
def test_what_goes_by_words_needs_some(change: dict[str, Any], prompts: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reasons: false goes with policy: image and with critics"):
        rl_config(prompts, None, tmp_path / "rl", reasons=False, **change)
