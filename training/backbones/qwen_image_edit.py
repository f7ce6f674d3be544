"""Qwen-Image-Edit through diffusers: several references, and its own Qwen2.5-VL to reason with.

The references stand beside the target as latents in one sequence of the transformer, and Qwen2.5-VL sees them with the
prompt and the IC-CoT. That language model writes the IC-CoT, too: RGA with RID on a real backbone. LoRA of the
transformer draws (`image`), LoRA of the language model writes (`text`). What the transformer is conditioned on is
embedded without the latter: it stays what the transformer was pretrained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from schemas.base import Record
from schemas.errors import InputError
from shards.export.prompts import Piece, PlaceholderError, pieces, plain
from training.backbone import Context, Policy, Prompt
from training.backbones import lora, qwen_reasoner
from training.backbones.lora import LoRAConfig
from training.backbones.pretrained import Precision, check_size, pictures, pipeline_of

_ONE, _MANY = "QwenImageEditPipeline", "QwenImageEditPlusPipeline"
_LEAST_SIDE = 32
"""diffusers rounds the sides of references to multiples of this; a very long one would come out as 0."""


class QwenImageEditConfig(Record):
    """What is opened, at which sizes, and what is trained.

    Attributes:
        weights: a name (`Qwen/Qwen-Image-Edit-2509`) or a folder.
        width, height: of what is drawn, pixels, multiples of 16.
        reference_side: references become latents at about this many pixels squared, in their own proportions; 1024 is
            the pipeline's own, less is cheaper.
        condition_side: the same for what Qwen2.5-VL sees; 384 is the pipeline's own.
        text_lora: LoRA of the language model; None leaves it as it is, and no policy of text can be trained.
        reasoning_tokens: the most that an IC-CoT may have.
        rows: the most that share a pass of the transformer; fewer need less memory.
    """

    kind: Literal["qwen_image_edit"] = "qwen_image_edit"
    weights: str
    width: Annotated[int, Field(ge=16)] = 512
    height: Annotated[int, Field(ge=16)] = 512
    reference_side: Annotated[int, Field(ge=_LEAST_SIDE)] = 512
    condition_side: Annotated[int, Field(ge=_LEAST_SIDE)] = 384
    lora: LoRAConfig = LoRAConfig()
    text_lora: LoRAConfig | None = None
    gradient_checkpointing: bool = True
    reasoning_tokens: Annotated[int, Field(ge=1)] = 512
    rows: Annotated[int, Field(ge=1)] = 8
    precision: Precision = "auto"

    @property
    def side(self) -> int:
        """Images need not be read larger than this: enough for references of 2:1."""
        return max(self.width, self.height, round(1.5 * self.reference_side))


@dataclass(frozen=True)
class _Seen:
    """A prompt's text and images, as the parts of the model take them.

    Attributes:
        found: the interleaved prompt.
        condition: what Qwen2.5-VL looks at.
        references: [S, 4 z], the packed latents of all references; S = 0 without any.
        shapes: (frames, rows, columns) of each in patches.
    """

    found: list[Piece]
    condition: list[Any]
    references: Tensor
    shapes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class _Encoded:
    """One row of a batch: the embedding of prompt and IC-CoT, [T, D], beside what was seen."""

    embedding: Tensor
    seen: _Seen


def open_backbone(config: QwenImageEditConfig, *, device: str = "auto", seed: int = 0) -> QwenImageEdit:
    """The backbone of `config`, ready to train.

    Args:
        device: see `filters.devices.device_of`.
        seed: of LoRA's first weights, so that every process begins with the same.

    Raises:
        InputError: weights that cannot be opened, or sizes or layers that they do not have.
    """
    pipeline = pipeline_of(config.weights, (_ONE, _MANY), device, config.precision)
    check_size(config.width, config.height, pipeline.vae_scale_factor * 2)
    if not pipeline.processor.chat_template:
        raise InputError(f"backbone.weights {config.weights}: its processor has no chat template to reason with")
    torch.manual_seed(seed)
    lora.add(pipeline.transformer, config.lora, lora.ATTENTION)
    if config.text_lora:
        lora.add(pipeline.text_encoder, config.text_lora, lora.LANGUAGE)
    if config.gradient_checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of its new name, which older releases do not know
            pipeline.text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
    pipeline.text_encoder.register_forward_pre_hook(qwen_reasoner.tell_images_from_text, with_kwargs=True)
    return QwenImageEdit(config, pipeline)


class QwenImageEdit:
    """A `training.backbone.Backbone`. `pipeline` is diffusers' own, for evaluation with its samplers and guidance."""

    def __init__(self, config: QwenImageEditConfig, pipeline: Any) -> None:
        self.config, self.pipeline = config, pipeline
        self.device, self.dtype = pipeline.vae.device, pipeline.vae.dtype
        side = pipeline.vae_scale_factor
        self.latent_shape: tuple[int, ...] = (pipeline.latent_channels, config.height // side, config.width // side)

    def encode(self, prompts: Sequence[Prompt], reasonings: Sequence[str]) -> Context:
        """See `Backbone.encode`. Without gradient but for `logp`, so a context may be read by several updates.

        Raises:
            InputError: a prompt whose placeholders are not its images, or whose images are too many for the weights.
        """
        seen = self._seen(prompts)
        keys = [(id(one), reasoning) for one, reasoning in zip(seen, reasonings, strict=True)]
        distinct = dict(zip(keys, seen, strict=True))  # rollouts that say the same share theirs
        encoded: dict[tuple[int, str], _Encoded] = {}
        with torch.no_grad(), lora.disabled(self.pipeline.text_encoder):
            for key, one in distinct.items():
                text = "\n".join(filter(None, [_conditioning(one.found), plain(key[1])]))
                embedding, _ = self.pipeline.encode_prompt(prompt=[text], image=one.condition or None)
                encoded[key] = _Encoded(embedding[0], one)
        rows = [encoded[key] for key in keys]
        if self.config.text_lora is None:
            return Context(tuple(rows))
        checkpoints = self.config.gradient_checkpointing
        scored = [
            qwen_reasoner.logp(self.pipeline, one.found, one.condition, reasoning, checkpoints=checkpoints)
            for one, reasoning in zip(seen, reasonings, strict=True)
        ]
        tokens = [torch.ones_like(logp, dtype=torch.bool) for logp in scored]
        return Context(tuple(rows), pad_sequence(scored, True), pad_sequence(tokens, True))

    def velocity(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """See `Backbone.velocity`. Rows whose references have the same shapes share a pass: RoPE is one for a pass."""
        passes: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
        for number, row in enumerate(context.state):
            passes.setdefault(row.seen.shapes, []).append(number)
        found: dict[int, Tensor] = {}
        for every in passes.values():
            for start in range(0, len(every), self.config.rows):
                numbers = every[start : start + self.config.rows]
                rows = [context.state[number] for number in numbers]
                found |= zip(numbers, self._pass(x[numbers], t[numbers], rows), strict=True)
        return torch.stack([found[number] for number in range(len(x))])

    def reason(self, prompts: Sequence[Prompt], *, temperature: float, generator: torch.Generator) -> list[str]:
        """See `Backbone.reason`. Asked with a format instruction of ours; what comes may still be no IC-CoT."""
        groups: dict[int, list[int]] = {}
        for number, prompt in enumerate(prompts):
            groups.setdefault(id(prompt), []).append(number)
        found: dict[int, str] = {}
        for numbers in groups.values():
            seen = self._see(prompts[numbers[0]], draws=False)
            texts = qwen_reasoner.sampled(
                self.pipeline,
                seen.found,
                seen.condition,
                count=len(numbers),
                most=self.config.reasoning_tokens,
                temperature=temperature,
                generator=generator,
            )
            found |= zip(numbers, texts, strict=True)
        return [found[number] for number in range(len(prompts))]

    def decode(self, x: Tensor) -> Tensor:
        """See `Backbone.decode`; one image at a time, which bounds the VAE's memory."""
        vae = self.pipeline.vae
        mean, std = (torch.tensor(n).view(-1, 1, 1) for n in (vae.config.latents_mean, vae.config.latents_std))
        drawn = []
        with torch.no_grad():
            for latent in x:
                latent = (latent.float().cpu() * std + mean).to(self.device, self.dtype)
                image = vae.decode(latent[None, :, None], return_dict=False)[0][:, :, 0]
                drawn.append(self.pipeline.image_processor.postprocess(image, output_type="pt")[0].float())
        return torch.stack(drawn)

    def latents(self, images: Sequence[Tensor]) -> Tensor:
        """See `Backbone.latents`; images are resized to the configured size."""
        pipeline, config = self.pipeline, self.config
        found = []
        with torch.no_grad():
            for image in pictures(images):
                pixels = pipeline.image_processor.preprocess(image, config.height, config.width).unsqueeze(2)
                latent = pipeline._encode_vae_image(pixels.to(self.device, self.dtype), generator=None)
                found.append(latent[0, :, 0].float())
        return torch.stack(found)

    def trained(self, policy: Policy) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """See `Backbone.trained`; `both` is all that there is.

        Raises:
            InputError: the policy of text, and no `text_lora`.
        """
        if policy == "text" and self.config.text_lora is None:
            raise InputError("policy text: set backbone.text_lora, or take policy image")
        if policy != "text":
            yield from ((f"transformer.{name}", p) for name, p in lora.trained(self.pipeline.transformer))
        if policy != "image" and self.config.text_lora is not None:
            yield from ((f"text_encoder.{name}", p) for name, p in lora.trained(self.pipeline.text_encoder))

    def saved(self) -> dict[str, Tensor]:
        """See `Backbone.saved`: LoRA alone."""
        found = lora.saved(self.pipeline.transformer, "transformer")
        if self.config.text_lora:
            found |= lora.saved(self.pipeline.text_encoder, "text_encoder")
        return found

    def restore(self, weights: dict[str, Tensor]) -> None:
        """See `Backbone.restore`."""
        if self.config.text_lora is None and any(name.startswith("text_encoder.") for name in weights):
            raise InputError(
                "these weights are of another configuration: they hold a text_lora, and none is configured"
            )
        lora.restore(self.pipeline.transformer, weights, "transformer")
        if self.config.text_lora:
            lora.restore(self.pipeline.text_encoder, weights, "text_encoder")

    def _seen(self, prompts: Sequence[Prompt]) -> list[_Seen]:
        """Each distinct prompt seen once: the rollouts of a group share theirs."""
        distinct = {id(prompt): prompt for prompt in prompts}
        seen = {key: self._see(prompt) for key, prompt in distinct.items()}
        return [seen[id(prompt)] for prompt in prompts]

    def _see(self, prompt: Prompt, *, draws: bool = True) -> _Seen:
        """`draws`: with the latents of the references, which only drawing needs."""
        images = pictures(prompt.images)
        if type(self.pipeline).__name__ == _ONE and len(images) != 1:
            raise InputError(
                f"sample {prompt.id}: {len(images)} references; {self.config.weights} is a {_ONE}, which takes one: "
                f"take weights of a {_MANY}, such as Qwen/Qwen-Image-Edit-2509"
            )
        try:
            found = pieces(prompt.text, len(images))
        except PlaceholderError as error:
            raise InputError(f"sample {prompt.id}: its prompt is not interleaved: {error}") from None
        processor = self.pipeline.image_processor
        condition = []
        for image in images:
            width, height = _scaled(image.width, image.height, self.config.condition_side)
            condition.append(processor.resize(image, height, width))
        return _Seen(found, condition, *self._reference_latents(images if draws else []))

    def _reference_latents(self, images: Sequence[Any]) -> tuple[Tensor, tuple[tuple[int, int, int], ...]]:
        pipeline, config = self.pipeline, self.config
        channels = pipeline.latent_channels
        sizes = [_scaled(image.width, image.height, config.reference_side) for image in images]
        packed = [torch.zeros(0, 4 * channels, device=self.device, dtype=self.dtype)]
        for image, (width, height) in zip(images, sizes, strict=True):
            pixels = pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
            target = torch.empty(0)  # given, so that none is drawn from the global generator
            with torch.no_grad():
                found = pipeline.prepare_latents(
                    pixels, 1, channels, config.height, config.width, self.dtype, self.device, None, target
                )
            packed.append(found[1][0])
        patch = pipeline.vae_scale_factor * 2
        return torch.cat(packed), tuple((1, height // patch, width // patch) for width, height in sizes)

    def _pass(self, x: Tensor, t: Tensor, rows: Sequence[_Encoded]) -> Tensor:
        """The velocity of rows whose references have the same shapes, in one pass of the transformer."""
        pipeline, config = self.pipeline, self.config
        channels, height, width = self.latent_shape
        target = pipeline._pack_latents(x.to(self.device, self.dtype), len(rows), channels, height, width)
        references = torch.stack([row.seen.references for row in rows])
        embedding = pad_sequence([row.embedding.to(self.dtype) for row in rows], True)
        mask = pad_sequence([row.embedding.new_ones(len(row.embedding), dtype=torch.bool) for row in rows], True)
        velocity = pipeline.transformer(
            hidden_states=torch.cat([target, references], 1),
            timestep=t.to(self.device),
            encoder_hidden_states=embedding,
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[[(1, height // 2, width // 2), *rows[0].seen.shapes]] * len(rows),
            return_dict=False,
        )[0][:, : target.shape[1]]
        unpacked = pipeline._unpack_latents(velocity, config.height, config.width, pipeline.vae_scale_factor)
        return unpacked[:, :, 0].to(x.device, x.dtype)  # type: ignore[no-any-return]


def _conditioning(found: Sequence[Piece]) -> str:
    """The prompt as the pipeline takes it, which puts every image first itself: later ones are named in the text."""
    first = next((n for n, piece in enumerate(found) if isinstance(piece, str) and piece.strip()), len(found))
    text = "".join(f"Picture {piece}" if isinstance(piece, int) else piece for piece in found[first:])
    return text.strip()


def _scaled(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of about side² pixels in the same proportions, as the pipeline has it."""
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    wide, high = calculate_dimensions(side * side, width / height)  # type: ignore[no-untyped-call]
    return max(_LEAST_SIDE, wide), max(_LEAST_SIDE, high)
