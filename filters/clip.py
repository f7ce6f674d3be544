"""The filter that asks CLIP whether each out_caption fits the target; the model is in `clip_model`.

The paper's "Reasoning-Target Cross-Validation" (arXiv 2601.05124, data pipeline, stage e): the cosine of caption and
image embeddings, s(x, c) = E(x)·T(c) / (|E(x)| |T(c)|). Neither its model nor its threshold is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from filters.base import TOGETHER, Candidate, Verdict, rounded
from filters.clip_model import ClipModel, product
from filters.weights import defect_of
from schemas.draft import Reasoning
from schemas.errors import InputError


class ClipConfig(BaseModel):
    """Which CLIP, and how well a caption must fit.

    Attributes:
        weights: `toy` (the toy world only), `NAME/PRETRAINED` of open_clip, or `local-dir:PATH` to a folder with
            open_clip_config.json and weights.
        min_text: lowest cosine of out_caption and target; a reasoning below it is dropped, a sample without any left
            is rejected (reason `clip_text`). Null scores without rejecting. It depends on the weights: see the docs.
        device: `auto` takes CUDA where there is one; worker i of n GPUs takes GPU i % n, unless `cuda:N` names one.
        precision: `auto` is fp16 on CUDA and fp32 elsewhere; a model that overflows in fp16 says so and needs bf16.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    min_text: float | None = Field(default=None, ge=-1, le=1)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"

    @field_validator("weights")
    @classmethod
    def _names_weights(cls, weights: str) -> str:
        if defect := defect_of(weights):
            raise ValueError(defect)
        return weights


@dataclass(frozen=True)
class ClipFilter:
    """Scores `clip_text` (the best reasoning that remains) and `long_captions` (reasonings scored in chunks).

    A caption that the toy weights refuse has no score; where a limit is set it is dropped, being vouched for by
    nothing.
    """

    config: ClipConfig
    model: ClipModel
    name: str = "clip"
    cost: int = 10
    scores: tuple[str, ...] = ("clip_text", "long_captions")
    batch: int = TOGETHER

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        targets = self.model.image_embeddings([(c.draft.target.sha256, c.images.target_bytes) for c in candidates])
        captions = [r.iccot.out_caption for c in candidates for r in c.draft.reasonings]
        refused = {caption: self.model.refusal(caption) for caption in captions}
        sound = [caption for caption, why in refused.items() if not why]
        vectors = dict(zip(sound, self.model.text_embeddings(sound), strict=True)) if sound else {}
        return [
            self._verdict(candidate.draft.reasonings, target, vectors, refused)
            for candidate, target in zip(candidates, targets, strict=True)
        ]

    def _verdict(
        self, reasonings: Sequence[Reasoning], target: Any, vectors: dict[str, Any], refused: dict[str, str]
    ) -> Verdict:
        scored = []
        for reasoning in reasonings:
            vector = vectors.get(reasoning.iccot.out_caption)
            score = None if vector is None else rounded(product(vector, target))
            scored.append(reasoning.model_copy(update={"clip_text": score}))
        long = sum(not refused[t] and self.model.is_long(t) for t in (r.iccot.out_caption for r in reasonings))
        refusal = next((why for why in (refused[r.iccot.out_caption] for r in reasonings) if why), "")
        verdict = sifted(scored, "clip_text", "clip_text", "min_text", self.config.min_text, refusal)
        return Verdict(
            verdict.reason, verdict.detail, {**verdict.scores, "long_captions": float(long)},
            verdict.reasonings, verdict.dropped,
        )  # fmt: skip


def sifted(
    scored: Sequence[Reasoning], column: str, reason: str, key: str, limit: float | None, unscored: str | None = None
) -> Verdict:
    """The reasonings at or above `limit`; a rejection where none is.

    Args:
        column: the reasoning's attribute, which is also the sample's score: the best that remains.
        reason: of a rejection.
        key: the limit's name in the configuration.
        unscored: why a reasoning may have no score, for the detail; None keeps those without one.
    """

    def stays(score: float | None) -> bool:
        return limit is None or (unscored is None if score is None else score >= limit)

    kept = tuple(r for r in scored if stays(getattr(r, column)))
    dropped = tuple(r for r in scored if not stays(getattr(r, column)))
    known = [score for r in (kept or dropped) if (score := getattr(r, column)) is not None]
    scores = {column: max(known)} if known else {}
    if kept:
        return Verdict(scores=scores, reasonings=kept, dropped=dropped)
    best = f"the best of {len(dropped)} is {max(known):g}, below {key} {limit:g}" if known else str(unscored)
    return Verdict(reason, best, scores, kept, dropped)


def check_vocabulary(captions: Iterable[str]) -> None:
    """To be asked before a run with the toy weights: does the toy world's vocabulary hold the pool's captions?

    Raises:
        InputError: quoting the first caption it does not hold.
    """
    from toyworld.tokenizer import OutOfVocabulary, ToyTokenizer

    tokenizer = ToyTokenizer()
    for caption in captions:
        try:
            tokenizer.ids(caption)
        except OutOfVocabulary as error:
            raise InputError(
                f"filters.clip.weights: toy reads only the toy world, and the pool has the caption {caption[:80]!r} "
                f"({str(error)[:120]}): use NAME/PRETRAINED or local-dir:PATH, or pool: toyworld"
            ) from error
