"""What ablations measure, of drawers whose worth is known: one draws the target, one gives its input back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.ablations import measuring
from tests.training.conftest import sft_config
from training.backbone import Context, Policy, Prompt
from training.config import SFTConfig
from training.evaluating import held_out_set
from training.examples import Example, targets_of

SIDE = 64


class Known:
    """A backbone that draws, of each prompt, what it is told, and says in turn what it is told."""

    latent_shape = (3, SIDE, SIDE)

    def __init__(self, images: dict[str, Tensor], reasonings: dict[str, Sequence[str]]) -> None:
        self.images, self.reasonings = images, reasonings

    def encode(self, prompts: Sequence[Prompt], reasonings: Sequence[str]) -> Context:
        return Context(self.latents([self.images[one.id] for one in prompts]))

    def velocity(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        return (x - context.state) / t[:, None, None, None]  # type: ignore[no-any-return]

    def reason(self, prompts: Sequence[Prompt], *, temperature: float, generator: torch.Generator) -> list[str]:
        said = (self.reasonings[one.id] for one in prompts)
        return [texts[number % len(texts)] for number, texts in enumerate(said)]

    def decode(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def latents(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.nn.functional.interpolate(one[None] / 255, (SIDE, SIDE))[0] for one in images])

    def trained(self, policy: Policy) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield "none", torch.nn.Parameter(torch.zeros(1))

    def saved(self) -> dict[str, Tensor]:
        return {}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """There are none."""


@pytest.fixture
def config(toy_data: str, tmp_path: Path) -> SFTConfig:
    held = {
        "held_out": {"rl": 0.1, "test": 0.6},
        "eval_samples": 40,
        "eval_steps": 2,
        "tasks": ["replace", "attribute"],
    }
    return sft_config(toy_data, tmp_path, backbone={"kind": "toy", "side": SIDE}, **held)


@pytest.fixture
def examples(config: SFTConfig) -> tuple[Example, ...]:
    return held_out_set(config, SIDE).examples


def drawer(examples: Sequence[Example], *, edits: bool) -> Known:
    shown = targets_of(examples) if edits else [one.prompt.images[0] for one in examples]
    images = {one.prompt.id: image for one, image in zip(examples, shown, strict=True)}
    return Known(images, {one.prompt.id: one.reasonings for one in examples})


def test_edits_that_are_the_target_score_full_marks_and_copies_are_seen(
    config: SFTConfig, examples: tuple[Example, ...]
) -> None:
    edited = measuring.edits(drawer(examples, edits=True), config)
    copied = measuring.edits(drawer(examples, edits=False), config)
    assert len(edited["execution"]) >= 3
    for name in ("execution", "consistency"):
        assert sum(edited[name]) / len(edited[name]) > 4.5, edited
    assert set(edited["copied"]) == {0.0} and set(copied["copied"]) == {1.0}
    assert max(copied["execution"]) < 4 and max(copied["changed"]) < min(edited["changed"])


def test_following_is_full_for_the_target_and_not_for_the_input(
    config: SFTConfig, examples: tuple[Example, ...]
) -> None:
    meant = measuring.generation(drawer(examples, edits=True), config)
    other = measuring.generation(drawer(examples, edits=False), config)
    assert max(meant["pixel_mse"]) < 1e-6 < min(other["pixel_mse"])
    assert sum(meant["following"]) / len(meant["following"]) > 4.5 > sum(other["following"]) / len(other["following"])
    assert all(1 <= value <= 5 for value in meant["quality"])


def test_reasonings_that_differ_are_counted_and_held_to_the_truth(
    config: SFTConfig, examples: tuple[Example, ...]
) -> None:
    found = measuring.diversity(drawer(examples, edits=True), config, 1.0, 4, 3)
    assert found["true"] == 1.0 and 0.25 < found["distinct"] <= 0.5, "each sample has two reasonings"
