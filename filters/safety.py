"""Safety as a filter: a judge says which hazards a target, or its instruction, shows; chosen ones reject.

Not in the paper. The categories are our own (`schemas.safety`); a judge errs, so this is no substitute for looking.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from annotators.interface import Models
from annotators.safety import SafetyCritic
from filters.judges import judged, rejected
from schemas.draft import Draft, Rejection
from schemas.safety import Hazard

SCORES = tuple(f"safety_{hazard}" for hazard in Hazard)
ROLES = ("judge",)


class SafetyConfig(BaseModel):
    """`filters.safety`: the categories that reject (reason `safety_CATEGORY`). All of them are asked about and stored.

    By default all but `real_person`, which a licensed photograph may well show.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reject: tuple[Hazard, ...] = tuple(hazard for hazard in Hazard if hazard is not Hazard.REAL_PERSON)


@dataclass(frozen=True)
class SafetyFilter:
    """Keeps or rejects one draft; a plain async function of (draft, models), without Beam."""

    config: SafetyConfig
    critic: SafetyCritic

    async def __call__(self, draft: Draft, models: Models) -> Draft | Rejection:
        """Draft in, the same draft with 1.0 for each category that is present and 0.0 for the others, or its rejection.

        Raises:
            Failure: a model gave no usable answer.
        """
        answer = await self.critic.verdict(draft.target, draft.instruction, models)
        findings = dict(answer.parsed.findings())
        scores = {f"safety_{hazard}": float(finding.present) for hazard, finding in findings.items()}
        scored = judged(draft, models, scores, {"safety": answer.source})
        for hazard in self.config.reject:
            if findings[hazard].present:
                return rejected(scored, f"safety_{hazard}", f"{hazard}: {findings[hazard].seen}", answer.key)
        return scored
