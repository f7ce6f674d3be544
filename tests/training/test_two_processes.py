"""Both stages in two processes under torchrun, which meet by gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import InputError
from tests.training.conftest import metrics, rl_config, sft_config
from training import checkpoint, rl, sft
from training.config import Run

ROOT = Path(__file__).parents[2]


def quiet(line: str) -> None:
    """Nobody listens."""


def by_two(stage: str, config: Run, folder: Path) -> None:
    path = folder / "train.yaml"
    path.write_text(config.model_dump_json())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [*torchrun, "-m", "cli.main", "train", stage, str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_sft(toy_data: str, tmp_path: Path) -> None:
    by_two("sft", sft_config(toy_data, tmp_path / "two", steps=3, evaluate=3, save=3), tmp_path)
    assert [line["step"] for line in metrics(tmp_path / "two")] == [1, 2, 3, 3], "one of them writes"
    assert checkpoint.load_init(str(tmp_path / "two"))["weights"]
    with pytest.raises(InputError, match=r"was made with processes = 2, not 1"):
        sft.train(sft_config(toy_data, tmp_path / "two", steps=6), quiet)


def test_rl(toy_data: str, sft_run: str, tmp_path: Path) -> None:
    """One of them writes, and the rollouts of both are trained on."""
    config = rl_config(toy_data, sft_run, tmp_path / "two", steps=2, batch=2, std="global")
    by_two("rl", config, tmp_path)
    lines = [line for line in metrics(config.out) if "reward" in line]
    assert [line["step"] for line in lines] == [1, 2] and all(line["trained_share"] > 0 for line in lines)
    with pytest.raises(InputError, match=r"was made with processes = 2, not 1"):
        rl.train(config.model_copy(update={"steps": 3}), quiet)
