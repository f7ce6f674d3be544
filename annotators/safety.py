"""Safety as a question to a model: which hazards a picture, or the instruction behind it, shows (`prompts/safety`)."""

from __future__ import annotations

from dataclasses import dataclass

from annotators.interface import Answer, Facts, Models
from prompts.catalogue import Catalogue
from schemas.references import ImageRef
from schemas.safety import MEANINGS, SafetyVerdict

FAMILY = "safety"
ROLES = ("judge",)


@dataclass(frozen=True)
class SafetyCritic:
    """Judges one picture by itself; references are not shown."""

    catalogue: Catalogue

    async def verdict(self, image: ImageRef, instruction: str, models: Models) -> Answer[SafetyVerdict]:
        """Picture and instruction in, a verdict on every category out."""
        prompt = self.catalogue.render(
            f"{FAMILY}/verdict",
            images=[("Picture:", image)],
            instruction=instruction,
            categories=[(str(hazard), meaning) for hazard, meaning in MEANINGS.items()],
        )
        facts = Facts(asks=prompt.id, instruction=instruction, image=image)
        return await models.ask("judge", prompt, answer=SafetyVerdict, facts=facts)
