"""Rewards of rollouts: the CLIP surrogate, FIRM's critics by a server, or, on the drawn world, by its pixel oracle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from filters.clip_model import ClipModel
from rewards.client import RewardClient, RewardServerError
from rewards.critics import cme, execution_only, qma, weighted_sum
from rewards.surrogate import clip_surrogate
from schemas.errors import InputError, StoppedError
from training.backbone import Prompt
from training.config import Reward
from training.critics import drawn_edit_scores, drawn_generation_scores, refuse_other_than_edits
from training.examples import Example
from training.truth import as_bytes, out_caption

Scores = NDArray[np.float64]
PATIENCE = 120.0
"""Seconds for which a reward server that is busy or gone is asked again."""


@dataclass(frozen=True)
class Rollouts:
    """What is rewarded.

    Attributes:
        examples: the sample that each rollout is of.
        reasonings: its own IC-CoT.
        images: float [B, 3, H, W], 0 to 1.
        free: the reasonings are plain sentences, without tags.
    """

    examples: Sequence[Example]
    reasonings: Sequence[str]
    images: Tensor
    free: bool = False

    @property
    def captions(self) -> list[str | None]:
        """Each reasoning's own out_caption; None where it does not parse."""
        pairs = zip(self.examples, self.reasonings, strict=True)
        return [out_caption(text, len(one.prompt.images), free=self.free) for one, text in pairs]


class Rewarding(Protocol):
    """Gives [B] rewards; NaN where a rollout could not be judged."""

    def __call__(self, rollouts: Rollouts) -> Scores: ...


def rewarding(rewards: Sequence[Reward], device: str = "auto") -> Rewarding:
    """The weighted sum of the configured rewards.

    Raises:
        InputError: weights that cannot be had, or a kind that is not served by url.
    """
    parts = [(one.weight, _one(one, device)) for one in rewards]

    def summed(rollouts: Rollouts) -> Scores:
        return np.asarray(sum(weight * part(rollouts) for weight, part in parts), dtype=np.float64)

    return summed


def refuse_unjudgeable(rewards: Sequence[Reward], dataset: str, data: str) -> None:
    """Refuse critics that have nothing to see in this data.

    Raises:
        InputError: critics of edits, and prompts; critics that read the target, and labels, which have none.
    """
    for one in rewards:
        if dataset == "firm-gen" and one.kind in ("cme", "weighted_sum", "execution_only"):
            raise InputError(f"reward.kind: {one.kind} judges edits, and {data} holds prompts (firm-gen); take qma")
        if dataset != "realign" and one.kind != "clip_surrogate" and one.url is None:
            raise InputError(
                f"reward.kind: {one.kind} without a url reads targets, and {data} ({dataset}) has none; begin"
                " `plumbline serve rewards` and give its url"
            )


def _one(reward: Reward, device: str) -> Rewarding:
    if reward.kind == "clip_surrogate" and reward.url is None:
        return Surrogate(reward.weights, device)
    if reward.url is not None:
        return ByServer(reward)
    return Drawn(reward)


class Surrogate:
    """CLIP's cosine of each image and the out_caption of its own reasoning (arXiv 2601.05124)."""

    def __init__(self, weights: str, device: str = "auto") -> None:
        self.clip = ClipModel.load(weights, device)

    def __call__(self, rollouts: Rollouts) -> Scores:
        """[B] cosines; NaN where the reasoning does not parse, or says what this CLIP has no word for."""
        captions = rollouts.captions
        known = {text for text in set(captions) if text is not None and not self.clip.refusal(text)}
        sound = [n for n, text in enumerate(captions) if text in known]
        found = np.full(len(captions), np.nan)
        if sound:
            found[sound] = self.cosines(rollouts.images[sound], [captions[n] or "" for n in sound])
        return found

    def cosines(self, images: Tensor, captions: Sequence[str]) -> Scores:
        """[B] of images and texts that this CLIP knows the words of."""
        pictures = as_bytes(images)
        sources = [(hashlib.sha256(one.tobytes()).hexdigest(), _source(one)) for one in pictures]
        return np.asarray(
            clip_surrogate(self.clip.image_embeddings(sources), self.clip.text_embeddings(list(captions))),
            dtype=np.float64,
        )


class ByServer:
    """Any reward that `plumbline serve rewards` gives.

    Raises:
        StoppedError: when called, and the server is gone and does not come back.
    """

    def __init__(self, reward: Reward) -> None:
        if reward.kind not in ("cme", "qma", "clip_surrogate"):
            raise InputError(f"reward.kind: {reward.kind} is not served; have cme, qma or clip_surrogate by url")
        token = os.environ.get(reward.token_env) if reward.token_env else None
        if reward.token_env and not token:
            raise InputError(f"reward.token_env: {reward.token_env} is not set")
        assert reward.url is not None
        self._kind, self._url = reward.kind, reward.url
        self._client = RewardClient(reward.url, reward=reward.kind, token=token, patience=PATIENCE)

    def __call__(self, rollouts: Rollouts) -> Scores:
        images = [Image.fromarray(one) for one in as_bytes(rollouts.images)]
        texts = [one.record["instruction"] for one in rollouts.examples]
        try:
            if self._kind == "cme":
                refuse_other_than_edits(rollouts.examples)
                found = self._client.edits([_base(one.prompt) for one in rollouts.examples], images, texts)
            elif self._kind == "qma":
                found = self._client.generated(images, texts)
            else:
                found = self._client.captioned(images, rollouts.captions)
        except RewardServerError as error:
            raise StoppedError(f"the reward server: {error}; mend it and run the same command to go on") from error
        return np.asarray(found.rewards, dtype=np.float64)


class Drawn:
    """FIRM's rewards by the pixel oracle of the drawn world: without a server, and of no use elsewhere."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def __call__(self, rollouts: Rollouts) -> Scores:
        pictures = as_bytes(rollouts.images)
        reward = self._reward
        weights: dict[str, Any] = {} if reward.w1 is None or reward.w2 is None else {"w1": reward.w1, "w2": reward.w2}
        if reward.kind == "qma":
            following, quality = drawn_generation_scores(rollouts.examples, pictures)
            return np.asarray(qma(following, quality, **weights), dtype=np.float64)
        if reward.kind == "clip_surrogate":
            raise AssertionError("the surrogate has a class of its own")
        execution, consistency = drawn_edit_scores(rollouts.examples, pictures)
        if reward.kind == "execution_only":
            return np.asarray(execution_only(execution), dtype=np.float64)
        score = cme if reward.kind == "cme" else weighted_sum
        return np.asarray(score(execution, consistency, **weights), dtype=np.float64)


def _source(pixels: Any) -> Any:
    return lambda: Image.fromarray(pixels)


def _base(prompt: Prompt) -> Image.Image:
    return Image.fromarray(prompt.images[0].permute(1, 2, 0).numpy())
