"""Stable Diffusion 3.5 with random weights: it learns, keeps what it learnt, and agrees with diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from tests.training import tiny_models
from tests.training.tiny_models import pixels
from toyworld.render import render
from toyworld.world import Picture, Thing
from training.backbone import Prompt
from training.backbones.lora import LoRAConfig
from training.backbones.sd3 import SD3, SD3Config, open_backbone
from training.flow import flow_matching_loss, interpolate, logit_normal_times

EVERYWHERE = ("pos_embed.proj", "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_out")
"""Attention alone cannot make a denoiser of random weights."""
Open = Callable[..., SD3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def open_tiny(weights: Path) -> Iterator[Open]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def opened(**changes: Any) -> SD3:
        return open_backbone(
            SD3Config(**{"weights": str(weights), "width": 32, "height": 32, "text_tokens": 64, **changes})
        )

    yield opened
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def backbone(open_tiny: Open) -> SD3:
    """As it is opened; tests that change weights open their own."""
    return open_tiny()


def star(colour: str) -> Tensor:
    return pixels(render(Picture((Thing("star", colour, "big", "middle", 1),), "grass", "clear", 1), 64))


def noise_of(backbone: SD3, rows: int = 1) -> Tensor:
    return torch.randn(rows, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))


def velocity_of(backbone: SD3, text: str = "a blue star on grass", reasoning: str = "", t: float = 0.7) -> Tensor:
    context = backbone.encode([Prompt("p", text)], [reasoning])
    with torch.no_grad():
        return backbone.velocity(noise_of(backbone), torch.tensor([t]), context)


def moved(backbone: SD3) -> None:
    """LoRA as training would leave it: no longer off."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in backbone.trained("image"):
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.soak
def test_one_sample_is_learnt_from_any_noise(open_tiny: Open) -> None:
    everywhere = LoRAConfig(rank=64, alpha=512, targets=EVERYWHERE)
    sizes = {"width": 16, "height": 16, "text_tokens": 8}
    backbone = open_tiny(lora=everywhere, gradient_checkpointing=False, **sizes)
    generator = torch.Generator().manual_seed(0)
    context = backbone.encode([Prompt("p", "a blue star on grass")] * 8, [""] * 8)
    target = backbone.latents([star("blue")]).expand(8, -1, -1, -1)

    def loss() -> Tensor:
        t, noise = logit_normal_times(8, generator), torch.randn(target.shape, generator=generator)
        return flow_matching_loss(backbone.velocity(interpolate(target, noise, t), t, context), target, noise).mean()

    first = loss().item()
    optimiser = torch.optim.AdamW([p for _, p in backbone.trained("image")], lr=3e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 220)
    for _ in range(220):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        last = sum(loss().item() for _ in range(4)) / 4
    assert last < 0.1 * first, (first, last)


def test_recomputed_activations_give_the_same_gradient(open_tiny: Open) -> None:
    found = []
    for checkpointing in (False, True):
        backbone = open_tiny(gradient_checkpointing=checkpointing)
        moved(backbone)
        context = backbone.encode([Prompt("p", "a blue star")], [""])
        backbone.velocity(noise_of(backbone), torch.tensor([0.5]), context).square().mean().backward()
        found.append({name: p.grad for name, p in backbone.trained("image")})
    plain, recomputed = found
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)
    assert sum(bool(gradient.abs().max() > 0) for gradient in plain.values() if gradient is not None) >= len(plain) - 4


def test_saved_and_restored_it_draws_the_same(open_tiny: Open) -> None:
    one, other = open_tiny(), open_tiny()
    moved(one)
    assert not torch.allclose(velocity_of(one), velocity_of(other), atol=1e-3)
    other.restore(one.saved())
    assert torch.equal(velocity_of(one), velocity_of(other))
    with pytest.raises(InputError, match=r"another configuration: transformer\.\S+ is \[32, 128\], not \[4, 128\]"):
        open_tiny(lora=LoRAConfig(rank=4, alpha=8)).restore(one.saved())


