"""Does the target please: an aesthetic head over its CLIP embedding, and a preference model's cosine with its caption.

Neither is in the paper, whose "Image quality assessment" names no model. Neither has weights of ours: both are read
from a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from filters.base import TOGETHER, Candidate, Verdict, rounded
from filters.clip_model import ClipModel, product
from filters.heads import Activation, Head, defect_of_head
from filters.weights import defect_of
from schemas.errors import InputError


class AestheticConfig(BaseModel):
    """`filters.aesthetic`: a head, and the CLIP whose embeddings it was trained on.

    Attributes:
        weights: `local-dir:PATH` of the head: a file, or a folder with one.
        clip: as `filters.clip.weights`; by default that one.
        activation: what stands between the head's layers. LAION's have nothing there.
        min_aesthetic: lowest score, in the head's unit (LAION's: 1 to 10; reason `aesthetic`). Null stores it only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    clip: str | None = None
    activation: Activation = "none"
    min_aesthetic: float | None = None

    @field_validator("weights")
    @classmethod
    def _names_a_head(cls, weights: str) -> str:
        if defect := defect_of_head(weights):
            raise ValueError(defect)
        return weights

    @field_validator("clip")
    @classmethod
    def _names_weights(cls, clip: str | None) -> str | None:
        if clip is not None and (defect := defect_of(clip)):
            raise ValueError(defect)
        return clip


class PreferenceConfig(BaseModel):
    """`filters.preference`: a CLIP trained on people's choices; PickScore (arXiv 2305.01569) is scale * cosine.

    Attributes:
        weights: as `filters.clip.weights`: `local-dir:PATH` of a folder as open_clip reads it, or a name of its list.
        scale: the factor, exp(logit_scale) of the model: 100 for PickScore, whose scores lie about 20.
        text: what is compared with the target: the `caption` (of the reasoning that fits it best), which is the kind
            of text that such models saw, or the `instruction`.
        min_preference: lowest score (reason `preference`). Null stores it only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str
    scale: float = Field(default=100.0, gt=0)
    text: Literal["caption", "instruction"] = "caption"
    min_preference: float | None = None

    @field_validator("weights")
    @classmethod
    def _names_weights(cls, weights: str) -> str:
        if defect := defect_of(weights):
            raise ValueError(defect)
        return weights


@dataclass(frozen=True)
class AestheticFilter:
    """Scores `aesthetic`, the head's number for the target."""

    config: AestheticConfig
    model: ClipModel
    head: Head
    name: str = "aesthetic"
    cost: int = 12
    scores: tuple[str, ...] = ("aesthetic",)
    batch: int = TOGETHER

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        targets = self.model.image_embeddings([(c.draft.target.sha256, c.images.target_bytes) for c in candidates])
        return [_limited("aesthetic", self.head.score(target), self.config.min_aesthetic) for target in targets]


@dataclass(frozen=True)
class PreferenceFilter:
    """Scores `preference`. A text that the toy weights refuse has no score, and no limit is passed without one."""

    config: PreferenceConfig
    model: ClipModel
    name: str = "preference"
    cost: int = 13
    scores: tuple[str, ...] = ("preference",)
    batch: int = TOGETHER

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        targets = self.model.image_embeddings([(c.draft.target.sha256, c.images.target_bytes) for c in candidates])
        said = [self._texts(candidate) for candidate in candidates]
        sound = sorted({text for texts in said for text in texts if not self.model.refusal(text)})
        vectors = dict(zip(sound, self.model.text_embeddings(sound), strict=True)) if sound else {}
        verdicts = []
        for texts, target in zip(said, targets, strict=True):
            fits = [product(vectors[text], target) for text in texts if text in vectors]
            if fits:
                verdicts.append(_limited("preference", self.config.scale * max(fits), self.config.min_preference))
            elif self.config.min_preference is None:
                verdicts.append(Verdict())
            else:
                verdicts.append(Verdict("preference", self.model.refusal(texts[0])))
        return verdicts

    def _texts(self, candidate: Candidate) -> list[str]:
        if self.config.text == "instruction":
            return [candidate.draft.instruction]
        return [reasoning.iccot.out_caption for reasoning in candidate.draft.reasonings]


def check_head(head: Head, model: ClipModel, where: str) -> None:
    """Nothing, where the head takes what the model gives.

    Raises:
        InputError: their widths differ.
    """
    from PIL import Image

    width = model.image_embeddings([("a black picture", lambda: Image.new("RGB", (64, 64)))]).shape[1]
    if head.width != width:
        raise InputError(
            f"{where}.weights: the head takes {head.width} numbers, and {model.weights} gives {width}; "
            f"name the CLIP that it was trained on under {where}.clip"
        )


def _limited(name: str, score: float, limit: float | None) -> Verdict:
    score = rounded(score)
    if limit is not None and score < limit:
        return Verdict(name, f"{name} {score:g} is below min_{name} {limit:g}", {name: score})
    return Verdict(scores={name: score})
