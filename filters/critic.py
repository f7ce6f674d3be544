"""The critic as a filter: an edit's Execution and Consistency, differences described first (FIRM, section 3.1).

It asks models, so it is a step of its own after the filters that need none, on what they kept. It looks at edits
alone: a sample without an image to edit passes unscored.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from annotators.critics import EditCritic
from annotators.interface import Models
from annotators.models import side_by_side
from schemas.draft import Draft, ErrorClass, Rejection, Source
from schemas.judgements import Dimension
from schemas.labels import EditPair
from schemas.references import ImageRef
from schemas.tasks import Role
from schemas.usage import total

SCORES = ("critic_execution", "critic_consistency")
ROLES = ("describer", "judge")


class CriticConfig(BaseModel):
    """`filters.critic`: the least that an edit must get, 1 to 5."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_execution: float = Field(default=3, ge=1, le=5)
    min_consistency: float = Field(default=3, ge=1, le=5)


@dataclass(frozen=True)
class CriticFilter:
    """Keeps or rejects one draft; a plain async function of (draft, models), without Beam."""

    config: CriticConfig
    critic: EditCritic

    async def __call__(self, draft: Draft, models: Models) -> Draft | Rejection:
        """Draft in, the same draft with its scores out, or its rejection.

        The describer sees the image to edit and the target; the judge also the other references, by their numbers.

        Raises:
            Failure: a model gave no usable answer.
        """
        bases = draft.plan.of_role(Role.BASE)
        if not bases:
            return draft
        further = tuple(planned.reference for planned in draft.plan.references[1:])
        pair = EditPair(
            id=draft.id,
            source=bases[0][1],
            edited=draft.target,
            instruction=draft.instruction,
            references=tuple(ImageRef(**{n: getattr(r, n) for n in ImageRef.model_fields}) for r in further),
        )
        told = await self.critic.describe(pair, models)
        execution, consistency = await side_by_side(
            self.critic.score(Dimension.EXECUTION, pair, draft.instruction, told.report, models),
            self.critic.score(Dimension.CONSISTENCY, pair, draft.instruction, told.report, models),
        )
        sources = {"describer": told.detailed.source, "execution": execution.source, "consistency": consistency.source}
        found = (execution.parsed.value, consistency.parsed.value)
        scored = draft.model_copy(
            update={
                "scores": {**draft.scores, **dict(zip(SCORES, found, strict=True))},
                "provenance": {**draft.provenance, **sources},
                "usage": total([draft.usage, models.usage]),
            }
        )
        return _verdict(self.config, scored, found, sources)


def _verdict(
    config: CriticConfig, draft: Draft, found: tuple[float, float], sources: dict[str, Source]
) -> Draft | Rejection:
    least = (config.min_execution, config.min_consistency)
    for name, score, wanted in zip(SCORES, found, least, strict=True):
        if score < wanted:
            return Rejection(
                id=draft.id,
                ordinal=draft.ordinal,
                split=draft.split,
                task=draft.plan.task,
                stage="judge",
                reason=name,
                error_class=ErrorClass.FILTERED,
                detail=f"{name} {score:g} is below {wanted:g}",
                request_key=sources[name.removeprefix("critic_")].request_key,
                scores=draft.scores,
                usage=draft.usage,
                draft=draft,
            )
    return draft
