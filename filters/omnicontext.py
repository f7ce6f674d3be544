"""OmniContextScore as a filter: Prompt Following and Subject Consistency, 0 to 10 each, by a judge's eyes.

The third of Re-Align's filters, "MLLM-based filtering" (arXiv 2601.05124, data pipeline, stage e). The protocol is that
of VectorSpaceLab/OmniGen2, omnicontext/; the paper does not say which limits it set. A step of its own, on survivors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from annotators.errors import Failure
from annotators.interface import Models
from annotators.models import side_by_side
from annotators.omnicontext import OmniContextCritic, judged_size
from filters.judges import judged, rejected
from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import ImageError
from schemas.omnicontext import context_score
from schemas.references import ImageRef
from schemas.tasks import Role

SCORES = ("omnicontext_pf", "omnicontext_sc", "omnicontext")
ROLES = ("judge",)

Shown = Callable[[ImageRef, tuple[int, int]], ImageRef]
"""An image at another (width, height) in pixels; it may read and write files, so it is called off the loop."""


class OmniContextConfig(BaseModel):
    """`filters.omnicontext`: the least of each, 0 to 10; null switches one off. A score is stored either way.

    Attributes:
        min_pf: Prompt Following. (reason `omnicontext_pf`)
        min_sc: Subject Consistency. (reason `omnicontext_sc`)
        min_score: of OmniContextScore, sqrt(PF * SC). (reason `omnicontext`)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_pf: float | None = Field(default=7, ge=0, le=10)
    min_sc: float | None = Field(default=7, ge=0, le=10)
    min_score: float | None = Field(default=None, ge=0, le=10)


@dataclass(frozen=True)
class OmniContextFilter:
    """Keeps or rejects one draft; a plain async function of (draft, models), without Beam.

    Args:
        shown: brings a reference to the protocol's size.
    """

    config: OmniContextConfig
    critic: OmniContextCritic
    shown: Shown

    async def __call__(self, draft: Draft, models: Models) -> Draft | Rejection:
        """Draft in, the same draft with PF, SC and their geometric mean out, or its rejection.

        The references are shown at the protocol's size, the target as it is. Where a reference is the scene, its
        consistency counts too.

        Raises:
            Failure: a model gave no usable answer, or a reference cannot be read.
        """
        references = await asyncio.to_thread(self._references, draft)
        with_scene = bool(draft.plan.of_role(Role.SCENE))
        following, consistency = await side_by_side(
            self.critic.prompt_following(references, draft.target, draft.instruction, models),
            self.critic.subject_consistency(references, draft.target, draft.instruction, models, with_scene=with_scene),
        )
        pf, sc = following.parsed.value, consistency.parsed.value
        found = dict(zip(SCORES, (pf, sc, context_score(pf, sc)), strict=True))
        scored = judged(
            draft, models, found, {"prompt_following": following.source, "subject_consistency": consistency.source}
        )
        limits = (self.config.min_pf, self.config.min_sc, self.config.min_score)
        keys = (following.key, consistency.key, consistency.key)
        for name, limit, key in zip(SCORES, limits, keys, strict=True):
            if limit is not None and scored.scores[name] < limit:
                return rejected(scored, name, f"{name} {scored.scores[name]:g} is below {limit:g}", key)
        return scored

    def _references(self, draft: Draft) -> list[ImageRef]:
        try:
            references = [planned.reference for planned in draft.plan.references]
            return [self.shown(one, judged_size(one.width, one.height)) for one in references]
        except ImageError as error:
            raise Failure("judge", error.reason, ErrorClass.FINAL, error.detail) from error


def of_that_size(image: ImageRef, size: tuple[int, int]) -> ImageRef:
    """The image as if it had been resized: for an estimate, which opens nothing."""
    return image.model_copy(update={"width": size[0], "height": size[1]})
