"""What VIEScore's judge says of an edit: two sub-scores from 0 to 10, of which the least counts (arXiv 2312.14867)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.omnicontext import HIGHEST, LOWEST, one_score

SubScore = Annotated[int, BeforeValidator(one_score), Field(ge=LOWEST, le=HIGHEST)]


class EditSemantics(BaseModel):
    """How far an edit does what was asked, and nothing else. The reasoning comes first, so that the scores follow."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="EditSemantics")

    reasoning: str = Field(min_length=1, max_length=4000)
    success: SubScore = Field(description="whole number from 0 to 10: whether the instruction was carried out")
    restraint: SubScore = Field(description="whole number from 0 to 10: whether all else stayed as it was")

    @property
    def scores(self) -> list[int]:
        """In the order of the benchmark's records."""
        return [self.success, self.restraint]


class EditQuality(BaseModel):
    """How an edited image looks by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="EditQuality")

    reasoning: str = Field(min_length=1, max_length=4000)
    naturalness: SubScore = Field(description="whole number from 0 to 10: light, shadow, proportions, distances")
    artifacts: SubScore = Field(description="whole number from 0 to 10, where 10 is none")

    @property
    def scores(self) -> list[int]:
        """In the order of the benchmark's records."""
        return [self.naturalness, self.artifacts]
