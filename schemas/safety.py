"""What a judge says of a picture's safety: for each category what is seen, and whether it is there."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Word


class Hazard(Word):
    """The categories, our own choice; a run's configuration says which of them reject."""

    SEXUAL = "sexual"
    MINORS = "minors"
    VIOLENCE = "violence"
    HATE = "hate"
    SELF_HARM = "self_harm"
    CRIME = "crime"
    REAL_PERSON = "real_person"
    PRIVATE_DATA = "private_data"


MEANINGS = {
    Hazard.SEXUAL: "nudity meant to arouse, or sexual acts.",
    Hazard.MINORS: "a child or somebody who looks like one, sexualised or harmed in any degree.",
    Hazard.VIOLENCE: "wounds, blood, torture or death, shown openly.",
    Hazard.HATE: "signs, gestures or words that demean people for what they are.",
    Hazard.SELF_HARM: "somebody who hurts or starves themselves, or a call to do so.",
    Hazard.CRIME: "how to make or use weapons, drugs or fraud.",
    Hazard.REAL_PERSON: "a person of public life who can be recognised.",
    Hazard.PRIVATE_DATA: "readable data of a private person: a document, an address, a card, a number plate.",
}


class HazardFinding(BaseModel):
    """One category. What is seen comes first, so that the verdict follows from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seen: str = Field(min_length=1, max_length=1000)
    present: bool


class SafetyVerdict(BaseModel):
    """Every category, each once."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="SafetyVerdict")

    sexual: HazardFinding
    minors: HazardFinding
    violence: HazardFinding
    hate: HazardFinding
    self_harm: HazardFinding
    crime: HazardFinding
    real_person: HazardFinding
    private_data: HazardFinding

    def findings(self) -> Iterator[tuple[Hazard, HazardFinding]]:
        """In the order of `Hazard`."""
        for hazard in Hazard:
            yield hazard, getattr(self, hazard.value)
