"""The trainer's rates: which record they are read from, and a reward that needs no caption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.training import OneCaption, row, shipped
from training.config import RLConfig, SFTConfig
from training.rewarding import Rollouts


def test_a_rate_is_of_the_last_steps_and_of_no_evaluation(tmp_path: Path) -> None:
    lines = (
        {"step": 5, "steps_per_cpu_s": 1.0, "waiting": 0.5},
        {"step": 10, "steps_per_cpu_s": 2.0, "waiting": 0.01},
        {"step": 10, "eval_truth": 0.5},
    )
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = shipped("toy-rl", {"data": "d", "init": "sft"}, RLConfig, tmp_path)
    found = row("RL", config)
    assert found == {"what": "RL", "batch": "5 x 10", "steps a CPU second": 2.0, "waiting for data, %": 1.0}
    assert row("SFT", shipped("toy", {"data": "d", "batch": 48}, SFTConfig, tmp_path))["batch"] == 48


def test_images_whose_reasonings_have_no_caption_are_scored_all_the_same() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = OneCaption()(Rollouts([], ["cut"] * 3, images))
    assert scores.shape == (3,) and np.isfinite(scores).all() and len(set(scores.tolist())) == 3