def test_it_draws_what_the_pipeline_draws(backbone: SD3) -> None:
    """One Euler step from noise to data, x - v, by diffusers itself: sign, time and prompt."""
    noise = noise_of(backbone)
    drawn = backbone.pipeline(
        prompt="a blue star on grass",
        height=32,
        width=32,
        sigmas=[1.0],
        guidance_scale=0,
        latents=noise,
        max_sequence_length=64,
        output_type="latent",
    ).images
    torch.testing.assert_close(noise - velocity_of(backbone, t=1.0), drawn, atol=1e-5, rtol=1e-4)


def test_prompt_reasoning_and_time_change_what_is_drawn(backbone: SD3) -> None:
    base = velocity_of(backbone)
    others = {
        "another prompt": velocity_of(backbone, "a red cat at night"),
        "a reasoning": velocity_of(backbone, reasoning="<out_caption>A blue star.</out_caption>"),
        "another time": velocity_of(backbone, t=0.3),
    }
    for name, velocity in others.items():
        assert (velocity - base).abs().max() > 1e-3, name


def test_few_rows_a_pass_draw_what_many_do(open_tiny: Open, backbone: SD3) -> None:
    few = open_tiny(rows=2)
    context = few.encode([Prompt("p", f"{n} stars") for n in range(5)], [""] * 5)
    noise, times = noise_of(few, 5), torch.linspace(0.1, 0.9, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            few.velocity(noise, times, context), backbone.velocity(noise, times, context), atol=1e-5, rtol=1e-4
        )


def test_latents_are_scaled_and_decoded_back(backbone: SD3) -> None:
    image = star("blue")[:, ::2, ::2].contiguous()
    latents = backbone.latents([image, star("red")])
    assert latents.shape == (2, *backbone.latent_shape) and latents.dtype == torch.float32
    vae = backbone.pipeline.vae
    with torch.no_grad():
        raw = vae.encode((image[None] / 127.5 - 1).float()).latent_dist.mode()
        straight = vae.decode(raw).sample
    torch.testing.assert_close(latents[0] / 1.5305 + 0.0609, raw[0])
    decoded = backbone.decode(latents)
    assert decoded.shape == (2, 3, 32, 32) and decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(decoded[:1], (straight / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_bf16_weights_are_trained_in_float32(open_tiny: Open, backbone: SD3) -> None:
    half = open_tiny(precision="bf16")
    assert half.pipeline.transformer.proj_out.weight.dtype == torch.bfloat16
    assert {p.dtype for _, p in half.trained("image")} == {torch.float32}
    exact, found = velocity_of(backbone), velocity_of(half)
    assert found.dtype == torch.float32 and (found - exact).norm() < 0.05 * exact.norm()


def test_it_has_no_text_to_train_and_no_reasons(backbone: SD3) -> None:
    asked = [Prompt("p", "a blue star")] * 2
    assert backbone.reason(asked, temperature=1, generator=torch.Generator()) == ["", ""]
    assert backbone.encode(asked, ["", ""]).logp is None
    with pytest.raises(InputError, match="policy text: sd3 has no language model"):
        list(backbone.trained("text"))
    assert dict(backbone.trained("both")).keys() == dict(backbone.trained("image")).keys()


def test_references_are_refused_or_ignored(backbone: SD3, open_tiny: Open) -> None:
    asked = Prompt("p", "<image_1> a blue star", (star("red"),))
    with pytest.raises(InputError, match="sample p: 1 references, and sd3 takes text alone"):
        backbone.encode([asked], [""])
    seen = open_tiny(references="ignore").encode([asked], [""]).state[0]
    assert torch.equal(seen, backbone.encode([Prompt("p", "a blue star")], [""]).state[0])


def test_weights_of_another_kind_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(InputError, match="it is a FluxPipeline; wanted StableDiffusion3Pipeline"):
        open_tiny(weights=str(tmp_path))
