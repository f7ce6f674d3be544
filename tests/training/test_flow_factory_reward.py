"""examples/flow_factory_reward.py against the real reward server, with Flow-Factory's base class stood in for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluation.reward_server.serving import load
from tests.servers.reward_server import serving
from toyworld.render import render
from toyworld.world import Picture, Thing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example with what it takes of Flow-Factory: `BaseRewardModel.__init__` keeps its configuration."""

    class GroupwiseRewardModel:
        def __init__(self, config: Any, accelerator: Any) -> None:
            self.config = config

    package, rewards = ModuleType("flow_factory"), ModuleType("flow_factory.rewards")
    rewards.GroupwiseRewardModel = GroupwiseRewardModel  # type: ignore[attr-defined]
    rewards.RewardModelOutput = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flow_factory", package)
    monkeypatch.setitem(sys.modules, "flow_factory.rewards", rewards)
    spec = importlib.util.spec_from_file_location("flow_factory_reward", ROOT / "examples" / "flow_factory_reward.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def star(colour: str) -> Any:
    return render(Picture((Thing("star", colour, "big", "middle", 1),), "grass", "clear", 1))


def test_a_group_gets_the_servers_rewards(example: ModuleType) -> None:
    settings = ["models.judge={provider: offline}", "world=toyworld", "ledger=false", "port=0"]
    config = load(str(ROOT / "configs" / "rewards.yaml"), settings).model_dump(exclude_unset=True)
    with serving(**config) as server:
        reward = example.EditReward(SimpleNamespace(extra_kwargs={"server_url": server.url}), None)
        edits = [star("blue"), star("red"), star("green")]
        got = reward(prompt=["Make the star blue."] * 3, image=edits, condition_images=[[star("red")]] * 3)
    assert np.allclose(got.rewards, [1, 0, 0.225])
    assert got.rewards.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "wanted"), [([1.0, np.nan, 0.5], [1.0, 0.75, 0.5]), ([np.nan, np.nan], [0.0, 0.0]), ([0.2], [0.2])]
)
def test_what_could_not_be_scored_is_no_advantage(example: ModuleType, given: list[float], wanted: list[float]) -> None:
    reward = example.ImageReward(SimpleNamespace(extra_kwargs={"server_url": "http://127.0.0.1:1"}), None)
    reward.client = SimpleNamespace(generated=lambda images, prompts: SimpleNamespace(rewards=np.array(given)))
    got = reward(prompt=["a star"] * len(given), image=[star("red")] * len(given)).rewards
    assert np.allclose(got, wanted)
