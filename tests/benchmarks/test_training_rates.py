"""The trainer's rates: which record they are read from, and a reward that needs no caption."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.gains import gains
from benchmarks.training import OneCaption, row, shipped
from training.config import RLConfig, SFTConfig
from training.rewarding import Rollouts


def test_a_rate_is_of_the_second_half_and_of_no_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SimpleNamespace(trained=lambda policy: [("a", torch.zeros(3, 5))])
    monkeypatch.setattr("benchmarks.training.running.open_backbone", lambda config, texts: one)
    lines = (
        {"step": 5, "steps_per_cpu_s": 1.0, "waiting": 0.5},
        {"step": 10, "steps_per_cpu_s": 2.0, "waiting": 0.01},
        {"step": 10, "eval_truth": 0.5},
    )
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = shipped("toy-rl", {"data": "d", "init": "sft"}, RLConfig, tmp_path)
    waiting = {"waiting for data at first, %": 50.0, "then, %": 1.0}
    found = row("RL", config)
    assert found == {"what": "RL", "batch": "5 x 10", "parameters": 15, "steps a CPU second": 2.0, **waiting}
    assert row("SFT", shipped("toy", {"data": "d", "batch": 48}, SFTConfig, tmp_path))["batch"] == 48


def test_images_whose_reasonings_have_no_caption_are_scored_all_the_same() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = OneCaption()(Rollouts([], ["cut"] * 3, images))
    assert scores.shape == (3,) and np.isfinite(scores).all() and len(set(scores.tolist())) == 3


def test_gains_are_paired_by_sample_and_of_the_first_evaluation() -> None:
    before = [0.1, 0.5, 0.9, 0.3]
    lines = [
        {"step": 0, "each": {"truth": before}},
        {"step": 5, "reward": 1.0},
        {"step": 10, "each": {"truth": [value + 0.25 for value in before]}},
    ]
    first, last = gains(lines)
    assert str(first["truth"]).startswith("0.4500 (") and last == {"update": 10, "truth": "0.2500 (0.2500 to 0.2500)"}
    with pytest.raises(SystemExit, match="less than twice"):
        gains(lines[:2])
