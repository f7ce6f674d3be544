"""What a critic says: difference reports, checklists and judgements, with the parsers that read them strictly.

FIRM (arXiv 2603.12247): section 3.1 and appendix C for edits, section 3.2 and appendix D for generation. Every parser
raises `JudgementError` with all defects at once, as plain sentences that a model can act on; a score is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from schemas.base import Record, Word

SCALE = (1, 2, 3, 4, 5)
LONGEST_REPORT = 8000
"""Characters of one of a report's two texts; more is a model that does not end."""


class JudgementError(ValueError):
    """An answer that is no judgement. `defects` holds every defect found, each a plain sentence."""

    def __init__(self, defects: Sequence[str]) -> None:
        super().__init__(" ".join(defects))
        self.defects = tuple(defects)


class Dimension(Word):
    """What is scored from 1 to 5: the first two of an edit, the other two of a generated image."""

    EXECUTION = "execution"
    CONSISTENCY = "consistency"
    INSTRUCTION_FOLLOWING = "instruction_following"
    QUALITY = "quality"


class DifferenceReport(Record):
    """What differs between two images, described without knowing what was asked for (section 3.1).

    Attributes:
        obvious: what subject changed, told of each image by itself.
        detailed: every difference, compared: Quantity, Shape & Form, Texture & Surface, Position & Layout.
    """

    obvious: str = Field(min_length=1)
    detailed: str = Field(min_length=1)

    def __str__(self) -> str:
        """The merged report: the two texts one after the other."""
        return f"Obvious Differences: {self.obvious}\nDetailed Differences:\n{self.detailed}"


def described(text: str) -> str:
    """One of a report's two texts: the answer itself, not empty and not endless.

    Raises:
        JudgementError: it is empty or longer than `LONGEST_REPORT` characters.
    """
    text = text.strip()
    if not text:
        raise JudgementError(["The description is empty."])
    if len(text) > LONGEST_REPORT:
        raise JudgementError([f"The description has {len(text)} characters; {LONGEST_REPORT} are the most."])
    return text


def _one_score(value: Any) -> Any:
    """The number behind `[4]`, `4`, `"4"` or `4.0`; anything else as it is, for the bounds to refuse."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and re.fullmatch(r"\s*[1-5](?:\.0+)?\s*", value):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in SCALE:
        raise ValueError("score must be a list of one whole number from 1 to 5.")
    return (value,)


def _reasoned(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("reasoning is empty.")
    return text


Reasoned = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_reasoned)]
Score = Annotated[int, Field(strict=True, ge=1, le=5)]

_AID = re.compile(
    r"\b(?:difference (?:description|report)|analysis plan"
    r"|(?:according to|as|per|by) (?:the|this) (?:description|report|plan)"
    r"|the (?:given |provided |above )?(?:description|report|plan) (?:says?|states?|mentions?|lists?|notes?|asks?))\b",
    re.IGNORECASE,
)


def cites_aid(text: str) -> str:
    """A sentence where an answer speaks of the report or plan, which its student will never see; else empty."""
    found = _AID.search(text)
    if found is None:
        return ""
    return (
        f"Speak of what the images show, not of the material beside them ({found[0]!r}): who learns from it has none."
    )


class EditJudgement(BaseModel):
    """Execution or Consistency of an edit, the reasoning first and short (appendix C)."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="EditJudgement")

    reasoning: Reasoned
    score: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], BeforeValidator(_one_score)] = Field(
        min_length=1, max_length=1, description="one whole number from 1 to 5"
    )

    @property
    def value(self) -> float:
        """The score, 1.0 to 5.0."""
        return float(self.score[0])

    @property
    def text(self) -> str:
        """The answer that a student learns to give."""
        return self.model_dump_json()


class AidedJudgement(EditJudgement):
    """The same by a teacher who was given a report: its reasoning must stand without it."""

    @field_validator("reasoning")
    @classmethod
    def _stands_alone(cls, reasoning: str) -> str:
        if cited := cites_aid(reasoning):
            raise ValueError(cited)
        return reasoning


class QualityJudgement(BaseModel):
    """Quality of a generated image: three sub-scores of which the least counts (the released server's rule).

    The released models' own form, `{"score": [aesthetics, technical, structure], "reasoning": ...}`, is read as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, title="QualityJudgement")

    reasoning: Reasoned
    aesthetics: Score
    technical: Annotated[Score, Field(description="technical quality: noise, blur, compression, exposure")]
    structure: Annotated[Score, Field(description="structure and texture: anatomy, geometry, surfaces")]

    @model_validator(mode="before")
    @classmethod
    def _released_form(cls, data: Any) -> Any:
        if isinstance(data, dict) and set(data) == {"score", "reasoning"} and isinstance(data["score"], list):
            if len(data["score"]) != 3:
                raise ValueError("score must be a list of three whole numbers from 1 to 5.")
            return {"reasoning": data["reasoning"], **dict(zip(_ASPECTS, data["score"], strict=True))}
        return data

    @property
    def value(self) -> float:
        """The least of the three, 1.0 to 5.0."""
        return float(min(self.aesthetics, self.technical, self.structure))

    @property
    def text(self) -> str:
        """The answer that a student learns to give."""
        return self.model_dump_json()


_ASPECTS = ("aesthetics", "technical", "structure")


class RewriteAnswer(BaseModel):
    """The rewriter's answer: an instruction that the edit does not fulfil, in the named way."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="RewriteAnswer")

    instruction: str = Field(min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _says_something(self) -> RewriteAnswer:
        if not self.instruction.strip():
            raise ValueError("instruction is empty.")
        return self


@lru_cache(maxsize=1024)
def rewrite_of(original: str) -> type[RewriteAnswer]:
    """`RewriteAnswer` whose instruction is another than `original`; the schema that a provider sees is the same."""

    class Other(RewriteAnswer):
        __doc__ = RewriteAnswer.__doc__

        @field_validator("instruction")
        @classmethod
        def _another(cls, instruction: str) -> str:
            if plain_words(instruction) == plain_words(original):
                raise ValueError("The instruction is the original one; write one that the edit does not fulfil.")
            return instruction

    return Other


def plain_words(text: str) -> str:
    """The words of a text alone: what two spellings of one text share."""
    return " ".join(re.findall(r"\w+", text.casefold()))
