"""RL on what FIRM's pipelines asked for: the prompts of `firm-gen` under QMA, the edits of `firm-edit` under CME."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cli.making import make
from pipelines.config import load as load_run
from pipelines.shares import Share
from schemas.errors import InputError
from shards.reader import Reader
from tests.servers.reward_server import serving
from tests.training import tiny_models
from tests.training.conftest import metrics, rl_config, sft_config
from training import checkpoint, parts, rl, sft
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
    rows = {one.id: one.json for one in Reader(edits, form="bytes")}
    for one in [*read(config, "rl"), *read(config, "test")]:
        row = rows[one.prompt.id]
        assert one.record["instruction"] == row["original_instruction"] == row["instruction"]
        assert one.prompt.text == f"<image_1> {row['instruction']}" and len(one.prompt.images) == 1
        assert one.record["references"] == [{"role": "base"}]


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
        written = metrics(whole.out)
        rl.train(whole, quiet)
    assert metrics(whole.out) == written, "nothing is evaluated twice"
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


@pytest.mark.parametrize(
    ("reward", "line"),
    [
        ({"kind": "qma"}, r"qma without a url reads targets, and .* \(firm-gen\) has none; begin `plumbline serve"),
        (
            {"kind": "cme", "url": "http://127.0.0.1:9"},
            r"cme judges edits, and .* holds prompts \(firm-gen\); take qma",
        ),
    ],
)
def test_labels_need_a_critic_that_sees(
    reward: dict[str, Any], line: str, prompts: str, sft_run: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=line):
        rl.train(rl_config(prompts, sft_run, tmp_path / "rl", reward=[reward]), quiet)
    assert not (tmp_path / "rl").exists()


def test_an_instruction_places_no_images(edits: str) -> None:
    one = next(iter(Reader(edits, form="numpy")))
    record = {**one.json, "instruction": "Swap <image_1> and <image_2>."}
    assert example(replace(one, json=record)).prompt.text == "<image_1> Swap (image 1) and (image 2)."


@pytest.mark.parametrize("dataset", ["firm-gen", "firm-edit"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_counts_as_the_same_is_in_one_part_whatever_its_rows(dataset: str, data: st.DataObject) -> None:
    """Rows of one request have ids of their own, texts that differ in case and space, and may be left out."""
    ids = st.text("0123456789abcdef", min_size=8, max_size=8)
    row = st.fixed_dictionaries(
        {"id": ids, "what": st.integers(0, 9), "loud": st.booleans(), "rewrite": st.sampled_from(["", "opposite"])}
    )
    told = data.draw(st.lists(row, min_size=30, max_size=60, unique_by=lambda one: one["id"]))
    rows = [_row(dataset, **one) for one in told]
    some = [one for one in rows if data.draw(st.booleans())]
    whole, less = (_parts_of(dataset, each) for each in (rows, some))
    assert not whole["rl"].keys() & whole["test"].keys()
    assert not less["rl"].keys() & whole["test"].keys(), "a selection holds out what the whole holds out"
    asked = {one["what"] for one in rows if dataset == "firm-gen" or not one["rewrite"]}
    assert whole["rl"].keys() | whole["test"].keys() == asked
    assert all(len(found) == 1 for part in whole.values() for found in part.values())


def _row(dataset: str, *, id: str, what: int, loud: bool, rewrite: str) -> dict[str, Any]:
    text = f"Thing  {what}" if loud else f"thing {what}"
    row = {"id": id, "what": what, "split": "train", "instruction": text, "subjects": [f"thing {what}", id]}
    return row if dataset == "firm-gen" else {**row, "subjects": [f"digest-{what}", id], "rewrite": rewrite}


def _parts_of(dataset: str, rows: list[dict[str, Any]]) -> dict[str, dict[int, list[str]]]:
    """Ids of each request, by part."""
    config = RLConfig(data="labels", out="o", steps=1, held_out={"test": 0.5})  # type: ignore[arg-type]
    which: dict[str, dict[int, list[str]]] = {}
    with (
        mock.patch.object(parts, "_rows", lambda *_: rows),
        mock.patch.object(parts, "read_run", lambda _: ("", {"dataset": dataset, "shards": {"train": 1}})),
    ):
        for part in ("rl", "test"):
            which[part] = {}
            try:
                _, ids = parts.part_of(config, part)  # type: ignore[arg-type]
            except InputError:
                continue  # too few
            for one in rows:
                if one["id"] in (ids or ()):
                    which[part].setdefault(one["what"], []).append(one["id"])
    return which


@pytest.mark.parametrize("change", [{"reward": [{"kind": "clip_surrogate"}]}, {"policy": "both"}])
def test_what_goes_by_words_needs_some(change: dict[str, Any], prompts: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reasons: false goes with policy: image and with critics"):
        rl_config(prompts, None, tmp_path / "rl", reasons=False, **change)
