"""Reference against target: an edit that changed nothing, and a reference pasted whole instead of being used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from filters.base import Candidate, Verdict, rounded
from filters.change import edit_change
from filters.paste import pasted, same_picture
from schemas.plan import PlannedReference
from schemas.tasks import Role

if TYPE_CHECKING:
    from PIL import Image


class SimilarityConfig(BaseModel):
    """Limits; null switches one off. A score is stored whether or not its limit is on.

    Attributes:
        min_edit_change: an edit must change more than this share of the picture, see `change.edit_change`. Found:
            photographs and cliparts saved again as JPEG (quality 95 to 30), halved, stretched or shifted, none above
            it; softened or grained, 3 in 100; an added object of a tenth of the width above it in 98 of 100, of a
            twentieth in 94, a lone dot of 3 % in 96; 5 % more light in 94, a warmer or harder tone always. A zoom by
            1 % is taken for an edit in 7 of 10. (reason `no_op`)
        max_copy_paste: see `paste.pasted`. Found: photographs pasted at half the target's size or more, relit and
            saved again, above it in 95 of 100, at a third in 85, at a quarter in 30; subjects cut out (with a soft
            ellipse) at most 0.82; other photographs of the same subject above it in 5 of 100, those being taken from
            almost the same place. (reason `copy_paste`)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_edit_change: float | None = Field(default=0.0005, ge=0, le=1)
    max_copy_paste: float | None = Field(default=0.85, ge=0, le=1)


@dataclass(frozen=True)
class SimilarityFilter:
    """Scores `edit_change` where there is an image to edit, `copy_paste` where there is a subject or a donor.

    The base and the scene are to be seen in the target as they are, so looking like them is no fault; that an edit
    left its base alone is `no_op`'s to find.
    """

    config: SimilarityConfig
    name: str = "similarity"
    cost: int = 2
    scores: tuple[str, ...] = ("edit_change", "copy_paste")

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        return [self._verdict(candidate) for candidate in candidates]

    def _verdict(self, candidate: Candidate) -> Verdict:
        images, scores = candidate.images, {}
        target = images.target()
        copied = 0
        # Into a base that is a cut-out itself, another is rightly set just as it is: on white and nothing else.
        plain = any(p.role is Role.BASE and p.reference.alpha for p in candidate.draft.plan.references)
        for number, planned in enumerate(candidate.draft.plan.references, 1):
            if planned.role is Role.BASE:
                scores["edit_change"] = rounded(edit_change(images.reference(number), target))
            elif planned.role in (Role.SUBJECT, Role.DONOR) and not (plain and planned.reference.alpha):
                score = rounded(_copied(planned, images.reference(number), target))
                if score >= scores.get("copy_paste", 0.0):
                    scores["copy_paste"], copied = score, number
        change, limit = scores.get("edit_change"), self.config.min_edit_change
        if change is not None and limit is not None and change <= limit:
            return Verdict("no_op", f"edit_change {change:g} is not above min_edit_change {limit:g}", scores)
        copy, limit = scores.get("copy_paste"), self.config.max_copy_paste
        if copy is not None and limit is not None and copy > limit:
            return Verdict("copy_paste", f"image_{copied}: {copy:g} is above max_copy_paste {limit:g}", scores)
        return Verdict(scores=scores)


def _copied(planned: PlannedReference, reference: Image.Image, target: Image.Image) -> float:
    # A cut-out has no rectangle to paste: its own outline may well be what the target shows.
    if planned.reference.alpha:
        return same_picture(reference, target)
    return max(same_picture(reference, target), pasted(reference, target))
