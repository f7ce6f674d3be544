"""The toy backbone: BAGEL's shape in miniature, small enough to train on a CPU in minutes.

One sequence, `[references][prompt][IC-CoT][noisy image]`, and in every block two experts with weights of their own, one
for understanding (references and text) and one for generation (the noisy image), that share the attention (BAGEL, arXiv
2505.14683, section 2). The IC-CoT is causal, references and prompt see each other, image tokens see everything, and
nothing sees image tokens: so keys and values of the context are computed once and serve every step of the flow, and
each rollout.

What is to be repeated is pointed at, which takes far fewer steps than to learn it by heart: a word may be copied from
the prompt (arXiv 1704.04368), and a pixel from the same place of a reference, whose patches image tokens see beside
the noisy one (as InstructPix2Pix does by channels, arXiv 2211.09800). Beside the attention, image tokens are told
the mean and the end of the text, as Stable Diffusion 3 is told its pooled text (arXiv 2403.03206).

Images are pixels in [-1, 1], patch by patch. The network predicts the clean image, from which the velocity follows:
`v = (x_t - x̂_0) / t`. A patch holds more numbers than a token is wide, so noise would not fit through one, while
drawings do (arXiv 2511.13720).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from schemas.errors import InputError
from training.backbone import Context, Policy, Prompt
from training.backbones.toy_layers import Block, initialised, patches, rotations, time_features, trust
from training.backbones.words import END, PAD, UNKNOWN, Words

_LEAST_TIME = 0.1
"""Below this time the velocity is that of this time: over less, x_t - x̂_0 would blow up what no patch can hold."""

_BEFORE = 2
"""How many words before it a word's embedding tells of: what follows what is then plain to the first attention, and
words are copied from the prompt after far fewer steps (a short convolution; arXiv 2212.14052 has it for the same)."""


class ToyConfig(BaseModel):
    """The toy's size.

    Attributes:
        side: of its images, in pixels.
        patch, reference_patch: sides of the squares that one token stands for.
        references: the most that a prompt may have.
        width, layers, heads: of the transformer.
        longest: tokens of prompt and reasoning together.
        reasoning: the most tokens of a sampled reasoning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["toy"] = "toy"
    side: int = Field(default=64, ge=8, le=256)
    patch: int = Field(default=8, ge=1)
    reference_patch: int = Field(default=16, ge=1)
    references: int = Field(default=4, ge=1, le=16)
    width: int = Field(default=96, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    longest: int = Field(default=256, ge=8)
    reasoning: int = Field(default=128, ge=4)


@dataclass
class _Read:
    """A context as the generation expert reads it.

    Attributes:
        keys: keys and values per block.
        there: [B, T] which of them are there.
        beside: [B, tokens, references, 3 patch²] what the references show at each place of the image; 0 where none is.
        shown: [B, references] which references are there.
        told: [B, 2 width] the mean over prompt and IC-CoT, and the last of it.
    """

    keys: list[tuple[Tensor, Tensor]]
    there: Tensor
    beside: Tensor
    shown: Tensor
    told: Tensor


class ToyBackbone(nn.Module):
    """See the module.

    Args:
        config: its size.
        words: its vocabulary.

    Raises:
        InputError: patches that do not divide the side, heads that do not divide the width.
    """

    def __init__(self, config: ToyConfig, words: Words) -> None:
        super().__init__()
        _refuse_impossible(config)
        self.config, self.words = config, words
        self.latent_shape: tuple[int, ...] = (3, config.side, config.side)
        width = config.width
        per_reference, drawn = (config.side // config.reference_patch) ** 2, (config.side // config.patch) ** 2
        self.word = nn.Embedding(len(words), width)
        self.before = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(_BEFORE))
        self.reference_in = nn.Linear(3 * config.reference_patch**2, width)
        self.reference_place = nn.Parameter(torch.randn(per_reference, width) * 0.02)
        self.reference_number = nn.Parameter(torch.randn(config.references, 1, width) * 0.02)
        self.image_in = nn.Linear(3 * config.patch**2, width)
        self.image_beside = nn.Linear(config.references * 3 * config.patch**2, width, bias=False)
        self.image_copies = nn.Linear(width, (1 + config.references) * config.patch**2)
        self.image_told = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.image_place = nn.Parameter(torch.randn(drawn, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.text_norm, self.image_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.head = nn.Linear(width, len(words), bias=False)
        self.copy_from, self.copy_to = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.copies = nn.Linear(width, 1)
        self.image_out = nn.Linear(width, 3 * config.patch**2)
        self.apply(initialised)
        nn.init.zeros_(self.image_out.weight)

    # -- the interface (training.backbone) --------------------------------------------------------------------------

    def encode(self, prompts: Sequence[Prompt], reasonings: Sequence[str]) -> Context:
        """See `training.backbone`; `logp` covers the end mark, and has no row's worth where a reasoning is empty."""
        asked = self._asked(prompts)
        said = [[*self.words.ids(text), END] if text else [] for text in reasonings]
        said = [ids[: self.config.longest - asked.shape[1]] for ids in said]
        answers = _padded(said, left=False, least=1).to(asked.device)
        text = torch.cat([asked, answers], 1)
        hidden, read = self._read(prompts, text, asked.shape[1])
        prompt, spoken = hidden[:, : asked.shape[1]], hidden[:, asked.shape[1] - 1 : -1]
        logp = self._log_probabilities(spoken, self._pointed(prompt, asked)).gather(-1, answers[..., None])[..., 0]
        return Context(read, logp, answers != PAD)

    def velocity(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """See `training.backbone`."""
        read: _Read = context.state
        config = self.config
        seen = x * trust(t)[:, None, None, None]
        told = self.time(time_features(t)) + self.image_told(read.told)
        tokens = self.image_in(patches(seen, config.patch)) + self.image_place + told[:, None]
        tokens = tokens + self.image_beside(read.beside.flatten(2))
        drawn = torch.ones(len(x), tokens.shape[1], dtype=torch.bool, device=x.device)
        sees = torch.cat([read.there, drawn], 1)[:, None, None, :]
        for block, keys in zip(self._each, read.keys, strict=True):
            tokens = block.draw(tokens, keys, sees)
        clean = self._clean(self.image_norm(tokens), read)
        return (x - clean) / t.clamp(min=_LEAST_TIME)[:, None, None, None]

    @torch.no_grad()
    def reason(self, prompts: Sequence[Prompt], *, temperature: float, generator: torch.Generator) -> list[str]:
        """See `training.backbone`; stops at the end mark or after `reasoning` tokens."""
        text = self._asked(prompts)
        hidden, read = self._read(prompts, text, text.shape[1])
        at = (text != PAD).sum(1) + 1
        there, open_ = read.there, torch.ones(len(text), dtype=torch.bool, device=text.device)
        pointed, last, said = self._pointed(hidden, text), hidden[:, -1:], []
        for _ in range(min(self.config.reasoning, self.config.longest - text.shape[1])):
            logp = self._log_probabilities(last, pointed)[:, 0]
            word = torch.where(open_, _sampled(logp, temperature, generator), PAD)
            said.append(word)
            open_ = open_ & (word != END)
            if not open_.any():
                break
            text = torch.cat([text, word[:, None]], 1)
            there = torch.cat([there, (word != PAD)[:, None]], 1)
            sees = there[:, None, None, :].clone()
            sees[..., -1] = True  # a finished row still needs something to look at
            token = self._embedded(text[:, -_BEFORE - 1 :])[:, -1:]
            turned = rotations(at[:, None], self._each[0].heads_width)
            for number, block in enumerate(self._each):
                token, read.keys[number] = block.read(token, sees, turned, read.keys[number])
            last, at = self.text_norm(token), at + 1
        return [self.words.text(row) for row in torch.stack(said, 1).tolist()] if said else ["" for _ in prompts]

    def decode(self, x: Tensor) -> Tensor:
        """See `training.backbone`."""
        return (x.clamp(-1, 1) + 1) / 2

    def latents(self, images: Sequence[Tensor]) -> Tensor:
        """See `training.backbone`."""
        return self._pixels(images)

    def trained(self, policy: Policy) -> Iterator[tuple[str, nn.Parameter]]:
        """See `training.backbone`; references and text are the understanding expert's."""
        for name, parameter in self.named_parameters():
            draws = ".generate." in name or name.startswith(("image_", "time."))
            if policy == "both" or draws == (policy == "image"):
                yield name, parameter

    def saved(self) -> dict[str, Tensor]:
        """See `training.backbone`: all weights."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """See `training.backbone`."""
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"the weights are not of this backbone: {str(error).splitlines()[-1].strip()}") from error

    # -- below ------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.word.weight.device

    @property
    def _each(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _asked(self, prompts: Sequence[Prompt]) -> Tensor:
        """[B, P] prompts, padded on the left so that all end at once; too long ones lose their beginning."""
        most = self.config.longest - self.config.reasoning
        return _padded([self.words.ids(prompt.text)[-most:] for prompt in prompts], left=True, least=1).to(self.device)

    def _pixels(self, images: Sequence[Tensor]) -> Tensor:
        """[N, 3, side, side] in [-1, 1]."""
        side = self.config.side
        sized = [image if image.shape[1:] == (side, side) else _resized(image, side) for image in images]
        return torch.stack(sized).to(self.device).float() / 127.5 - 1

    def _references(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """[B, R, width] tokens of the references, and which are there."""
        most = max(1, *(len(prompt.images) for prompt in prompts))
        if most > self.config.references:
            raise InputError(
                f"backbone.references: {self.config.references}, and a sample has {most}; raise it and begin anew"
            )
        each, width = self.reference_place.shape
        counts = torch.tensor([len(prompt.images) for prompt in prompts], device=self.device)
        present = torch.arange(most, device=self.device)[None] < counts[:, None]
        tokens = torch.zeros(len(prompts), most, each, width, device=self.device)
        if bool(present.any()):
            pixels = self._pixels([image for prompt in prompts for image in prompt.images])
            tokens[present] = self.reference_in(patches(pixels, self.config.reference_patch)) + self.reference_place
        tokens = tokens + self.reference_number[:most]
        return tokens.flatten(1, 2), present.repeat_interleave(each, 1)

    def _beside(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Patches of the references at each place of the image, and which references are there; see `_Read`."""
        config = self.config
        counts = torch.tensor([len(prompt.images) for prompt in prompts], device=self.device)
        there = torch.arange(config.references, device=self.device)[None] < counts[:, None]
        drawn = (config.side // config.patch) ** 2
        found = torch.zeros(len(prompts), config.references, drawn, 3 * config.patch**2, device=self.device)
        if bool(there.any()):
            found[there] = patches(self._pixels([one for prompt in prompts for one in prompt.images]), config.patch)
        return found.transpose(1, 2).contiguous(), there

    def _clean(self, tokens: Tensor, read: _Read) -> Tensor:
        """[B, 3, side, side] the clean image: each pixel drawn, or copied from the same place of a reference."""
        config = self.config
        absent = F.pad(~read.shown, (1, 0))[:, None, :, None]
        share = self.image_copies(tokens).reshape(*tokens.shape[:2], -1, config.patch**2)
        share = share.masked_fill(absent, float("-inf")).softmax(2)[..., None, :]
        choices = torch.cat([self.image_out(tokens)[:, :, None], read.beside], 2)
        pixels = (share * choices.reshape(*choices.shape[:3], 3, -1)).sum(2).flatten(2)
        return F.fold(pixels.transpose(1, 2), config.side, config.patch, stride=config.patch)

    def _embedded(self, text: Tensor) -> Tensor:
        """[B, T, width] words, each with those before it."""
        words = self.word(text) * (text != PAD)[..., None]
        found: Tensor = words
        for back, mixed in enumerate(self.before, 1):
            found = found + F.pad(mixed(words), (0, 0, back, 0))[:, : words.shape[1]]
        return found

    def _pointed(self, prompt: Tensor, asked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What words may be copied from: keys [B, P, width] of the prompt's, which are absent, and each as one-hot.

        Args:
            prompt: [B, P, width] what became of the prompt, whose words are `asked` [B, P].
        """
        words = F.one_hot(asked, len(self.words)).to(prompt.dtype)
        return self.copy_to(prompt), (asked == PAD)[:, None], words

    def _log_probabilities(self, hidden: Tensor, pointed: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """[B, T, words] of the next word: one of the vocabulary's, or one copied from the prompt.

        The pointer-generator of arXiv 1704.04368, section 2.2: p = g · p_copy + (1 - g) · p_vocabulary.

        Args:
            hidden: [B, T, width] of the text.
            pointed: of the prompt; see `_pointed`.
        """
        keys, absent, words = pointed
        scores = self.copy_from(hidden) @ keys.transpose(1, 2) / math.sqrt(hidden.shape[-1])
        copied = scores.masked_fill(absent, -1e4).softmax(-1) @ words
        share = self.copies(hidden).sigmoid()
        mixed: Tensor = share * copied + (1 - share) * self.head(hidden).softmax(-1)
        return mixed.clamp(min=1e-9).log()

    def _read(self, prompts: Sequence[Prompt], text: Tensor, asked: int) -> tuple[Tensor, _Read]:
        """The understanding expert over references and text: what the text became [B, T, width], normed, and the keys.

        Args:
            asked: how many of the tokens of `text` are the prompt's.
        """
        shown, seen = self._references(prompts)
        written = text != PAD
        there = torch.cat([seen, written], 1)
        count = there.shape[1]
        causal = torch.ones(count, count, dtype=torch.bool, device=text.device).tril()
        given = shown.shape[1] + asked
        causal[:given, :given] = True
        sees = causal[None, None] & there[:, None, None, :]
        sees = sees | torch.eye(count, dtype=torch.bool, device=text.device)  # a row of padding sees itself
        # References lie at position 0, words from 1 on, however much padding is between.
        at = torch.cat([torch.zeros_like(seen, dtype=torch.long), written.cumsum(1) * written], 1)
        tokens = torch.cat([shown, self._embedded(text)], 1)
        keys, turned = [], rotations(at, self._each[0].heads_width)
        for block in self._each:
            tokens, own = block.read(tokens, sees, turned)
            keys.append(own)
        hidden = self.text_norm(tokens[:, shown.shape[1] :])
        mean = (hidden * written[..., None]).sum(1) / written.sum(1, keepdim=True).clamp(min=1)
        last = hidden[torch.arange(len(hidden)), written.cumsum(1).argmax(1)]
        told = torch.cat([mean, last], 1)
        return hidden, _Read(keys, there, *self._beside(prompts), told)


def _refuse_impossible(config: ToyConfig) -> None:
    for name in ("patch", "reference_patch"):
        if config.side % getattr(config, name):
            raise InputError(f"backbone.{name}: {getattr(config, name)} does not divide the side, {config.side}")
    if config.width % (2 * config.heads):
        raise InputError(f"backbone.heads: {config.heads} heads of even width do not fit a width of {config.width}")
    if config.longest <= config.reasoning:
        raise InputError(f"backbone.longest: {config.longest} leaves no room beside a reasoning of {config.reasoning}")


def _resized(image: Tensor, side: int) -> Tensor:
    sized = F.interpolate(image[None].float(), size=(side, side), mode="bilinear", antialias=True)
    return sized[0].round().clamp(0, 255).to(torch.uint8)


def _padded(rows: Sequence[Sequence[int]], *, left: bool, least: int) -> Tensor:
    longest = max(least, *(len(row) for row in rows))
    out = torch.full((len(rows), longest), PAD, dtype=torch.long)
    for number, row in enumerate(rows):
        if row:
            out[number, slice(longest - len(row), None) if left else slice(0, len(row))] = torch.tensor(row)
    return out


def _sampled(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    logits = logits.clone()
    logits[:, [PAD, UNKNOWN]] = -torch.inf  # neither is a word
    if temperature == 0:
        return logits.argmax(-1)
    shares = (logits.float() / temperature).softmax(-1).cpu()
    return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)
