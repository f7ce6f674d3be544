"""Rewards for Flow-Factory, given by `plumbline serve rewards`: FIRM's CME for edits, QMA for images from text.

Name a class in Flow-Factory's configuration by its Python path, with this file's folder and Plumbline's on PYTHONPATH
(its client needs the standard library and NumPy alone):

    rewards:
      - {name: cme, reward_model: flow_factory_reward.EditReward, server_url: "http://judge:8100", weight: 1}

A group is asked for at once. What the server could not score is null there and must not be learnt from: Flow-Factory
takes means over a group without masking, so such a rollout gets the mean of its group, which is no advantage at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from flow_factory.rewards import GroupwiseRewardModel, RewardModelOutput

from rewards.client import RewardClient


class EditReward(GroupwiseRewardModel):  # type: ignore[misc]
    """CME: the edit against its source, which is the first condition image, and its instruction."""

    required_fields = ("prompt", "image", "condition_images")

    def __init__(self, config: Any, accelerator: Any) -> None:
        super().__init__(config, accelerator)
        self.client = _client(config, "cme")

    def __call__(
        self, prompt: Sequence[str], image: Sequence[Any], condition_images: Sequence[Any], **others: Any
    ) -> Any:
        sources = [given[0] if isinstance(given, (list, tuple)) else given for given in condition_images]
        return _output(self.client.edits(sources, image, prompt).rewards)


class ImageReward(GroupwiseRewardModel):  # type: ignore[misc]
    """QMA: the image against its prompt."""

    required_fields = ("prompt", "image")

    def __init__(self, config: Any, accelerator: Any) -> None:
        super().__init__(config, accelerator)
        self.client = _client(config, "qma")

    def __call__(self, prompt: Sequence[str], image: Sequence[Any], **others: Any) -> Any:
        return _output(self.client.generated(image, prompt).rewards)


def _client(config: Any, reward: str) -> RewardClient:
    """Keys that Flow-Factory does not know reach `extra_kwargs`; the token's variable is named, never the token."""
    token_env = config.extra_kwargs.get("token_env")
    token = os.environ[token_env] if token_env else None
    return RewardClient(config.extra_kwargs["server_url"], reward=reward, token=token)


def _output(rewards: Any) -> Any:
    """NaN becomes the group's mean, and 0 where no rollout of the group has a reward."""
    mean = np.nanmean(rewards) if np.isfinite(rewards).any() else 0.0
    return RewardModelOutput(rewards=np.where(np.isnan(rewards), mean, rewards).astype(np.float32))
