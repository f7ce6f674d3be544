"""Stage 1, supervised fine-tuning: cross-entropy on the IC-CoT, flow matching on the target (arXiv 2601.05124).

L = L_cot + L_img, the weights 1 and 1 of BAGEL, and, where `understand` asks for it, cross-entropy on captions of
single references and on IC-CoTs of all tasks, as BAGEL mixes understanding data in. Every reasoning of a sample is
used, one per visit in turn: a model that has seen one alone has nothing to sample from when reasoning-induced
diversity asks it to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from schemas.errors import InputError
from schemas.iccot import ICCoT
from shards.reader import Reader
from storage import paths
from training import flow, running
from training.backbone import Backbone, Context, Prompt
from training.config import SFTConfig
from training.data import Batches, of_all_tasks, reader_of, texts_of
from training.evaluating import HeldOutSet, evaluate, held_out_set, write_grid
from training.examples import Example, targets_of
from training.optimising import Stepper, Weights
from training.processes import Processes, joined
from training.rewarding import Surrogate

_ALONE = "<image_1>"
"""What is asked of a reference that is shown alone."""

TIMES = {"logit_normal": flow.logit_normal_times, "uniform": flow.uniform_times}


def train(config: SFTConfig, say: running.Say) -> None:
    """Train, or go on from the last checkpoint; leaves checkpoints, `metrics.jsonl` and grids in `config.out`.

    Raises:
        InputError: no shards, samples without reasonings, fewer samples than processes need, a checkpoint of another
            configuration.
        StoppedError: the loss is no number, or memory did not suffice; the last checkpoint is kept.
    """
    with joined() as processes, running.one_line(config.out):
        running.set_threads(config)
        share = {"side": config.backbone.side, "rank": processes.rank, "world": processes.world}
        reader = reader_of(config, "sft", seed=config.seed, **share)
        understood = (
            reader_of(of_all_tasks(config), "sft", seed=config.seed + 1, **share) if config.understand else None
        )
        reader_of(config, "test", side=None, seed=None)  # or it is said now
        found = running.begin(config, processes)
        backbone = running.open_backbone(config, lambda: texts_of(config))
        run = SFTRun(config, backbone, reader, understood, processes, say)
        if found is not None:
            run.load_state_dict(found[1])
            say(f"{config.out}: goes on from {found[0]}")
        else:
            parameters = sum(one.numel() for _, one in backbone.trained("both"))
            say(f"{config.data}: {reader.samples:,} samples for SFT; {parameters:,} parameters are trained")
        running.keep_settings(run)
        run.train()
        running.finished(run, say)


class SFTRun:
    """A run with everything that a checkpoint keeps."""

    def __init__(
        self,
        config: SFTConfig,
        backbone: Backbone,
        reader: Reader,
        understood: Reader | None,
        processes: Processes,
        say: running.Say,
    ) -> None:
        self.config, self.backbone, self.processes = config, backbone, processes
        lessons = config.batch if config.lessons is None else config.lessons
        for name, size in (("batch", config.batch), ("lessons", lessons)):
            if size % processes.world:
                raise InputError(f"{name}: {size} samples do not go round among {processes.world} processes")
        kept: dict[str, Any] = {"workers": config.workers, "keep": config.keep_decoded}
        self.batches = Batches(reader, config.batch // processes.world, length_of, **kept)
        each = lessons // processes.world
        self.understood = Batches(understood, each, length_of, **kept) if understood is not None else None
        named = list(backbone.trained("both"))
        self.stepper = Stepper(named, config.optimiser, config.steps)
        self.average = Weights(named)
        # Every process has noise of its own.
        self.generator = torch.Generator().manual_seed(config.seed * 1009 + processes.rank)
        self.step = 0
        self._say = say

    def train(self) -> None:
        """The steps that are left."""
        config = self.config
        metrics = running.Metrics(config.out, self.step, self._say, writes=self.processes.first)
        clock, batches = running.Clock(), iter(self.batches)
        understood = iter(self.understood) if self.understood is not None else None
        self._evaluate_if_due(metrics)
        while self.step < config.steps:
            with clock.waiting():
                epoch, batch = next(batches)
                seen, others = next(understood) if understood is not None else (0, None)
            ce, mse = sft_losses(
                self.backbone,
                batch,
                [chosen(one, epoch, config) for one in self._shown(batch)],
                self.generator,
                config,
            )
            loss, figures = config.ce_weight * ce + config.mse_weight * mse, {}
            if others is not None:
                described, reasoned = understanding_losses(self.backbone, others, seen, config)
                loss = loss + config.understand * (described + reasoned)
                figures = {"ce_described": float(described.detach()), "ce_reasoned": float(reasoned.detach())}
            running.refuse_nan(loss, self.step + 1)
            norm = self.stepper.step(loss, self.step, self.processes)
            self.step += 1
            clock.steps += 1
            self.average.trail(config.optimiser.ema, self.step)
            last = self.step == config.steps
            if last or self.step % config.log == 0:
                metrics.write(
                    self.step,
                    epoch=epoch,
                    ce=float(ce.detach()),
                    mse=float(mse.detach()),
                    **figures,
                    grad_norm=norm,
                    **clock.figures(),
                )
            with clock.stopped():
                if last or self.step % config.save == 0:
                    self._save()
                self._evaluate_if_due(metrics)

    def _shown(self, batch: list[Example]) -> Iterator[Example | None]:
        """The batch, with None for a sample that is shown without its reasoning."""
        bare = torch.rand(len(batch), generator=self.generator) < self.config.without_reasoning
        return ((None if without else one) for one, without in zip(batch, bare.tolist(), strict=True))

    @cached_property
    def _held_out(self) -> HeldOutSet:
        return held_out_set(self.config, self.config.backbone.side)

    def _evaluate_if_due(self, metrics: running.Metrics) -> None:
        due = self.step == self.config.steps or (self.step and self.step % self.config.evaluate == 0)
        if self.processes.first and due and metrics.lacks_evaluation(self.step):
            self._evaluate(metrics)

    def _evaluate(self, metrics: running.Metrics) -> None:
        held = self._held_out
        clip = Surrogate("toy") if held.drawn else None
        with self.average.in_model():
            # One that learned no reasoning would only babble.
            reasons = self.config.form != "none"
            found = evaluate(self.backbone, held, self.config, clip=clip, reward=clip, reasons=reasons)
        metrics.write(self.step, **found.figures)
        write_grid(paths.join(self.config.out, f"grids/step-{self.step:08d}.png"), held, found.images)

    def _save(self) -> None:
        with self.average.in_model():
            best = self.backbone.saved()
        understood = self.understood.state_dict() if self.understood is not None else None
        running.save(self, best=best, average=self.average.state_dict(), understood=understood)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was made."""
        running.restore(self, state)
        self.average.load_state_dict(state["average"])
        if self.understood is not None:
            self.understood.load_state_dict(state["understood"])


