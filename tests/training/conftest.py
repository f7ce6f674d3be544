"""A small drawn output, and a run of SFT on it, that the trainers' tests share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cli.making import make
from pipelines.config import load as load_run
from pipelines.shares import Share
from training.config import RLConfig, SFTConfig
from training.sft import train

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "backbone": {
        "kind": "toy",
        "side": 16,
        "patch": 4,
        "reference_patch": 8,
        "width": 32,
        "layers": 1,
        "heads": 2,
        "longest": 220,
        "reasoning": 100,
    },
    "held_out": {"rl": 0.3, "test": 0.2},
    "threads": 1,
    "eval_samples": 4,
    "eval_steps": 2,
    "log": 1,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of so small a model only wait for each other."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def made(folder: Path, **more: Any) -> str:
    """A drawn Re-Align output without filters."""
    tree = {
        "dataset": "realign",
        "samples": 40,
        "seed": 7,
        "pool": "toyworld",
        "reasonings": 2,
        "models": {role: {"provider": "offline"} for role in ("writer", "reasoner", "painter")},
        "output": {"shard_samples": 10},
        "ledger": str(folder / "ledger"),
        **more,
    }
    path = folder / "toy.yaml"
    path.write_text(json.dumps(tree))
    out = str(folder / "out")
    make(load_run(str(path), []), str(path), out, Share(), 1, None, [], [])
    return out


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("toy"))


def sft_config(data: str, out: Path, **more: Any) -> SFTConfig:
    tree = {
        "data": data,
        "out": str(out),
        "steps": 4,
        "batch": 4,
        "evaluate": 2,
        "save": 2,
        "keep_decoded": True,
        **TINY,
    }
    return SFTConfig.model_validate({**tree, **more})


def rl_config(data: str, init: str | None, out: Path, **more: Any) -> RLConfig:
    tree: dict[str, Any] = {
        "data": data,
        "init": init,
        "out": str(out),
        "steps": 2,
        "batch": 2,
        "group": 3,
        "evaluate": 2,
        "save": 1,
    }
    # A few steps teach no IC-CoT that parses, so the surrogate would have no caption to look at.
    tree["reward"] = [{"kind": "qma"}]
    optimiser = {"lr": 1e-3, "warmup": 0, "cosine": False, "ema": 0}
    return RLConfig.model_validate({**tree, **TINY, "rollout_steps": 3, "optimiser": optimiser, **more})


@pytest.fixture(scope="session")
def sft_run(toy_data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of a few steps, to begin RL with."""
    out = tmp_path_factory.mktemp("sft") / "out"
    train(sft_config(toy_data, out), lambda line: None)
    return str(out)


def metrics(out: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]
