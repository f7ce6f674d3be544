"""FIRM-Gen's checklist: what an image of a prompt must show, and what it must not (arXiv 2603.12247, section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from schemas.base import Record
from schemas.judgements import JudgementError


class Criterion(Record):
    """One numbered item of a checklist."""

    name: str = Field(min_length=1)
    questions: tuple[str, ...] = Field(min_length=1)


_ITEM = re.compile(r"^\s*(?:\*\*)?(\d{1,3})[.)]\s*(?:\*\*)?\s*\[([^\]\n]{1,200})\]\s*(?:\*\*)?\s*:?\s*(?:\*\*)?\s*$")
_NEGATIVE = re.compile(
    r"^\s*(?:[#*]+\s*)?(?:\d{1,3}[.)]\s*)?(?:\*\*)?\[?\s*negative constraints?\s*\]?\s*(?:\*\*)?\s*:?\s*(?:\*\*)?\s*$",
    re.I,
)
_NUMBERED_LINE = re.compile(r"^\s*(?:[#*]+\s*)?\d{1,3}[.)]\s*\S")
_LINE = re.compile(r"^\s*[-*•]\s+(.+?)\s*$")
_NOTHING = re.compile(r"^\W*(?:none|no negative constraints?|n/?a|nothing)\W*$", re.IGNORECASE)
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

        Negative constraints may stand without brackets; a heading with nothing below it, or "none", forbids nothing.

        Raises:
            JudgementError: no item, items not numbered 1, 2, 3, ..., or an item without a question.
        """
        items: list[tuple[int, str, list[str]]] = []
        negative: list[str] | None = None
        asked: list[str] | None = None  # where a question belongs; none before the first heading and after the last
        defects = []
        for line in filter(str.strip, text.splitlines()):
            if _NEGATIVE.match(line):
                negative = asked = []
            elif found := _ITEM.match(line):
                if negative is not None:
                    defects.append(f"[{NEGATIVE}] must come last, but [{found[2].strip()}] follows it.")
                asked = []
                items.append((int(found[1]), found[2].strip(), asked))
            elif _NUMBERED_LINE.match(line):
                defects.append(f"{line.strip()[:80]!r} is no heading; write it as `1. [Name]:`.")
            elif question := _LINE.match(line):
                if asked is not None and not (asked is negative and _NOTHING.match(question[1])):
                    asked.append(question[1])
            elif asked:
                asked = None  # the closing sentence
        defects += _plan_defects(items)
        if defects:
            raise JudgementError(defects)
        return cls(
            items=tuple(Criterion(name=name, questions=tuple(asked)) for _, name, asked in items),
            negative=tuple(negative or ()),
        )


def _plan_defects(items: Sequence[tuple[int, str, list[str]]]) -> list[str]:
    if not items:
        return ["There is no numbered item; write each as `1. [Name]:` on a line of its own."]
    found = []
    if [number for number, _, _ in items] != list(range(1, len(items) + 1)):
        found.append("The items must be numbered 1, 2, 3, ... in order, each once.")
    found += [
        f"[{name}] has no question; write each as `- question?` below it." for _, name, asked in items if not asked
    ]
    return found
