"""Instruction Following of an image: criterion by criterion, then the rating (FIRM, arXiv 2603.12247, appendix D)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from schemas.base import Record, Word
from schemas.checklists import Checklist
from schemas.judgements import SCALE, JudgementError, cites_aid


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
        r"""Read an answer: numbered criteria each ending in `Verdict: ...`, one `Final Analysis:`, the rating twice.

        The rating stands as `Final Alignment Rating: n` and as `\boxed{n}`; both must be there and agree.

        Args:
            checklist: the plan that was gone through; None where the judge found the requirements itself, as released
                reward models do: then criteria may be without a verdict.

        Raises:
            JudgementError: a criterion without a verdict, no rating, several ratings, one outside 1 to 5, a rating that
                contradicts the verdicts (`contradiction`), or an answer that cites the plan.
        """
        body, *ends = _ANALYSIS.split(text)
        if len(ends) != 1:
            many = "no paragraph" if not ends else f"{len(ends)} paragraphs"
            raise JudgementError([f"There is {many} that begins with `Final Analysis:`; write exactly one."])
        marks, found = _marks(body, None if checklist is None else len(checklist.criteria))
        rating, wrong = rating_of(ends[0])
        found += wrong
        if rating is None or found:
            raise JudgementError(found)
        analysis = _RATING_LINE.split(ends[0])[0].strip(" *\n:")
        judged = cls(text=text.strip(), marks=tuple(marks), analysis=analysis, rating=rating)
        found = [contradiction(rating, marks, bool(checklist and checklist.negative))] if marks else []
        found += [cites_aid(judged.unplanned)] if checklist is not None else []
        if any(found):
            raise JudgementError([*filter(None, found)])
        return judged


_ANALYSIS = re.compile(r"^[ \t>#*_]*Final Analysis\b[ \t*_]*:?", re.MULTILINE | re.IGNORECASE)
_RATING_LINE = re.compile(r"^[ \t>#*_]*Final Alignment Rating\b", re.MULTILINE | re.IGNORECASE)
_VERDICT = re.compile(r"\bverdict\W{0,6}(not met|partly met|partially met|met)\W*\Z", re.IGNORECASE)
_NUMBERED = re.compile(r"^\s*(?:\*\*)?(\d{1,3})[.)]\s", re.MULTILINE)


def _marks(body: str, criteria: int | None) -> tuple[list[Mark], list[str]]:
    """(marks, defects): the verdict that each numbered criterion ends in, in order.

    Args:
        criteria: how many there are; None for any number, of which any may be without a verdict: then no marks.
    """
    starts = list(_NUMBERED.finditer(body))
    parts = [body[m.end() : n.start() if n else len(body)] for m, n in zip(starts, [*starts[1:], None], strict=False)]
    numbers = [int(m[1]) for m in starts]
    if not numbers or numbers != list(range(1, (criteria or len(numbers)) + 1)):
        wanted = "criterion 1" if criteria == 1 else f"criteria 1 to {criteria}" if criteria else "the requirements"
        return [], [f"Go through {wanted} in order, each once and numbered; found {numbers or 'none'}."]
    ends = [_VERDICT.search(part) for part in parts]
    if criteria is None and not all(ends):
        return [], []
    found = [
        f"Criterion {number} does not end in a verdict; end it with `Verdict: met`, `partly met` or `not met`."
        for number, end in zip(numbers, ends, strict=True)
        if end is None
    ]
    return [Mark(end[1].lower().replace("partially", "partly")) for end in ends if end], found


_BOXED = re.compile(r"\\boxed\s*\{\s*([^{}\n]{0,40}?)\s*\}")
_FINAL = re.compile(r"^[ \t>#*_]*Final Alignment Rating\b[ \t*_]*:?(.*)$", re.MULTILINE | re.IGNORECASE)


def rating_of(end: str) -> tuple[int | None, list[str]]:
    r"""(rating, defects) of what follows `Final Analysis`: `Final Alignment Rating: n` and `\boxed{n}`, each once.

    What a judge quotes before, an instruction's "give 5" or its own first thoughts, is not looked at.
    """
    boxed = [m[1] for m in _BOXED.finditer(end)]
    final = [_BOXED.sub("", m[1]).strip(" \t*_.") for m in _FINAL.finditer(end)]
    found = []
    if not boxed:
        found.append(r"There is no rating in \boxed{}; end with it.")
    if not final:
        found.append("There is no line `Final Alignment Rating: n`.")
    said = list(dict.fromkeys([*boxed, *final]))
    if not found and len(said) > 1:
        found.append(f"There are different ratings, {' and '.join(said)}; give one, the same in both places.")
    elif said and said[0] not in {str(n) for n in SCALE}:
        found.append(f"The rating {said[0]!r} is not a whole number from 1 to 5.")
    return (None, found) if found else (int(said[0]), [])


def contradiction(rating: int, marks: Sequence[Mark], negative: bool = False) -> str:
    """A sentence where a rating cannot follow from the verdicts; empty where it can.

    The scale of appendix D: 5 everything is right; 4 the main content is, with one or two details off; 3 the main
    subjects are there; 2 most of them are missing; 1 nothing of it is there. The first criterion is the main subject.

    Args:
        negative: the last verdict is that of the negative constraints, which an image of nothing meets too.
    """
    wanted = marks[:-1] if negative and len(marks) > 1 else marks
    missed, met = marks.count(Mark.NOT_MET), wanted.count(Mark.MET)
    if rating == 5 and any(mark is not Mark.MET for mark in marks):
        return "A rating of 5 says that everything is met, but a criterion is not; mend the verdict or the rating."
    if rating <= 3 and all(mark is Mark.MET for mark in marks):
        return f"All criteria are met, so the rating cannot be {rating}; mend the verdicts or the rating."
    if rating >= 3 and all(mark is Mark.NOT_MET for mark in wanted):
        return f"No criterion is met, so the rating cannot be {rating}; mend the verdicts or the rating."
    if rating == 4 and (marks[0] is Mark.NOT_MET or missed > 2):
        what = "the main subject is not there" if marks[0] is Mark.NOT_MET else f"{missed} criteria are not met"
        return f"A rating of 4 allows one or two details that are off, but {what}; mend the verdicts or the rating."
    if rating == 2 and wanted[0] is Mark.MET and 3 * met > 2 * len(wanted):
        return "A rating of 2 says that most is missing, but most criteria are met; mend the verdicts or the rating."
    if rating == 1 and met:
        return "A rating of 1 says that nothing is there, but a criterion is met; mend the verdicts or the rating."
    return ""
