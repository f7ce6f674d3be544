"""Stable Diffusion 3.5 through diffusers: text to image, without references and without a language model.

It cannot reason: a reasoning that somebody else wrote is appended to the prompt, `reason` gives none. Its rewards are
those of generation (QMA, or the surrogate against a given caption).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from schemas.base import Record
from schemas.errors import InputError
from schemas.mentions import PLACEHOLDER
from training.backbone import Context, Policy, Prompt
from training.backbones import lora
from training.backbones.lora import LoRAConfig
from training.backbones.pretrained import Precision, check_size, pictures, pipeline_of


class SD3Config(Record):
    """What is opened, at which size, and what is trained.

    Attributes:
        weights: a name (`stabilityai/stable-diffusion-3.5-medium`) or a folder.
        width, height: pixels, multiples of 16.
        text_tokens: of T5, beyond which a prompt with its reasoning is cut; CLIP cuts at 77 whatever this says.
        references: of a prompt that has any: `refuse` it, or `ignore` them and draw from the text alone.
        rows: the most that share a pass of the transformer; fewer need less memory.
    """

    kind: Literal["sd3"] = "sd3"
    weights: str
    width: Annotated[int, Field(ge=16)] = 512
    height: Annotated[int, Field(ge=16)] = 512
    text_tokens: Annotated[int, Field(ge=1, le=512)] = 256
    references: Literal["refuse", "ignore"] = "refuse"
    rows: Annotated[int, Field(ge=1)] = 16
    lora: LoRAConfig = LoRAConfig()
    gradient_checkpointing: bool = True
    precision: Precision = "auto"

    @property
    def side(self) -> int:
        """Images need not be read larger than this."""
        return max(self.width, self.height)


def open_backbone(config: SD3Config, *, device: str = "auto", seed: int = 0) -> SD3:
    """The backbone of `config`, ready to train.

    Args:
        device: see `filters.devices.device_of`.
        seed: of LoRA's first weights, so that every process begins with the same.

    Raises:
        InputError: weights that cannot be opened, or sizes or layers that they do not have.
    """
    pipeline = pipeline_of(config.weights, ("StableDiffusion3Pipeline",), device, config.precision)
    check_size(config.width, config.height, pipeline.vae_scale_factor * pipeline.patch_size)
    torch.manual_seed(seed)
    lora.add(pipeline.transformer, config.lora, lora.ATTENTION)
    if config.gradient_checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
    return SD3(config, pipeline)


class SD3:
    """A `training.backbone.Backbone`. `pipeline` is diffusers' own, for evaluation with its samplers and guidance."""

    def __init__(self, config: SD3Config, pipeline: Any) -> None:
        self.config, self.pipeline = config, pipeline
        self.device, self.dtype = pipeline.vae.device, pipeline.vae.dtype
        side = pipeline.vae_scale_factor
        channels = pipeline.vae.config.latent_channels
        self.latent_shape: tuple[int, ...] = (channels, config.height // side, config.width // side)

    def encode(self, prompts: Sequence[Prompt], reasonings: Sequence[str]) -> Context:
        """See `Backbone.encode`. Without gradient, so a context may be read by several updates.

        Raises:
            InputError: a prompt with references, unless they are to be ignored.
        """
        texts = [
            "\n".join(filter(None, [self._text(prompt), reasoning]))
            for prompt, reasoning in zip(prompts, reasonings, strict=True)
        ]
        distinct = list(dict.fromkeys(texts))  # the rollouts of a group share theirs
        with torch.no_grad():
            embedding, _, pooled, _ = self.pipeline.encode_prompt(
                distinct, None, None, do_classifier_free_guidance=False, max_sequence_length=self.config.text_tokens
            )
        rows = [distinct.index(text) for text in texts]
        return Context((embedding[rows].to(self.dtype), pooled[rows].to(self.dtype)))

    def velocity(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """See `Backbone.velocity`."""
        found = []
        for start in range(0, len(x), self.config.rows):
            part = slice(start, start + self.config.rows)
            embedding, pooled = (each[part] for each in context.state)
            velocity = self.pipeline.transformer(
                hidden_states=x[part].to(self.device, self.dtype),
                timestep=t[part].to(self.device) * 1000,
                encoder_hidden_states=embedding,
                pooled_projections=pooled,
                return_dict=False,
            )[0]
            found.append(velocity.to(x.device, x.dtype))
        return torch.cat(found)

    def reason(self, prompts: Sequence[Prompt], *, temperature: float, generator: torch.Generator) -> list[str]:
        """Nothing for each: there is no language model here."""
        return [""] * len(prompts)

    def decode(self, x: Tensor) -> Tensor:
        """See `Backbone.decode`; one image at a time, which bounds the VAE's memory."""
        vae = self.pipeline.vae
        drawn = []
        with torch.no_grad():
            for latent in x:
                latent = latent.float() / vae.config.scaling_factor + vae.config.shift_factor
                image = vae.decode(latent[None].to(self.device, self.dtype), return_dict=False)[0]
                drawn.append(self.pipeline.image_processor.postprocess(image, output_type="pt")[0].float())
        return torch.stack(drawn)

    def latents(self, images: Sequence[Tensor]) -> Tensor:
        """See `Backbone.latents`; images are resized to the configured size."""
        pipeline, config = self.pipeline, self.config
        vae = pipeline.vae
        found = []
        with torch.no_grad():
            for image in pictures(images):
                pixels = pipeline.image_processor.preprocess(image, config.height, config.width)
                latent = vae.encode(pixels.to(self.device, self.dtype)).latent_dist.mode()[0].float()
                found.append((latent - vae.config.shift_factor) * vae.config.scaling_factor)
        return torch.stack(found)

    def trained(self, policy: Policy) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """See `Backbone.trained`; `both` is all that there is.

        Raises:
            InputError: the policy of text.
        """
        if policy == "text":
            raise InputError("policy text: sd3 has no language model to train; take policy image")
        return ((f"transformer.{name}", p) for name, p in lora.trained(self.pipeline.transformer))

    def saved(self) -> dict[str, Tensor]:
        """See `Backbone.saved`: LoRA alone."""
        return lora.saved(self.pipeline.transformer, "transformer")

    def restore(self, weights: dict[str, Tensor]) -> None:
        """See `Backbone.restore`."""
        lora.restore(self.pipeline.transformer, weights, "transformer")

    def _text(self, prompt: Prompt) -> str:
        if prompt.images and self.config.references == "refuse":
            raise InputError(
                f"sample {prompt.id}: {len(prompt.images)} references, and sd3 takes text alone; "
                "take prompts without, or set backbone.references: ignore"
            )
        return PLACEHOLDER.sub("", prompt.text).strip()
