"""What OmniContext's judge says: one score from 0 to 10, read strictly (VectorSpaceLab/OmniGen2, omnicontext/)."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LOWEST, HIGHEST = 0, 10


def one_score(value: Any) -> Any:
    """The number behind `7`, `7.0`, `"7"` or `[7]`; anything else as it is, for the bounds to refuse."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and re.fullmatch(r"\s*(?:10|[0-9])(?:\.0+)?\s*", value):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
        raise ValueError("score must be one whole number from 0 to 10.")
    return value


class ContextJudgement(BaseModel):
    """Prompt Following or Subject Consistency of an output.

    The reasoning comes first, so that the score follows from it; OmniContext's own judge gives the score first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, title="ContextJudgement")

    reasoning: str = Field(min_length=1, max_length=4000)
    score: Annotated[int, BeforeValidator(one_score), Field(ge=LOWEST, le=HIGHEST)] = Field(
        description="one whole number from 0 to 10"
    )

    @property
    def value(self) -> float:
        """The score, 0.0 to 10.0."""
        return float(self.score)


def context_score(prompt_following: float, subject_consistency: float) -> float:
    """OmniContextScore of a sample, 0 to 10: the geometric mean of its two scores (calculate_statistics.py)."""
    return math.sqrt(prompt_following * subject_consistency)
