"""Does each relation fit the reference it names better than the others?

Nothing of this is in the paper: the reasoner sees all references and may swap them, and a swapped relation teaches
exactly what IC-CoT is there to prevent. One such reasoning is dropped; its siblings stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from filters.base import Candidate, Verdict, rounded
from filters.clip import ClipModel, cosine, sifted
from filters.texts import scorable
from schemas.draft import Reasoning


class RelationsConfig(BaseModel):
    """Uses the model of `clip`.

    Attributes:
        min_margin: lowest margin of a relation, in cosine; a reasoning below it is dropped, a sample without any left
            is rejected (reason `relations`). At 0 a relation must fit its own reference at least as well as
            any other. Null scores without rejecting.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_margin: float | None = Field(default=0.0, ge=-2, le=2)


@dataclass(frozen=True)
class RelationsFilter:
    """Scores `relation_margin`, min over the relations of cos(text, own) - max cos(text, another reference).

    A relation is scored without the image it names ("The barn owl"), references that are cut-outs over white. No
    margin (None, and the reasoning stays): a single reference, or no relation that says anything of its image.
    """

    config: RelationsConfig
    model: ClipModel
    name: str = "relations"
    cost: int = 11
    scores: tuple[str, ...] = ("relation_margin",)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        several = [c for c in candidates if len(c.draft.plan.references) > 1]
        pixels = {
            planned.reference.sha256: partial(candidate.images.reference, number)
            for candidate in several
            for number, planned in enumerate(candidate.draft.plan.references, 1)
        }
        seen = dict(zip(pixels, self.model.image_embeddings(list(pixels.items())), strict=True)) if pixels else {}
        texts = {scorable(text) for c in several for r in c.draft.reasonings for text in r.iccot.relations}
        sound = sorted(text for text in texts if text and not self.model.refusal(text))
        said = dict(zip(sound, self.model.text_embeddings(sound), strict=True)) if sound else {}
        return [self._verdict(candidate, seen, said) for candidate in candidates]

    def _verdict(self, candidate: Candidate, seen: dict[str, Any], said: dict[str, Any]) -> Verdict:
        references = [planned.reference.sha256 for planned in candidate.draft.plan.references]
        if len(references) < 2:
            return Verdict()
        scored = [_scored(r, [seen[digest] for digest in references], said) for r in candidate.draft.reasonings]
        return sifted(scored, "relation_margin", self.name, "min_margin", self.config.min_margin)


def _scored(reasoning: Reasoning, references: list[Any], said: dict[str, Any]) -> Reasoning:
    margins = []
    for own, text in enumerate(reasoning.iccot.relations):
        vector = said.get(scorable(text))
        if vector is not None:
            fits = [cosine(vector, reference) for reference in references]
            margins.append(fits[own] - max(fit for i, fit in enumerate(fits) if i != own))
    return reasoning.model_copy(update={"relation_margin": rounded(min(margins)) if margins else None})
