"""What a training run is told: YAML read into models that forbid unknown keys, `--set` on top."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.backbone import Policy
from training.backbones.qwen_image_edit import QwenImageEditConfig
from training.backbones.sd3 import SD3Config
from training.backbones.toy import ToyConfig

Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeldOut(Strict):
    """Shares of the training split that are kept out of SFT, where the output has no split of that name.

    Attributes:
        rl: prompts for reinforcement learning.
        test: what is evaluated.
    """

    rl: Annotated[float, Field(ge=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.04


Choice = Annotated[ToyConfig | QwenImageEditConfig | SD3Config, Field(discriminator="kind")]
"""A backbone by its `kind`; see `training.backbones`."""


class Optimiser(Strict):
    """AdamW.

    Attributes:
        lr: the highest learning rate; it rises over `warmup` steps and then falls along a half cosine to a fiftieth.
        clip: gradients are scaled down to this norm.
        ema: the decay of the weights' moving average, which is what is evaluated and kept; 0: none.
    """

    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Share, Share] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=50, ge=0)
    cosine: bool = True
    clip: float = Field(default=1.0, gt=0)
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995


class RLOptimiser(Optimiser):
    """AdamW as RL has it: a low rate that stays; the weights themselves are evaluated, unless `ema` is given."""

    lr: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: int = Field(default=0, ge=0)
    cosine: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Run(Strict):
    """What every training run is told.

    Attributes:
        data: an output folder of `plumbline realign`, local or in a bucket; for RL also one of `firm-gen` (its prompts)
            or `firm-edit` (its edits as they were asked for).
        out: where checkpoints, metrics and pictures go.
        init: a finished run whose weights this one begins with.
        steps: optimiser steps (SFT) or updates (RL).
        backbone: what is trained: `{kind: toy, ...}`, `{kind: qwen_image_edit, weights: ...}`, `{kind: sd3, ...}`.
        resume: go on from the last checkpoint in `out`, if there is one.
        tasks: samples of these tasks alone, in training and in evaluation; none: all.
        max_references: samples with at most so many references alone; none: all.
        batch: samples (SFT), or prompts (RL), of all processes together.
        keep_decoded: keep decoded images in memory: for data that is seen many times and fits.
        workers: processes that decode ahead.
        threads: of this process's arithmetic; none: as many as torch takes.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        save, log, evaluate: every so many steps.
        eval_samples: how many held-out samples are evaluated.
        eval_steps: flow steps of an evaluation's images.
        shift: of times towards noise, in training and in sampling (`training.flow.shifted`).
    """

    data: str
    out: str
    init: str | None = None
    steps: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    resume: bool = True
    backbone: Choice = ToyConfig()
    held_out: HeldOut = HeldOut()
    tasks: tuple[str, ...] = ()
    max_references: int | None = Field(default=None, ge=1)
    batch: int = Field(default=48, ge=1)
    keep_decoded: bool = False
    workers: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    device: str = "auto"
    save: int = Field(default=200, ge=1)
    log: int = Field(default=20, ge=1)
    evaluate: int = Field(default=400, ge=1)
    eval_samples: int = Field(default=96, ge=1)
    eval_steps: int = Field(default=16, ge=1)
    shift: float = Field(default=1.0, gt=0)

    @property
    def free(self) -> bool:
        """Whether reasonings are plain sentences."""
        return False


Times = Literal["logit_normal", "uniform"]


class SFTConfig(Run):
    """Stage 1.

    Attributes:
        without_reasoning: share of the samples that are shown without their IC-CoT, so that inference may skip it.
        reasonings: `all`: every reasoning of a sample in turn. `first`: the first alone.
        form: the IC-CoT as it is, as plain sentences without tags (`free`), or `none`: for the ablation.
        times: how often each time of the flow is trained: `logit_normal` (Stable Diffusion 3) dwells in the middle,
            `uniform` also trains the first steps from noise, on which small models depend.
        snr_gamma: the most that an error of the clean image weighs in the flow's loss, as Min-SNR weighting has it
            (`training.flow.min_snr_weights`); none: as much as velocities make of it.
        understand: weight of two cross-entropies, added, on a second batch, of all tasks, whatever `tasks` says: of
            captions of references that are shown alone, and of IC-CoTs, in turn. BAGEL is trained on understanding
            data besides, too; from captions it learns to see what prompts leave unsaid, and few samples are learned by
            heart.
        lessons: samples of that second batch, of all processes together; none: as many as `batch`.
        ce_weight, mse_weight: of the two losses; 1 and 1 in BAGEL (Re-Align does not say).
    """

    without_reasoning: Share = 0.1
    reasonings: Literal["all", "first"] = "all"
    form: Literal["structured", "free", "none"] = "structured"
    times: Times = "logit_normal"
    snr_gamma: float | None = Field(default=None, gt=0)
    understand: float = Field(default=0.0, ge=0)
    lessons: int | None = Field(default=None, ge=1)
    ce_weight: float = Field(default=1.0, ge=0)
    mse_weight: float = Field(default=1.0, ge=0)
    optimiser: Optimiser = Optimiser()

    @property
    def free(self) -> bool:
        """See `Run`."""
        return self.form == "free"


class Reward(Strict):
    """One of the rewards, which are summed by weight.

    Attributes:
        kind: `clip_surrogate`: CLIP between the image and its own out_caption (Re-Align). `cme`, `qma`: FIRM's critics.
            `weighted_sum`, `execution_only`: FIRM's baselines for edits.
        weights: of the CLIP: `toy`, NAME/PRETRAINED or local-dir:PATH.
        url: a reward server (`plumbline serve rewards`); None: in process, which the toy world alone has critics for.
        token_env: the variable that holds the server's token.
        w1, w2: of a critic in process; None: the paper's.
    """

    kind: Literal["clip_surrogate", "cme", "qma", "weighted_sum", "execution_only"]
    weight: float = Field(default=1.0, gt=0)
    weights: str = "toy"
    url: str | None = None
    token_env: str | None = None
    w1: float | None = Field(default=None, ge=0)
    w2: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _all_is_heeded(self) -> Self:
        if self.kind != "clip_surrogate" and self.weights != "toy":
            raise ValueError(f"weights: are the surrogate's CLIP; {self.kind} has none")
        if self.kind in ("clip_surrogate", "execution_only") and (self.w1, self.w2) != (None, None):
            raise ValueError(f"w1 and w2: weigh a critic's two scores; {self.kind} has one")
        if self.token_env is not None and self.url is None:
            raise ValueError("token_env: is the token of a server; give its url")
        if (self.w1 is None) != (self.w2 is None):
            raise ValueError("w1 and w2: give both, or neither for the paper's")
        if self.w1 is not None and self.url is not None:
            raise ValueError("w1 and w2: a server has weights of its own; give them to `plumbline serve rewards`")
        return self


class RLConfig(Run):
    """Stage 2.

    Attributes:
        algo: `nft` (DiffusionNFT) or `flow_grpo`.
        policy: what is trained: what draws, what reasons, or both.
        reasons: an IC-CoT is sampled before anything is drawn; else the prompt alone is drawn from, as FIRM does.
        rid: reasoning-induced diversity: each rollout samples an IC-CoT of its own; else a group shares one.
        group: rollouts of a prompt.
        temperature: of the IC-CoTs.
        rollout_steps: flow steps of a rollout.
        reward: one or several, weighted.
        less_siblings: take off each surrogate reward what the other images of its group are worth under the same
            IC-CoT, on average. Under `rid` these rewards differ by how captions are worded, more than by what was
            drawn; this leaves the latter. (A control variate for `policy: image`: no other image depends on this one.
            Critics read no caption.)
        std: advantages are divided by the spread of their `group`, or of the whole batch (`global`).
        informative: leave groups out that teach little (`rewards.groups.informative_samples`), where at least one does
            not: those whose rewards spread by `min_std` or less, or have a mean of `max_mean` or more. FIRM's values,
            for rewards in 0 to 1; CLIP's cosines lie closer together.
        beta: DiffusionNFT's distance of its two branches.
        kl: weight of the distance of what is drawn to what the weights that RL began with draw.
        inner: gradient steps on one batch of rollouts.
        old_decay: the most that the drawing policy of `nft` keeps of its past in one update.
        level: noise of the SDE (`flow_grpo`).
        sde_steps: of the rollout's steps, how many are trained per update (`flow_grpo`).
        clip, text_clip: of the policy's ratio, for images (`flow_grpo`) and for text.
        advantage_clip: advantages are kept within this.
    """

    algo: Literal["nft", "flow_grpo"] = "nft"
    policy: Policy = "image"
    reasons: bool = True
    rid: bool = True
    group: int = Field(default=10, ge=2)
    temperature: float = Field(default=1.0, gt=0)
    rollout_steps: int = Field(default=7, ge=2)
    reward: list[Reward] = Field(default=[Reward(kind="clip_surrogate")], min_length=1)
    less_siblings: bool = False
    std: Literal["group", "global"] = "global"
    informative: bool = False
    min_std: float = Field(default=0.05, ge=0)
    max_mean: float = 0.9
    beta: float = Field(default=1.0, gt=0)
    kl: float = Field(default=1e-4, ge=0)
    inner: int = Field(default=2, ge=1)
    old_decay: Share = 0.5
    level: float = Field(default=0.35, gt=0)
    sde_steps: int = Field(default=3, ge=1)
    clip: float = Field(default=1e-3, gt=0)
    text_clip: float = Field(default=0.2, gt=0)
    advantage_clip: float = Field(default=5.0, gt=0)
    optimiser: RLOptimiser = RLOptimiser()

    @model_validator(mode="after")
    def _silence_is_not_rewarded(self) -> Self:
        if not self.reasons and (self.policy != "image" or any(one.kind == "clip_surrogate" for one in self.reward)):
            raise ValueError("reasons: false goes with policy: image and with critics; nothing else has words to go by")
        return self

    @model_validator(mode="after")
    def _siblings_share_no_policy(self) -> Self:
        if self.less_siblings and self.policy != "image":
            raise ValueError("less_siblings: goes with policy: image; set it to false, or what reasons learns no words")
        return self