def sft_losses(
    backbone: Backbone, batch: list[Example], reasonings: list[str], generator: torch.Generator, config: SFTConfig
) -> tuple[Tensor, Tensor]:
    """(L_cot, L_img) of a batch; L_cot is 0 where the backbone trains no text or nothing is said."""
    context = backbone.encode([one.prompt for one in batch], reasonings)
    x0 = backbone.latents(targets_of(batch))
    t = TIMES[config.times](len(batch), generator, shift=config.shift).to(x0.device)
    noise = torch.randn(x0.shape, generator=generator).to(x0.device)
    velocity = backbone.velocity(flow.interpolate(x0, noise, t), t, context)
    each = flow.flow_matching_loss(velocity.float(), x0.float(), noise.float())
    if config.snr_gamma is not None:
        each = each * flow.min_snr_weights(t, config.snr_gamma)
    return cross_entropy(context, x0), each.mean()


def understanding_losses(
    backbone: Backbone, batch: list[Example], epoch: int, config: SFTConfig
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on captions, and on IC-CoTs: of each sample one caption or its IC-CoT, another one each epoch."""
    lessons = [lesson(one, epoch, config) for one in batch]
    described = [(prompt, text) for prompt, text in lessons if text and prompt.text == _ALONE]
    reasoned = [(prompt, text) for prompt, text in lessons if text and prompt.text != _ALONE]
    return _cross_entropy_of(backbone, described), _cross_entropy_of(backbone, reasoned)


def lesson(one: Example, epoch: int, config: SFTConfig) -> tuple[Prompt, str]:
    """What is asked in an epoch, and its answer: the IC-CoT, or the caption of one reference, which is shown alone."""
    images = one.prompt.images
    turn, describe = divmod(epoch + _offset(one), 2)
    if not describe or not images:
        return one.prompt, chosen(one, turn, config)
    number = turn % len(images)
    return Prompt(one.prompt.id, _ALONE, (images[number],)), one.record["references"][number]["caption"]


def _cross_entropy_of(backbone: Backbone, pairs: list[tuple[Prompt, str]]) -> Tensor:
    if not pairs:
        return torch.zeros(())
    context = backbone.encode([prompt for prompt, _ in pairs], [text for _, text in pairs])
    return cross_entropy(context, torch.zeros(()))


def cross_entropy(context: Context, like: Tensor) -> Tensor:
    """L_cot: the mean over the tokens of all reasonings."""
    if context.logp is None or context.tokens is None or not bool(context.tokens.any()):
        return like.new_zeros((), dtype=torch.float32)
    return -(context.logp * context.tokens).sum() / context.tokens.sum()


def chosen(one: Example | None, epoch: int, config: SFTConfig) -> str:
    """The reasoning of a sample in an epoch: the next one of its list each time, in the form that is wanted."""
    if one is None or config.form == "none":
        return ""
    text = one.reasonings[(epoch + _offset(one)) % len(one.reasonings) if config.reasonings == "all" else 0]
    return free_form(text, len(one.prompt.images)) if config.form == "free" else text


def _offset(one: Example) -> int:
    """Where in a list a sample begins, so that not all begin with the first."""
    return int(hashlib.sha256(one.prompt.id.encode()).hexdigest()[:8], 16)


def free_form(text: str, references: int) -> str:
    """An IC-CoT as plain sentences, without its structure: the caption, then the relations."""
    parsed = ICCoT.parse(text, references)
    return " ".join(part.strip().rstrip(".") + "." for part in (parsed.out_caption, *parsed.relations))


def length_of(one: Example) -> int:
    """Roughly what a sample costs: words of prompt and longest reasoning, and its references."""
    words = one.prompt.text.count(" ") + max((text.count(" ") for text in one.reasonings), default=0)
    return words + 16 * len(one.prompt.images)
