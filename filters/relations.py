"""Do the relations fit the references they name, or would they fit better exchanged?

Nothing of this is in the paper: the reasoner sees all references and may swap them, and a swapped relation teaches
exactly what IC-CoT is there to prevent. One such reasoning is dropped; its siblings stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from filters.base import TOGETHER, Candidate, Verdict, rounded
from filters.clip import sifted
from filters.clip_model import ClipModel, product
from filters.texts import scorable
from schemas.draft import Reasoning
from schemas.references import Reference


class RelationsConfig(BaseModel):
    """Uses the model of `clip`.

    Attributes:
        min_margin: lowest margin, in cosine; a reasoning below it is dropped, a sample without any left is rejected
            (reason `relations`). Null scores without rejecting. On the toy world with its CLIP, 0 found each of 108
            swapped reasonings and dropped 5 in 1,000 right ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_margin: float | None = Field(default=0.0, ge=-2, le=2)


@dataclass(frozen=True)
class RelationsFilter:
    """Scores `relation_margin`, the least by which two relations fit their own images better than each other's.

    For relations i and j it is half of cos(i, image i) + cos(j, image j) - cos(i, image j) - cos(j, image i): what
    exchanging them would lose. One relation's cosines alone, cos(i, image i) - cos(i, image j), dropped ten times as
    many right ones, since CLIP finds some pictures near to any text; over the pair that cancels.

    A relation is scored without the image it names ("The barn owl"), references that are cut-outs over white. Photos
    of one subject are not told apart, nor images of which the same is said. No margin (None, and the reasoning
    stays): a single reference, or no two relations that can be compared.
    """

    config: RelationsConfig
    model: ClipModel
    name: str = "relations"
    cost: int = 11
    scores: tuple[str, ...] = ("relation_margin",)
    batch: int = TOGETHER

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        several = [c for c in candidates if len(c.draft.plan.references) > 1]
        pixels = {
            planned.reference.sha256: partial(candidate.images.reference_bytes, number)
            for candidate in several
            for number, planned in enumerate(candidate.draft.plan.references, 1)
        }
        seen = dict(zip(pixels, self.model.image_embeddings(list(pixels.items())), strict=True)) if pixels else {}
        texts = {scorable(text) for c in several for r in c.draft.reasonings for text in r.iccot.relations}
        sound = sorted(text for text in texts if text and not self.model.refusal(text))
        said = dict(zip(sound, self.model.text_embeddings(sound), strict=True)) if sound else {}
        return [self._verdict(candidate, seen, said) for candidate in candidates]

    def _verdict(self, candidate: Candidate, seen: dict[str, Any], said: dict[str, Any]) -> Verdict:
        references = [planned.reference for planned in candidate.draft.plan.references]
        if len(references) < 2:
            return Verdict()
        scored = [_scored(r, references, seen, said) for r in candidate.draft.reasonings]
        return sifted(scored, "relation_margin", self.name, "min_margin", self.config.min_margin)


def _scored(
    reasoning: Reasoning, references: Sequence[Reference], seen: dict[str, Any], said: dict[str, Any]
) -> Reasoning:
    texts = [scorable(text) for text in reasoning.iccot.relations]
    images = [seen[reference.sha256] for reference in references]
    margins = [
        product(said[texts[i]] - said[texts[j]], images[i] - images[j]) / 2
        for j in range(len(texts))
        for i in range(j)
        if texts[i] in said and texts[j] in said and texts[i].lower() != texts[j].lower()
        and references[i].subject != references[j].subject
    ]  # fmt: skip
    return reasoning.model_copy(update={"relation_margin": rounded(min(margins)) if margins else None})
