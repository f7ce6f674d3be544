"""The trainer's own steps on real backbones: one of SFT on both, updates of RL with reference images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from storage.configs import load
from tests.training import tiny_models
from tests.training.conftest import metrics, rl_config, sft_config
from tests.training.tiny_models import pixels
from toyworld.render import render
from toyworld.world import Picture, Thing
from training import checkpoint, rl, sft
from training.backbone import Backbone, Policy, Prompt
from training.backbones import qwen_image_edit, sd3
from training.backbones.lora import LoRAConfig
from training.config import Optimiser, RLConfig, RLOptimiser, SFTConfig
from training.examples import Example
from training.optimising import Stepper, Weights
from training.processes import joined
from training.rl import Group, Policies, rl_loss, rollouts, weighed
from training.sft import sft_losses


def quiet(line: str) -> None:
    """Nobody listens."""


ICCOT = "<out_caption>A blue star on grass.</out_caption><relation_1>The grass is from image_1.</relation_1>"
STAGE_1 = SFTConfig(data="d", out="o", steps=1)
SMALL: dict[str, Any] = {"width": 32, "height": 32}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def qwen_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_qwen_image_edit(tmp_path_factory.mktemp("qwen"))


def qwen(weights: Path, **changes: Any) -> qwen_image_edit.QwenImageEdit:
    settings = {**SMALL, "reference_side": 32, "condition_side": 64, "reasoning_tokens": 12, **changes}
    config = qwen_image_edit.QwenImageEditConfig(
        weights=str(weights), lora=LoRAConfig(rank=16, alpha=64), text_lora=LoRAConfig(rank=16, alpha=64), **settings
    )
    return qwen_image_edit.open_backbone(config)


def star(colour: str) -> Tensor:
    return pixels(render(Picture((Thing("star", colour, "big", "middle", 1),), "grass", "clear", 1), 64))


def example(number: int, references: int) -> Example:
    images = tuple(star(colour) for colour in ("red", "yellow")[:references])
    placeholders = "".join(f"<image_{i}> " for i, _ in enumerate(images, 1))
    asked = Prompt(f"sample-{number}", f"{placeholders}Make the star blue.", images)
    return Example(asked, (ICCOT if references else "",), star("blue"), {"instruction": "Make the star blue."})


def trained(backbone: Backbone, policy: Policy) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in backbone.trained(policy)}


def test_a_step_of_sft_moves_what_draws_and_what_writes(qwen_weights: Path) -> None:
    backbone = qwen(qwen_weights)
    batch = [example(1, 1), example(2, 2), example(3, 1)]
    generator = torch.Generator().manual_seed(0)
    before = trained(backbone, "both")
    with joined() as processes:
        stepper = Stepper(list(backbone.trained("both")), Optimiser(lr=1e-3, warmup=0), 1)
        ce, mse = sft_losses(backbone, batch, [ICCOT, "", ICCOT], generator, STAGE_1)
        assert ce > 1 and mse > 0.1
        assert stepper.step(ce + mse, 0, processes) > 0
    after = trained(backbone, "both")
    for part in ("transformer.", "text_encoder."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part


def test_a_step_of_sft_on_sd3(tmp_path: Path) -> None:
    config = sd3.SD3Config(weights=str(tiny_models.save_sd3(tmp_path)), text_tokens=32, **SMALL)
    backbone = sd3.open_backbone(config)
    before = trained(backbone, "image")
    with joined() as processes:
        stepper = Stepper(list(backbone.trained("image")), Optimiser(lr=1e-3, warmup=0), 1)
        ce, mse = sft_losses(
            backbone, [example(1, 0), example(2, 0)], ["", ""], torch.Generator().manual_seed(0), STAGE_1
        )
        assert ce == 0 and mse > 0.1
        stepper.step(ce + mse, 0, processes)
    assert any(not torch.equal(value, before[name]) for name, value in trained(backbone, "image").items())


class Update:
    """Updates of RL with a reward that any image has: how blue it is."""

    def __init__(self, backbone: Backbone, **changes: Any) -> None:
        optimiser = RLOptimiser(lr=2e-2, weight_decay=0.01)
        settings = {"group": 6, "rollout_steps": 3, "kl": 0.0, "informative": False, **changes}
        self.config = RLConfig(data="", out="", steps=1, optimiser=optimiser, **settings)
        self.backbone = backbone
        named = list(backbone.trained(self.config.policy))
        self.stepper = Stepper(named, optimiser, 99)
        self.policies = Policies(backbone, Weights(named), Weights(named))
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, batch: list[Example]) -> tuple[Group, float]:
        group = rollouts(self.policies, batch, self.config, self.generator)
        images = self.backbone.decode(group.x)
        rewards = (images[:, 2] - images[:, 0]).mean((1, 2)).numpy()
        advantages, weights, _ = weighed(rewards, self.config)
        with joined() as processes:
            loss = rl_loss(self.policies, group, advantages, weights, self.config, self.generator)
            assert torch.isfinite(loss) and self.stepper.step(loss, 0, processes) > 0
        self.policies.old.follow(0.0)
        return group, float(np.mean(rewards))


@pytest.mark.parametrize("algo", ["nft", "flow_grpo"])
def test_an_update_of_both_policies_with_references(qwen_weights: Path, algo: str) -> None:
    backbone = qwen(qwen_weights)
    before = trained(backbone, "both")
    update = Update(backbone, policy="both", algo=algo, rid=True)
    batch = [example(1, 1), example(2, 2)]
    group, _ = update(batch)
    assert group.x.shape == (12, *backbone.latent_shape)
    assert len(set(group.reasonings[:6])) > 1, "each rollout reasons for itself"
    after = trained(backbone, "both")
    for part in ("transformer.", "text_encoder."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part


def test_updates_raise_the_reward(qwen_weights: Path) -> None:
    update = Update(qwen(qwen_weights), policy="image", algo="nft", rid=False)
    rewards = [update([example(1, 1)])[1] for _ in range(12)]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.005, rewards


def test_both_stages_train_by_reference_images_and_go_on(qwen_weights: Path, toy_data: str, tmp_path: Path) -> None:
    """As `plumbline train` does it: batches from shards, evaluation, checkpoints; each stage goes on where it ended."""
    rank = {"rank": 4}
    backbone = {"kind": "qwen_image_edit", "weights": str(qwen_weights), "lora": rank, "text_lora": rank, **SMALL}
    backbone |= {"reference_side": 32, "condition_side": 64, "reasoning_tokens": 12}
    shared = {"backbone": backbone, "eval_samples": 2, "eval_steps": 2, "save": 1, "steps": 1}
    config = sft_config(toy_data, tmp_path / "sft", batch=2, **shared)
    sft.train(config, quiet)
    sft.train(config.model_copy(update={"steps": 2}), quiet)
    learned = checkpoint.load_init(config.out)
    assert learned["step"] == 2 and all(".lora_" in name for name in learned["weights"])
    rewarded = {"batch": 1, "group": 2, "rollout_steps": 2, "policy": "both", **shared}
    config_rl = rl_config(toy_data, config.out, tmp_path / "rl", **rewarded)
    rl.train(config_rl, quiet)
    rl.train(config_rl.model_copy(update={"steps": 2}), quiet)
    ended = checkpoint.load_init(config_rl.out)
    assert ended["step"] == 2 and any(
        not torch.equal(ended["weights"][name], one) for name, one in learned["weights"].items()
    )
    lines = metrics(config_rl.out)
    assert [line["step"] for line in lines if "eval_truth" in line] == [0, 1, 2]
    assert (tmp_path / "rl/grids/step-00000002.png").exists()


def test_rl_with_qma_on_sd3(toy_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blue(_: Any, images: Any) -> Any:  # a critic that tells images of random weights apart
        return 1 + 4 * images[..., 2].mean((1, 2)) / 255, np.full(len(images), 3.0)

    monkeypatch.setattr("training.rewarding.drawn_generation_scores", blue)
    weights = str(tiny_models.save_sd3(tmp_path))
    backbone = {"kind": "sd3", "weights": weights, "text_tokens": 32, "references": "ignore", **SMALL}
    shared = {"backbone": backbone, "eval_samples": 2, "eval_steps": 2, "steps": 2, "batch": 2, "group": 3}
    config = rl_config(toy_data, None, tmp_path / "rl", **shared)
    rl.train(config, quiet)
    ended = checkpoint.load_init(config.out)["weights"]
    assert any(bool(one.any()) for name, one in ended.items() if ".lora_B." in name), "LoRA is off at first"
    updates = [line for line in metrics(config.out) if "reward_std" in line]
    assert len(updates) == 2 and all(line["unrewarded"] == 0 for line in updates)


def test_the_pages_example_holds(qwen_weights: Path) -> None:
    """docs/backbones.md, "From Python", with the tiny folder in the place of the name and its sizes."""
    page = Path(__file__).resolve().parents[2] / "docs" / "backbones.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    name = 'weights="Qwen/Qwen-Image-Edit-2509"'
    assert block.count(name) == 1 and "assert " in block
    tiny = f'weights="{qwen_weights}", width=32, height=32, reference_side=32, condition_side=64, reasoning_tokens=12'
    exec(compile(block.replace(name, tiny), str(page), "exec"), {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train-qwen-image-edit", SFTConfig),
        ("train-qwen-image-edit-rl", RLConfig),
        ("train-qwen-image-edit-cme", RLConfig),
        ("train-sd3-rl", RLConfig),
    ],
)
def test_the_shipped_configurations_are_what_the_trainer_takes(name: str, kind: Any) -> None:
    path = str(Path(__file__).resolve().parents[2] / "configs" / f"{name}.yaml")
    backbone = load(kind, path, ["backbone.weights=folder"]).backbone
    assert isinstance(backbone, (qwen_image_edit.QwenImageEditConfig, sd3.SD3Config)) and backbone.weights == "folder"
    with pytest.raises(InputError, match=r"backbone.*wdith"):
        load(kind, path, ["backbone.wdith=64"])
