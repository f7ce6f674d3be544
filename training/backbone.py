"""The interface that every backbone has: encode the context, give a velocity, reason, decode.

SFT and RL know nothing else of a model. Latents may be pixels (the toy) or a VAE's; `x_t = (1 - t) x_0 + t ε` with
t from 0 (data) to 1 (noise), and the velocity is `ε - x_0` (Re-Align's L_img; BAGEL's convention).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Policy = Literal["image", "text", "both"]


@dataclass(frozen=True)
class Prompt:
    """What the model is given, before it reasons.

    Attributes:
        id: of the sample; the rollouts of one prompt are a group.
        text: the interleaved prompt of the sample (`<image_1> <image_2> Put ...`).
        images: the references in order, each uint8 [3, H, W], RGB.
    """

    id: str
    text: str
    images: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Context:
    """Prompts and their reasonings, encoded once and read by every step of the flow.

    Attributes:
        state: the backbone's own; whatever `velocity` reads.
        logp: [B, T] log-probability of each token of the reasonings, with gradient; None where the backbone does not
            train its text.
        tokens: [B, T] booleans, True where there is a token; None as `logp`.
    """

    state: Any
    logp: Tensor | None = None
    tokens: Tensor | None = None


class Backbone(Protocol):
    """A generator that reasons in text and draws by rectified flow."""

    latent_shape: tuple[int, ...]
    """Of one latent, without the batch."""

    def encode(self, prompts: Sequence[Prompt], reasonings: Sequence[str]) -> Context:
        """Prompts with their IC-CoT; an empty reasoning is a prompt without one."""

    def velocity(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """ε - x_0 as the model sees it; x: [B, *latent_shape], t: [B] in (0, 1]."""

    def reason(self, prompts: Sequence[Prompt], *, temperature: float, generator: torch.Generator) -> list[str]:
        """An IC-CoT for each prompt, sampled at `temperature`, greedily at 0."""

    def decode(self, x: Tensor) -> Tensor:
        """Images of latents: [B, 3, H, W], float, 0 to 1."""

    def latents(self, images: Sequence[Tensor]) -> Tensor:
        """The inverse of `decode`, which SFT needs for its targets; images: uint8 [3, H, W] each."""

    def trained(self, policy: Policy) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The parameters that a policy moves, by name: those that draw, those that write, or both."""

    def saved(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the weights: all of a small model, the adapters of a large one."""

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take what `saved` gave.

        Raises:
            InputError: weights of another configuration.
        """
