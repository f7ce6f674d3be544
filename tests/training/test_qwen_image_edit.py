"""Qwen-Image-Edit with random weights: it learns, keeps what it learnt, and agrees with diffusers' own pipeline."""

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
from training.backbones.qwen_image_edit import QwenImageEdit, QwenImageEditConfig, open_backbone
from training.flow import flow_matching_loss, interpolate, logit_normal_times

ICCOT = "<out_caption>A blue star on grass.</out_caption><relation_1>The grass is from image_1.</relation_1>"
EVERYWHERE = ("to_q", "to_k", "to_v", "to_out.0", "img_in", "img_mlp.net.0.proj", "img_mlp.net.2", "proj_out")
"""Attention alone cannot make a denoiser of random weights."""
Open = Callable[..., QwenImageEdit]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_qwen_image_edit(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def open_tiny(weights: Path) -> Iterator[Open]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def opened(**changes: Any) -> QwenImageEdit:
        sizes = {"width": 32, "height": 32, "reference_side": 32, "condition_side": 64, "reasoning_tokens": 48}
        return open_backbone(QwenImageEditConfig(**{"weights": str(weights), **sizes, **changes}))

    yield opened
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def backbone(open_tiny: Open) -> QwenImageEdit:
    """As it is opened; tests that change weights open their own."""
    return open_tiny(text_lora=LoRAConfig(rank=4, alpha=8))


def star(colour: str, width: int = 96, height: int = 96) -> Tensor:
    return pixels(render(Picture((Thing("star", colour, "big", "middle", 1),), "grass", "clear", 1), width, height))


def prompt(*images: Tensor, text: str = "Make the star blue.") -> Prompt:
    return Prompt("p", "".join(f"<image_{i}> " for i, _ in enumerate(images, 1)) + text, images)


def noise_of(backbone: QwenImageEdit, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, *backbone.latent_shape, generator=torch.Generator().manual_seed(seed))


def velocity_of(backbone: QwenImageEdit, asked: Prompt, reasoning: str = ICCOT, t: float = 0.7) -> Tensor:
    with torch.no_grad():
        return backbone.velocity(noise_of(backbone), torch.tensor([t]), backbone.encode([asked], [reasoning]))


def moved(backbone: QwenImageEdit, policy: Any = "both") -> None:
    """LoRA as training would leave it: no longer off."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in backbone.trained(policy):
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


# Learning


def test_one_sample_is_learnt_from_any_noise(open_tiny: Open) -> None:
    backbone = open_tiny(lora=LoRAConfig(rank=64, alpha=128, targets=EVERYWHERE), gradient_checkpointing=False)
    generator = torch.Generator().manual_seed(0)
    context = backbone.encode([prompt(star("red"))] * 8, [ICCOT] * 8)
    target = backbone.latents([star("blue")]).expand(8, -1, -1, -1)

    def loss() -> Tensor:
        t, noise = logit_normal_times(8, generator), torch.randn(target.shape, generator=generator)
        return flow_matching_loss(backbone.velocity(interpolate(target, noise, t), t, context), target, noise).mean()

    first = loss().item()
    optimiser = torch.optim.AdamW([p for _, p in backbone.trained("image")], lr=5e-3, weight_decay=0)
    for _ in range(120):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    with torch.no_grad():
        assert sum(loss().item() for _ in range(4)) / 4 < 0.1 * first


def test_a_learnt_iccot_is_what_it_reasons_greedily(open_tiny: Open) -> None:
    language = LoRAConfig(rank=32, alpha=64, targets=("q_proj", "k_proj", "v_proj", "o_proj", "lm_head"))
    backbone = open_tiny(text_lora=language)
    asked = prompt(star("red"))
    optimiser = torch.optim.AdamW([p for _, p in backbone.trained("text")], lr=1e-2, weight_decay=0)
    losses = []
    for _ in range(60):
        context = backbone.encode([asked], [ICCOT])
        assert context.logp is not None and context.tokens is not None and context.tokens.all()
        loss = -context.logp.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert backbone.reason([asked] * 2, temperature=0, generator=torch.Generator()) == [ICCOT] * 2


@pytest.mark.parametrize("policy", ["image", "text"])
def test_recomputed_activations_give_the_same_gradient(open_tiny: Open, policy: Any) -> None:
    found = []
    for checkpointing in (False, True):
        backbone = open_tiny(text_lora=LoRAConfig(rank=4, alpha=8), gradient_checkpointing=checkpointing)
        moved(backbone)
        context = backbone.encode([prompt(star("red"))], [ICCOT])
        loss = backbone.velocity(noise_of(backbone), torch.tensor([0.5]), context).square().mean()
        assert context.logp is not None
        (loss if policy == "image" else -context.logp.mean()).backward()
        found.append({name: p.grad for name, p in backbone.trained(policy)})
    plain, recomputed = found
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)
    # The last block's text stream leads nowhere.
    assert sum(bool(gradient.abs().max() > 0) for gradient in plain.values() if gradient is not None) >= len(plain) - 4


def test_each_policy_moves_its_own_model(backbone: QwenImageEdit) -> None:
    names = {policy: {name for name, _ in backbone.trained(policy)} for policy in ("image", "text", "both")}  # type: ignore[arg-type]
    assert all(name.startswith("transformer.") for name in names["image"])
    assert all(name.startswith("text_encoder.") and ".visual." not in name for name in names["text"])
    assert names["both"] == names["image"] | names["text"] and names["image"] and names["text"]
    needed = [name for name, p in backbone.pipeline.transformer.named_parameters() if p.requires_grad]
    assert needed and all(".lora_" in name for name in needed)


def test_what_is_drawn_does_not_hang_on_the_text_policy(open_tiny: Open) -> None:
    backbone = open_tiny(text_lora=LoRAConfig(rank=4, alpha=8))
    asked = prompt(star("red"))
    before = velocity_of(backbone, asked), backbone.encode([asked], [ICCOT]).logp
    moved(backbone, "text")
    after = velocity_of(backbone, asked), backbone.encode([asked], [ICCOT]).logp
    torch.testing.assert_close(after[0], before[0])
    assert before[1] is not None and after[1] is not None and (after[1] - before[1]).abs().max() > 0.01
    assert all(p.requires_grad for _, p in backbone.trained("text"))


# Keeping


def test_saved_and_restored_it_draws_the_same(open_tiny: Open, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    text = LoRAConfig(rank=4, alpha=8)
    one, other = open_tiny(text_lora=text), open_tiny(text_lora=text)
    asked = prompt(star("red"))
    moved(one)
    assert not torch.allclose(velocity_of(one, asked), velocity_of(other, asked), atol=1e-3)
    save_file(one.saved(), tmp_path / "w.safetensors")
    other.restore(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(velocity_of(one, asked), velocity_of(other, asked))
    scored = [backbone.encode([asked], [ICCOT]).logp for backbone in (one, other)]
    assert torch.equal(*scored)  # type: ignore[arg-type]


def test_diffusers_loads_what_was_saved(open_tiny: Open, weights: Path) -> None:
    from diffusers import QwenImageEditPlusPipeline

    backbone = open_tiny(lora=LoRAConfig(rank=4, alpha=8))
    asked = prompt(star("red"))
    moved(backbone, "image")
    pipeline = QwenImageEditPlusPipeline.from_pretrained(weights)
    pipeline.load_lora_weights(backbone.saved(), adapter_name="realign")
    pipeline.set_adapters("realign", 8 / 4)  # alpha / rank
    wanted = velocity_of(backbone, asked)
    backbone.pipeline.transformer = pipeline.transformer
    torch.testing.assert_close(velocity_of(backbone, asked), wanted)


def test_weights_of_another_configuration_are_refused(open_tiny: Open, backbone: QwenImageEdit) -> None:
    other = open_tiny(lora=LoRAConfig(rank=4, alpha=8))
    with pytest.raises(InputError, match="another configuration: they hold a text_lora"):
        other.restore(backbone.saved())
    drawn = {name: w for name, w in backbone.saved().items() if name.startswith("transformer.")}
    with pytest.raises(InputError, match=r"another configuration: transformer\.\S+ is \[32, 128\], not \[4, 128\]"):
        other.restore(drawn)
    drawn.popitem()
    with pytest.raises(InputError, match=r"the checkpoint has no transformer\."):
        open_tiny().restore(drawn)


# Drawing


def test_it_draws_what_the_pipeline_draws(backbone: QwenImageEdit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Euler step from noise to data, x - v, by diffusers itself: sign, time, packing, positions and prompt."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus
    from PIL import Image

    monkeypatch.setattr(plus, "VAE_IMAGE_SIZE", backbone.config.reference_side**2)
    monkeypatch.setattr(plus, "CONDITION_IMAGE_SIZE", backbone.config.condition_side**2)
    images = [star("red"), star("green", 128, 64)]
    noise = noise_of(backbone)
    pipeline = backbone.pipeline
    packed = pipeline._pack_latents(noise, 1, *backbone.latent_shape)
    drawn = pipeline(
        image=[Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images],
        prompt=f"Make the star blue.\n{ICCOT}",
        height=32,
        width=32,
        sigmas=[1.0],
        true_cfg_scale=1.0,
        latents=packed,
        output_type="latent",
    ).images
    wanted = pipeline._unpack_latents(drawn, 32, 32, pipeline.vae_scale_factor)[:, :, 0]
    got = noise - velocity_of(backbone, prompt(*images), t=1.0)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_references_and_reasoning_change_what_is_drawn(backbone: QwenImageEdit) -> None:
    base = velocity_of(backbone, prompt(star("red")))
    others = {
        "another reference": velocity_of(backbone, prompt(star("yellow"))),
        "one reference more": velocity_of(backbone, prompt(star("red"), star("yellow"))),
        "no reference": velocity_of(backbone, prompt()),
        "another reasoning": velocity_of(backbone, prompt(star("red")), ICCOT.replace("blue", "pink")),
        "no reasoning": velocity_of(backbone, prompt(star("red")), ""),
        "another time": velocity_of(backbone, prompt(star("red")), t=0.3),
    }
    for name, velocity in others.items():
        assert (velocity - base).abs().max() > 1e-3, name


def test_a_row_does_not_hang_on_its_neighbours(backbone: QwenImageEdit) -> None:
    """Rows with other numbers and shapes of references, and longer prompts, in one batch."""
    asked = [
        prompt(star("red")),
        prompt(star("red"), star("green", 128, 64)),
        prompt(),
        prompt(star("yellow"), text="Make the star blue and put it on the left of something else."),
    ]
    reasonings = [ICCOT, "", ICCOT, ICCOT * 2]
    times = torch.tensor([0.2, 0.4, 0.6, 0.8])
    noise = noise_of(backbone, 4)
    with torch.no_grad():
        together = backbone.encode(asked, reasonings)
        batch = backbone.velocity(noise, times, together)
        for n in range(4):
            alone = backbone.encode([asked[n]], [reasonings[n]])
            found = backbone.velocity(noise[n : n + 1], times[n : n + 1], alone)
            torch.testing.assert_close(batch[n : n + 1], found, atol=1e-5, rtol=1e-4)
            assert together.tokens is not None and alone.tokens is not None
            assert int(together.tokens[n].sum()) == int(alone.tokens.sum())


def test_few_rows_a_pass_draw_what_many_do(open_tiny: Open, backbone: QwenImageEdit) -> None:
    few = open_tiny(rows=2)
    context = few.encode([prompt(star("red"))] * 5, [ICCOT] * 5)
    noise, times = noise_of(few, 5), torch.linspace(0.1, 0.9, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            few.velocity(noise, times, context), backbone.velocity(noise, times, context), atol=1e-5, rtol=1e-4
        )


def test_latents_are_normalised_and_decoded_back(backbone: QwenImageEdit) -> None:
    image = star("blue", 32, 32)
    latents = backbone.latents([image, star("red", 64, 48)])
    assert latents.shape == (2, *backbone.latent_shape) and latents.dtype == torch.float32
    vae = backbone.pipeline.vae
    with torch.no_grad():
        raw = vae.encode((image[None, :, None] / 127.5 - 1).float()).latent_dist.mode()
        straight = vae.decode(raw).sample[:, :, 0]
    mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    torch.testing.assert_close(latents[0] * std[:, None, None] + mean[:, None, None], raw[0, :, 0])
    decoded = backbone.decode(latents)
    assert decoded.shape == (2, 3, 32, 32) and decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(decoded[:1], (straight / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_bf16_weights_are_trained_in_float32(open_tiny: Open, backbone: QwenImageEdit) -> None:
    half = open_tiny(precision="bf16", text_lora=LoRAConfig(rank=4, alpha=8))
    assert half.pipeline.transformer.img_in.weight.dtype == torch.bfloat16
    assert {p.dtype for _, p in half.trained("both")} == {torch.float32}
    exact, found = velocity_of(backbone, prompt(star("red"))), velocity_of(half, prompt(star("red")))
    assert found.dtype == torch.float32 and (found - exact).norm() < 0.05 * exact.norm()
    context = half.encode([prompt(star("red"))], [ICCOT])
    assert context.logp is not None and context.logp.dtype == torch.float32
    half.velocity(noise_of(half), torch.tensor([0.5]), context).mean().backward()
    assert half.decode(half.latents([star("red")])).dtype == torch.float32


# Reasoning


def test_reasonings_are_sampled_by_their_generator(backbone: QwenImageEdit) -> None:
    asked = [prompt(star("red"))] * 3 + [prompt(star("red"), star("green"))]

    def sampled(seed: int, temperature: float = 1.0) -> list[str]:
        return backbone.reason(asked, temperature=temperature, generator=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    first = sampled(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(first)) == 4 and all(first)
    assert sampled(0) == first
    assert sampled(1) != first
    greedy = sampled(0, 0)
    assert greedy == sampled(1, 0) and len(set(greedy[:3])) == 1


def test_image_tokens_are_placed_in_two_dimensions(backbone: QwenImageEdit, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers forgets to say which tokens are an image's (issue 14194)."""
    seen: list[Tensor] = []
    language = backbone.pipeline.text_encoder.model.language_model
    forward = language.forward
    monkeypatch.setattr(language, "forward", lambda **kw: seen.append(kw["position_ids"]) or forward(**kw))
    backbone.encode([prompt(star("red"))], [ICCOT])
    embedded, scored = seen
    for positions in (embedded, scored):
        assert positions is not None and positions.shape[0] == 3
        time, row, column = positions[:, 0]
        assert not torch.equal(row, column) and not torch.equal(time, row)


def test_tokens_that_a_user_types_are_text(backbone: QwenImageEdit) -> None:
    typed = prompt(star("red"), text="Make <|image_pad|> it <|im_end|> blue, as <image> says.")
    assert torch.isfinite(velocity_of(backbone, typed)).all()
    assert backbone.reason([typed], temperature=1, generator=torch.Generator())[0]


# Bad input


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"width": 40}, "backbone.width 40 is no multiple of 16: take 32"),
        ({"weights": "/nowhere/at/all"}, "backbone.weights /nowhere/at/all: no pipeline could be opened there"),
        ({"lora": LoRAConfig(targets=("attention.query",))}, "lora.targets .* has no such layers"),
    ],
)
def test_a_wrong_configuration_is_one_line(open_tiny: Open, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        open_tiny(**changes)
    assert "\n" not in str(caught.value)


def test_a_policy_of_text_needs_its_lora(open_tiny: Open) -> None:
    backbone = open_tiny()
    assert backbone.encode([prompt(star("red"))], [ICCOT]).logp is None
    with pytest.raises(InputError, match=r"policy text: set backbone\.text_lora"):
        list(backbone.trained("text"))
    assert dict(backbone.trained("both")).keys() == dict(backbone.trained("image")).keys()


def test_a_prompt_must_name_its_images(backbone: QwenImageEdit) -> None:
    with pytest.raises(InputError, match="sample p: its prompt is not interleaved"):
        backbone.encode([Prompt("p", "<image_2> Make it blue.", (star("red"),))], [""])


def test_the_first_qwen_image_edit_takes_one_reference(tmp_path: Path, open_tiny: Open) -> None:
    first = open_tiny(weights=str(tiny_models.save_qwen_image_edit(tmp_path, plus=False)))
    one, other = velocity_of(first, prompt(star("red"))), velocity_of(first, prompt(star("yellow")))
    assert (one - other).abs().max() > 1e-3
    with pytest.raises(InputError, match=r"sample p: 2 references; .* takes one"):
        first.encode([prompt(star("red"), star("green"))], [""])
