"""Stage 2, reinforcement learning: reasoning-guided alignment by groups of rollouts (arXiv 2601.05124).

For each prompt a group of rollouts: each samples an IC-CoT (its own under reasoning-induced diversity, one for the
group, or none) and draws an image from it; the reward compares the image with *that rollout's own* out_caption, or is a
critic's; advantages within the group weigh the update. `nft` contrasts re-noised rollouts (DiffusionNFT, FIRM's
algorithm), `flow_grpo` clips the ratio of SDE steps (Re-Align's). Both are in `training.flow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewards.groups import GroupStatistics, group_advantages, group_statistics, informative_samples, nft_r
from schemas.errors import InputError, StoppedError
from shards.reader import Reader
from storage import paths
from training import flow, running
from training.backbone import Backbone, Context, Prompt
from training.config import RLConfig
from training.data import Batches, reader_of
from training.evaluating import HeldOutSet, evaluate, held_out_set, write_grid
from training.examples import Example
from training.optimising import Stepper, Weights
from training.parts import dataset_of
from training.processes import Processes, joined
from training.rewarding import Rewarding, Rollouts, Surrogate, refuse_unjudgeable, rewarding
from training.sft import length_of

_BLIND = 20
"""Updates without any reward after which a run stops."""


def train(config: RLConfig, say: running.Say) -> None:
    """Train, or go on from the last checkpoint; leaves checkpoints, `metrics.jsonl` and grids in `config.out`.

    Raises:
        InputError: no `init`, no prompts, a checkpoint of another configuration, a critic that cannot see this data.
        StoppedError: the reward server is gone, nothing had a reward for 20 updates, the loss is no number, or memory
            did not suffice; the last checkpoint is kept.
    """
    if config.init is None and config.backbone.kind == "toy":
        raise InputError("init: is missing; the toy's RL begins with the `out` of `plumbline train sft`")
    with joined() as processes, running.one_line(config.out):
        running.set_threads(config)
        reader = reader_of(
            config, "rl", side=config.backbone.side, seed=config.seed, rank=processes.rank, world=processes.world
        )
        reader_of(config, "test", side=None, seed=None)  # or it is said now
        refuse_unjudgeable(config.reward, dataset_of(config.data), config.data)
        found = running.begin(config, processes)
        backbone = running.open_backbone(config, lambda: iter(()))
        run = RLRun(config, backbone, reader, processes, say)
        if found is not None:
            run.load_state_dict(found[1])
            say(f"{config.out}: goes on from {found[0]}")
        else:
            say(f"{config.data}: {reader.samples:,} prompts for RL; {config.batch} x {config.group} rollouts an update")
        running.keep_settings(run)
        run.train()
        running.finished(run, say)


@dataclass(frozen=True)
class Policies:
    """The policy that is trained, and two that are not.

    Attributes:
        backbone: has the weights that are trained.
        old: those that draw for `nft`, which lag behind.
        reference: those that RL began with.
    """

    backbone: Backbone
    old: Weights
    reference: Weights


@dataclass(frozen=True)
class Group:
    """The rollouts of one update, group after group.

    Attributes:
        examples, reasonings: [B]; the group of rollout i is i // group.
        context: of these reasonings, without gradient.
        x: [B, ...] the drawn latents.
        path: for `flow_grpo`, latents before and after each step, its time, its end and its log-density then.
    """

    examples: list[Example]
    reasonings: list[str]
    context: Context
    x: Tensor
    path: list[tuple[Tensor, Tensor, float, float, Tensor]]

    @property
    def prompts(self) -> list[Prompt]:
        return [one.prompt for one in self.examples]


class RLRun:
    """A run with everything that a checkpoint keeps."""

    def __init__(
        self, config: RLConfig, backbone: Backbone, reader: Reader, processes: Processes, say: running.Say
    ) -> None:
        self.config, self.backbone, self.processes = config, backbone, processes
        if config.batch % processes.world:
            raise InputError(f"batch: {config.batch} prompts do not go round among {processes.world} processes")
        self.batches = Batches(
            reader, config.batch // processes.world, length_of, workers=config.workers, keep=config.keep_decoded
        )
        named = list(backbone.trained(config.policy))
        for _, one in backbone.trained("both"):
            one.requires_grad_(False)
        for _, one in named:
            one.requires_grad_(True)
        self.stepper = Stepper(named, config.optimiser, config.steps)
        self.policies = Policies(backbone, Weights(named), Weights(named))
        self.average = Weights(named)
        self.reward = rewarding(config.reward, config.device)
        worded = [one for one in config.reward if one.kind == "clip_surrogate"]
        self.worded = rewarding(worded, config.device) if config.less_siblings and worded else None
        self.generator = torch.Generator().manual_seed(config.seed * 1009 + processes.rank)
        self.step = self._blind = 0
        self._say = say

    def train(self) -> None:
        """The updates that are left; the first line of the metrics is of the weights that RL began with."""
        config = self.config
        metrics = running.Metrics(config.out, self.step, self._say, writes=self.processes.first)
        held = held_out_set(config, config.backbone.side) if self.processes.first else None
        if held is not None and not held.of_drawn_world:
            _refuse_blind_critics(config)
        self._evaluate_if_due(held, metrics)
        clock, batches = running.Clock(), iter(self.batches)
        while self.step < config.steps:
            with clock.waiting():
                _, batch = next(batches)
            figures = self.update(batch)
            self.step += 1
            clock.steps += 1
            last = self.step == config.steps
            if last or self.step % config.log == 0:
                metrics.write(self.step, **figures, **clock.figures())
            with clock.stopped():
                if last or self.step % config.save == 0:
                    self._save()
                self._evaluate_if_due(held, metrics)

    def update(self, batch: list[Example]) -> dict[str, float]:
        """One update: roll out, reward, advantages, gradient steps."""
        config = self.config
        group = rollouts(self.policies, batch, config, self.generator)
        images = self.backbone.decode(group.x)
        rewards = self.reward(Rollouts(group.examples, group.reasonings, images))
        worth = rewards if self.worded is None else rewards - self._of_siblings(group, images, self.worded)
        own = self.processes.own(len(rewards))
        rewards, worth = (self.processes.gathered(torch.from_numpy(one)).numpy() for one in (rewards, worth))
        self._refuse_blindness(rewards)
        advantages, weights, statistics = weighed(rewards, config, worth)
        shares = weights / max(weights.mean(), 1e-9)
        loss = norm = 0.0
        if weights.any():  # all processes step, or none: one that has nothing to train on adds a gradient of 0
            for _ in range(config.inner):
                value = rl_loss(self.policies, group, advantages[own], shares[own], config, self.generator)
                running.refuse_nan(value, self.step + 1)
                norm = self.stepper.step(value, self.step, self.processes)
                loss = float(value.detach())
        self.policies.old.follow(min(config.old_decay, 0.001 * self.step))
        self.average.trail(config.optimiser.ema, self.step + 1)
        return {
            "reward": float(np.nanmean(rewards)) if np.isfinite(rewards).any() else float("nan"),
            "reward_std": group_statistics(rewards.reshape(-1, config.group)).mean_std,
            "group_std": statistics.mean_std if statistics else float("nan"),
            "zero_std_ratio": statistics.zero_std_ratio if statistics else float("nan"),
            "unrewarded": float(np.isnan(rewards).mean()),
            "trained_share": float(weights.mean()),
            "distinct_reasonings": len(set(zip([p.id for p in group.prompts], group.reasonings, strict=True)))
            / len(group.reasonings),
            "loss": loss,
            "grad_norm": norm,
        }

    def _refuse_blindness(self, rewards: Any) -> None:
        """Stop where no rollout has had a reward for a while: nothing is trained, and nothing would say so."""
        self._blind = 0 if np.isfinite(rewards).any() else self._blind + 1
        if self._blind == _BLIND:
            raise StoppedError(
                f"{self.config.out}: no rollout of the last {_BLIND} updates had a reward; the surrogate reads an"
                " out_caption: take an `init` that writes one, or a reward that reads none (qma, cme)"
            )

    def _of_siblings(self, group: Group, images: Tensor, reward: Rewarding) -> Any:
        """[B] what the other images of the group are worth under each rollout's own IC-CoT, on average."""
        size = self.config.group
        rows = images.reshape(-1, size, *images.shape[1:])
        turned = (rows.roll(by, 1).flatten(0, 1) for by in range(1, size))
        return np.mean([reward(Rollouts(group.examples, group.reasonings, one)) for one in turned], axis=0)

    def _evaluate_if_due(self, held: HeldOutSet | None, metrics: running.Metrics) -> None:
        due = self.step == self.config.steps or self.step % self.config.evaluate == 0
        if held is not None and due and metrics.lacks_evaluation(self.step):
            self._evaluate(held, metrics)

    def _evaluate(self, held: HeldOutSet, metrics: running.Metrics) -> None:
        clip = Surrogate("toy") if held.drawn else None
        with self.average.in_model():
            found = evaluate(
                self.backbone, held, self.config, reward=self.reward, clip=clip, reasons=self.config.reasons
            )
        metrics.write(self.step, **found.figures, each=found.each)
        write_grid(paths.join(self.config.out, f"grids/step-{self.step:08d}.png"), held, found.images)

    def _save(self) -> None:
        with self.average.in_model():
            best = self.backbone.saved()
        running.save(self, best=best, average=self.average.state_dict(), old=self.policies.old.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was made; the reference stays that of `init`."""
        running.restore(self, state)
        self.average.load_state_dict(state["average"])
        self.policies.old.load_state_dict(state["old"])


def _refuse_blind_critics(config: RLConfig) -> None:
    for one in config.reward:
        if one.kind != "clip_surrogate" and one.url is None:
            raise InputError(
                f"reward.kind: {one.kind} without a url reads the drawn world alone, and {config.data} is of another;"
                " begin `plumbline serve rewards` and give its url"
            )


@torch.no_grad()
def rollouts(policies: Policies, batch: list[Example], config: RLConfig, generator: torch.Generator) -> Group:
    """`group` rollouts of each sample: an IC-CoT, sampled where `config.reasons`, and an image drawn from it."""
    backbone = policies.backbone
    examples = [one for one in batch for _ in range(config.group)]
    prompts = [one.prompt for one in examples]
    if not config.reasons:
        reasonings = [""] * len(prompts)
    elif config.rid:
        reasonings = backbone.reason(prompts, temperature=config.temperature, generator=generator)
    else:
        shared = backbone.reason([one.prompt for one in batch], temperature=config.temperature, generator=generator)
        reasonings = [text for text in shared for _ in range(config.group)]
    context = backbone.encode(prompts, reasonings)
    device = next(one.device for _, one in backbone.trained(config.policy))
    noise = _noise(len(examples), backbone, generator, device)
    times = flow.schedule(config.rollout_steps, config.shift)
    if config.algo == "nft":  # the policy that draws lags behind the one that is trained
        with policies.old.in_model():
            x = flow.ode_sample(lambda x, t: backbone.velocity(x, t, context), noise, times)
        return Group(examples, reasonings, context, x, [])
    x, path = noise, []
    for now, then in pairwise(times):
        velocity = backbone.velocity(x, x.new_full((len(x),), now), context)
        if then == 0:  # the last step has no noise, and is not trained
            x = x + (then - now) * velocity
            break
        step = flow.sde_step(
            x, velocity, now, then, level=config.level, noise=_noise(len(x), backbone, generator, device)
        )
        path.append((x, step.next, now, then, step.logp))
        x = step.next
    return Group(examples, reasonings, context, x, path)


def weighed(rewards: Any, config: RLConfig, worth: Any = None) -> tuple[Any, Any, GroupStatistics | None]:
    """([B] advantages, 0 where there is no reward; [B] 1 where a rollout is trained on, else 0; statistics).

    Args:
        worth: [B] what advantages and statistics are of; None: the rewards themselves.
    """
    rows = np.asarray(rewards, dtype=np.float64).reshape(-1, config.group)
    worths = rows if worth is None else np.asarray(worth, dtype=np.float64).reshape(-1, config.group)
    scored = ~np.isnan(worths)
    if not scored.any():
        return np.zeros(rows.size), np.zeros(rows.size), None
    statistics = group_statistics(worths)
    advantages = group_advantages(worths, std=config.std, clip=config.advantage_clip)
    trained = scored
    if config.informative:
        telling = informative_samples(rows, min_std=config.min_std, max_mean=config.max_mean) & scored
        trained = telling if telling.any() else scored
    return np.nan_to_num(advantages).reshape(-1), trained.astype(np.float64).reshape(-1), statistics


def rl_loss(
    policies: Policies, group: Group, advantages: Any, weights: Any, config: RLConfig, generator: torch.Generator
) -> Tensor:
    """The loss of one gradient step: the image's part, the text's part, or both; the mean over what is trained on.

    Args:
        advantages, weights: [B] of this process's rollouts; weights are 1 on average over those of all.
    """
    advantage = torch.as_tensor(advantages, dtype=torch.float32, device=group.x.device)
    weight = torch.as_tensor(weights, dtype=torch.float32, device=group.x.device)
    each = torch.zeros_like(advantage)
    context = group.context
    if config.policy in ("text", "both"):
        now = policies.backbone.encode(group.prompts, group.reasonings)
        if now.logp is None or now.tokens is None or context.logp is None:
            raise InputError(f"policy: {config.policy}; this backbone trains no text, set policy: image")
        each = each + flow.token_policy_loss(now.logp, context.logp, now.tokens, advantage, config.text_clip)
        context = now if config.policy == "both" else context
    if config.policy in ("image", "both"):
        part = _nft if config.algo == "nft" else _flow_grpo
        each = each + part(policies, group, context, advantage, config, generator)
    return (each * weight).mean()


def _nft(
    policies: Policies, group: Group, context: Context, advantage: Tensor, config: RLConfig, generator: torch.Generator
) -> Tensor:
    """[B] DiffusionNFT at one time per rollout; times A_max / beta as its code scales it."""
    backbone, x0 = policies.backbone, group.x
    t = flow.uniform_times(len(x0), generator, shift=config.shift).to(x0.device)
    xt = flow.interpolate(x0, _noise(len(x0), backbone, generator, x0.device), t)
    with torch.no_grad():
        with policies.old.in_model():
            before = backbone.velocity(xt, t, group.context)
        with policies.reference.in_model():
            first = backbone.velocity(xt, t, group.context)
    velocity = backbone.velocity(xt, t, context)
    r = nft_r(advantage, clip=config.advantage_clip)
    loss = flow.nft_loss(velocity, before, x0, xt, t, r, beta=config.beta)
    return config.advantage_clip * loss + config.kl * flow.velocity_kl(velocity, first)


def _flow_grpo(
    policies: Policies, group: Group, context: Context, advantage: Tensor, config: RLConfig, generator: torch.Generator
) -> Tensor:
    """[B] Flow-GRPO over some of the rollout's steps, the mean over those."""
    backbone = policies.backbone
    chosen = torch.randperm(len(group.path), generator=generator)[: config.sde_steps].tolist()
    each = torch.zeros_like(advantage)
    for number in chosen:
        x, to, now, then, logp = group.path[number]
        t = x.new_full((len(x),), now)
        with torch.no_grad(), policies.reference.in_model():
            first = flow.sde_step(x, backbone.velocity(x, t, group.context), now, then, level=config.level, to=to)
        step = flow.sde_step(x, backbone.velocity(x, t, context), now, then, level=config.level, to=to)
        each = each + flow.clipped_policy_loss(step.logp, logp, advantage, config.clip)
        each = each + config.kl * flow.gaussian_kl(step.mean, first.mean, step.std)
    return each / len(chosen)


def _noise(count: int, backbone: Backbone, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(count, *backbone.latent_shape, generator=generator).to(device)
