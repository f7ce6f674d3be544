"""The optimiser, its learning rate over the steps, and weights that are averaged or exchanged for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from training.config import Optimiser
from training.processes import Processes

Named = Sequence[tuple[str, Parameter]]


class Stepper:
    """Steps of an optimiser over some parameters.

    Args:
        named: the parameters that are trained.
        steps: of the whole run, for the cosine.
    """

    def __init__(self, named: Named, config: Optimiser, steps: int) -> None:
        self.named, self.config, self.steps = list(named), config, steps
        self.parameters = [one for _, one in self.named]
        self._adamw = torch.optim.AdamW(
            self.parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )

    def step(self, loss: Tensor, step: int, processes: Processes) -> float:
        """One update by the gradient of `loss`; gives the norm that the gradient had."""
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        processes.average_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self._adamw.param_groups[0]["lr"] = self.config.lr * learning_rate_share(step, self.steps, self.config)
        self._adamw.step()
        return float(norm)

    def state_dict(self) -> dict[str, Any]:
        return self._adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adamw.load_state_dict(state)


def learning_rate_share(step: int, steps: int, config: Optimiser) -> float:
    """Of the highest learning rate at a step, counted from 0: a linear rise, then half a cosine down to a fiftieth."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if not config.cosine:
        return rise
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


class Weights:
    """Values of the trained parameters beside those in the model: a moving average, an old policy, the beginning."""

    def __init__(self, named: Named) -> None:
        self._parameters = [one for _, one in named]
        self.values = [one.detach().clone() for one in self._parameters]

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move towards the model: decay · here + (1 - decay) · there."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    def trail(self, decay: float, step: int) -> None:
        """Follow as a moving average that is still short in the first steps, which are counted from 1."""
        self.follow(min(decay, step / (step + 9)))

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has these values for a while, and its own again afterwards."""
        own = [one.data for one in self._parameters]
        for parameter, value in zip(self._parameters, self.values, strict=True):
            parameter.data = value
        try:
            yield
        finally:
            for parameter, data in zip(self._parameters, own, strict=True):
                parameter.data = data

    def state_dict(self) -> list[Tensor]:
        return self.values

    def load_state_dict(self, state: Sequence[Tensor]) -> None:
        for value, kept in zip(self.values, state, strict=True):
            value.copy_(kept)
