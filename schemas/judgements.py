"""What a critic says: difference reports, checklists and judgements, with the parsers that read them strictly.

FIRM (arXiv 2603.12247): section 3.1 and appendix C for edits, section 3.2 and appendix D for generation. Every parser
raises `JudgementError` with all defects at once, as plain sentences that a model can act on; a score is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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


class EditJudgement(BaseModel):
    """Execution or Consistency of an edit, the reasoning first and short (appendix C)."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="EditJudgement")

    reasoning: str = Field(min_length=1, max_length=4000)
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


class QualityJudgement(BaseModel):
    """Quality of a generated image: three sub-scores of which the least counts (released server, section B.7)."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="QualityJudgement")

    reasoning: str = Field(min_length=1, max_length=4000)
    aesthetics: int = Field(ge=1, le=5)
    technical: int = Field(ge=1, le=5, description="technical quality: noise, blur, compression, exposure")
    structure: int = Field(ge=1, le=5, description="structure and texture: anatomy, geometry, surfaces")

    @property
    def value(self) -> float:
        """The least of the three, 1.0 to 5.0."""
        return float(min(self.aesthetics, self.technical, self.structure))

    @property
    def text(self) -> str:
        """The answer that a student learns to give."""
        return self.model_dump_json()


class RewriteAnswer(BaseModel):
    """The rewriter's answer: an instruction that the edit does not fulfil, in the named way."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="RewriteAnswer")

    instruction: str = Field(min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _says_something(self) -> RewriteAnswer:
        if not self.instruction.strip():
            raise ValueError("instruction is empty.")
        return self


class Criterion(Record):
    """One numbered item of a checklist."""

    name: str = Field(min_length=1)
    questions: tuple[str, ...] = Field(min_length=1)


_ITEM = re.compile(r"^\s*(?:\*\*)?(\d{1,3})[.)]\s*(?:\*\*)?\s*\[([^\]\n]{1,200})\]\s*(?:\*\*)?\s*:?\s*(?:\*\*)?\s*$")
_NEGATIVE = re.compile(r"^\s*(?:\*\*)?(?:\d{1,3}[.)]\s*)?\[\s*negative constraints?\s*\]\s*:?\s*(?:\*\*)?\s*$", re.I)
_LINE = re.compile(r"^\s*[-*•]\s+(.+?)\s*$")
NEGATIVE = "Negative Constraints"


class Checklist(Record):
    """The analysis plan of a prompt: what an image of it must show, and what it must not (section 3.2, appendix D).

    Attributes:
        items: at least one.
        negative: forbidden elements; empty where the prompt forbids nothing.
    """

    items: tuple[Criterion, ...] = Field(min_length=1)
    negative: tuple[str, ...] = ()

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The items, and the negative constraints as the last one where there are any."""
        return (*self.items, Criterion(name=NEGATIVE, questions=self.negative)) if self.negative else self.items

    def __str__(self) -> str:
        """The plan as a planner writes it: `1. [Name]:` with its questions below, the negative constraints last."""
        lines = []
        for number, item in enumerate(self.items, 1):
            lines += [f"{number}. [{item.name}]:", *(f"- {question}" for question in item.questions)]
        if self.negative:
            lines += [f"[{NEGATIVE}]:", *(f"- {one}" for one in self.negative)]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> Checklist:
        """Read a plan; sentences before the first item and after the last question are left out.

        Raises:
            JudgementError: no item, items not numbered 1, 2, 3, ..., or an item without a question.
        """
        items: list[tuple[int, str, list[str]]] = []
        negative: list[str] | None = None
        for line in text.splitlines():
            if found := _ITEM.match(line):
                if _NEGATIVE.match(line):
                    negative = []
                elif negative is None:
                    items.append((int(found[1]), found[2].strip(), []))
                else:
                    raise JudgementError([f"[{NEGATIVE}] must come last, but [{found[2].strip()}] follows it."])
            elif _NEGATIVE.match(line):
                negative = []
            elif question := _LINE.match(line):
                if negative is not None:
                    negative.append(question[1])
                elif items:
                    items[-1][2].append(question[1])
        defects = _plan_defects(items, negative)
        if defects:
            raise JudgementError(defects)
        return cls(
            items=tuple(Criterion(name=name, questions=tuple(asked)) for _, name, asked in items),
            negative=tuple(negative or ()),
        )


def _plan_defects(items: Sequence[tuple[int, str, list[str]]], negative: list[str] | None) -> list[str]:
    if not items:
        return ["There is no numbered item; write each as `1. [Name]:` on a line of its own."]
    found = []
    if [number for number, _, _ in items] != list(range(1, len(items) + 1)):
        found.append("The items must be numbered 1, 2, 3, ... in order, each once.")
    found += [
        f"[{name}] has no question; write each as `- question?` below it." for _, name, asked in items if not asked
    ]
    if negative == []:
        found.append(f"[{NEGATIVE}] is empty; list each forbidden element as `- element`, or leave the heading out.")
    return found


class Mark(Word):
    """How far an image meets one criterion."""

    MET = "met"
    PARTLY = "partly met"
    NOT_MET = "not met"


class GenerationJudgement(Record):
    """Instruction Following of an image, criterion by criterion (section 3.2, appendix D).

    Attributes:
        text: the whole answer, ending in the rating; what a student learns from.
        marks: one per criterion of the checklist, in order.
        analysis: the final paragraph.
        rating: 1 to 5.
    """

    text: str
    marks: tuple[Mark, ...]
    analysis: str
    rating: int = Field(ge=1, le=5)

    @property
    def unplanned(self) -> str:
        """The answer from its first criterion on: what a student, who knows of no plan, learns to give."""
        first = _NUMBERED.search(self.text)
        return self.text[first.start() :].lstrip() if first else self.text

    @classmethod
    def parse(cls, text: str, checklist: Checklist | None = None) -> GenerationJudgement:
        r"""Read an answer: numbered criteria each ending in `Verdict: ...`, `Final Analysis:`, and the rating twice.

        The rating stands as `Final Alignment Rating: n` and as `\boxed{n}`; both must be there and agree.

        Args:
            checklist: the plan that was gone through; None where the judge found the requirements itself.

        Raises:
            JudgementError: a criterion without a verdict, no rating, several ratings, one outside 1 to 5, or a rating
                that contradicts the verdicts (`contradiction`).
        """
        marks, found = _marks(text, len(checklist.criteria) if checklist else 0)
        rating, wrong = rating_of(text)
        found += wrong
        if not found and rating is not None and (odd := contradiction(rating, marks)):
            found.append(odd)
        analysis = re.search(
            r"^\W*Final Analysis\W*:?\W*(.+?)(?=^\W*Final Alignment Rating|\Z)", text, re.S | re.M | re.I
        )
        if analysis is None:
            found.append("There is no paragraph that begins with `Final Analysis:`.")
        if found or rating is None or analysis is None:
            raise JudgementError(found)
        return cls(text=text.strip(), marks=tuple(marks), analysis=analysis[1].strip(), rating=rating)


_VERDICT = re.compile(r"\bverdict\W{0,6}(not met|partly met|partially met|met)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"^\s*(?:\*\*)?(\d{1,3})[.)]\s", re.MULTILINE)


def _marks(text: str, criteria: int) -> tuple[list[Mark], list[str]]:
    """(marks, defects): the verdict of each numbered criterion, in order; `criteria` is how many, 0 for any number."""
    body = re.split(r"^\W*Final Analysis", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE)[0]
    starts = list(_NUMBERED.finditer(body))
    parts = [body[m.end() : n.start() if n else len(body)] for m, n in zip(starts, [*starts[1:], None], strict=False)]
    numbers = [int(m[1]) for m in starts]
    if not numbers or numbers != list(range(1, (criteria or len(numbers)) + 1)):
        wanted = "criterion 1" if criteria == 1 else f"criteria 1 to {criteria}" if criteria else "the requirements"
        return [], [f"Go through {wanted} in order, each once and numbered; found {numbers or 'none'}."]
    marks, found = [], []
    for number, part in zip(numbers, parts, strict=True):
        verdicts = [m[1].lower().replace("partially", "partly") for m in _VERDICT.finditer(part)]
        if len(set(verdicts)) != 1:
            said = "has no verdict" if not verdicts else "has two different verdicts"
            found.append(f"Criterion {number} {said}; end it with `Verdict: met`, `partly met` or `not met`.")
        else:
            marks.append(Mark(verdicts[0]))
    return marks, found


_BOXED = re.compile(r"\\boxed\s*\{\s*([^{}\n]{0,40}?)\s*\}")
_FINAL = re.compile(r"Final Alignment Rating\W{0,8}([0-9][^\s,;)*]*|[A-Za-z]+)", re.IGNORECASE)


def rating_of(text: str) -> tuple[int | None, list[str]]:
    r"""(rating, defects) of an answer that says `Final Alignment Rating: n` and `\boxed{n}`.

    The last line of a quoted instruction may hold either; only what stands after `Final Analysis` is read.
    """
    tail = re.split(r"^\W*Final Analysis", text, flags=re.MULTILINE | re.IGNORECASE)[-1]
    boxed, final = [m[1] for m in _BOXED.finditer(tail)], [m[1].rstrip(".") for m in _FINAL.finditer(tail)]
    found = []
    if not boxed:
        found.append(r"There is no rating in \boxed{}; end with it.")
    if not final:
        found.append("There is no line `Final Alignment Rating: n`.")
    said = list(dict.fromkeys([*boxed, *final]))
    if not found and len(said) > 1:
        found.append(f"There are different ratings, {' and '.join(said)}; give one, the same in both places.")
    elif said and said[0] not in {str(n) for n in SCALE}:
        found.append(f"The rating {said[0]} is not a whole number from 1 to 5.")
    return (None, found) if found else (int(said[0]), [])


def contradiction(rating: int, marks: Sequence[Mark]) -> str:
    """A sentence where a rating cannot follow from the verdicts; empty where it can.

    The scale of appendix D: 5 is everything right, 4 is the main content with one or two details off, 2 and 1 are most
    of it missing. So a 5 allows no verdict but met; all met is at least a 4; none met, not even partly, is at most 2.
    """
    if rating == 5 and any(mark is not Mark.MET for mark in marks):
        return "A rating of 5 says that everything is met, but a criterion is not; mend the verdict or the rating."
    if rating <= 3 and all(mark is Mark.MET for mark in marks):
        return f"All criteria are met, so the rating cannot be {rating}; mend the verdicts or the rating."
    if rating >= 3 and all(mark is Mark.NOT_MET for mark in marks):
        return f"No criterion is met, so the rating cannot be {rating}; mend the verdicts or the rating."
    return ""
