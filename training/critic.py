"""FIRM's reward model: supervised fine-tuning of a vision-language model on student rows (arXiv 2603.12247, 4.1)."""

from __future__ import annotations

from collections.abc import Callable

from training.critic_config import CriticConfig


def train(config: CriticConfig, say: Callable[[str], None]) -> None:
    """Train, and leave a transformers folder in `config.out`."""
    raise NotImplementedError
