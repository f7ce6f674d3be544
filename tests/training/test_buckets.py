"""Training where data, checkpoints and metrics are in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from storage import paths
from tests.servers.buckets import Bucket
from tests.training.conftest import rl_config, sft_config
from training import checkpoint, rl, sft


def quiet(line: str) -> None:
    """Nobody listens."""


def test_both_stages_in_a_bucket_go_on_to_the_weights_of_a_folder(
    toy_data: str, sft_run: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    there = bucket.location.rpartition("/")[0]
    for name in paths.list_files(toy_data):
        paths.copy_atomic(paths.join(toy_data, name), paths.join(f"{there}/data", name))
    config = sft_config(f"{there}/data", Path("unused")).model_copy(update={"out": f"{there}/sft"})
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr("training.sft.evaluate", killed)
        sft.train(config, quiet)
    sft.train(config, quiet)
    ended, local = (checkpoint.load_init(one)["weights"] for one in (config.out, sft_run))
    assert all(torch.equal(ended[name], one) for name, one in local.items())
    updates = rl_config(config.data, config.out, Path("unused"), steps=1).model_copy(update={"out": f"{there}/rl"})
    rl.train(updates, quiet)
    found = set(paths.list_files(updates.out))
    assert {"config.json", "metrics.jsonl", "checkpoints/step-00000001.pt", "grids/step-00000001.png"} <= found
