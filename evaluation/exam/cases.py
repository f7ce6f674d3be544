"""The cases of an exam, made from its seed alone: balanced over FIRM's failures and over the scores."""

from __future__ import annotations

import random
from dataclasses import dataclass

from schemas.base import Word
from schemas.judgements import Dimension
from toyworld.edits import edit_of
from toyworld.prompts import prompt_of
from toyworld.world import Picture


class Kind(Word):
    """How critics fail, by FIRM (arXiv 2603.12247): each case probes one.

    identical: the two pictures are the same, or the picture is exactly what the prompt says: whatever is reported to
    differ or to lack is hallucinated.  neglect: things that were asked for are not there.  spatial: a thing is at
    another place.  count: there are too few or too many.  attribute: a colour or a size is another.
    """

    IDENTICAL = "identical"
    NEGLECT = "neglect"
    SPATIAL = "spatial"
    COUNT = "count"
    ATTRIBUTE = "attribute"


Scores = dict[Dimension, int]


@dataclass(frozen=True)
class EditCase:
    """An edit whose scores are known.

    Attributes:
        index: from 0, within all edits of the exam.
        inverse: what asks for the way back, where that is carried out in full too: then the truth of both dimensions
            is the same with the pictures exchanged. Else empty.
        recoded: of an identical pair: the second picture is the first, coded anew; else it is the same file.
    """

    index: int
    kind: Kind
    instruction: str
    truth: Scores
    source: Picture
    edited: Picture
    inverse: str = ""
    recoded: bool = False

    @property
    def id(self) -> str:
        return f"edit-{self.index:03d}-{self.kind}"


@dataclass(frozen=True)
class PromptCase:
    """A prompt and a picture of it whose score is known."""

    index: int
    kind: Kind
    prompt: str
    truth: Scores
    shown: Picture

    @property
    def id(self) -> str:
        return f"prompt-{self.index:03d}-{self.kind}"


Case = EditCase | PromptCase

_KINDS = tuple(Kind)
_EXECUTION: dict[Kind, tuple[int, ...]] = {
    Kind.IDENTICAL: (1,),
    Kind.NEGLECT: (5, 3, 2, 1),
    Kind.SPATIAL: (5, 4, 3, 2, 1),
    Kind.COUNT: (5, 3, 2, 1),
    Kind.ATTRIBUTE: (5, 4, 3, 2, 1),
}
"""The scores of Execution that the cases of each failure go through."""
_FOLLOWING: dict[Kind, tuple[int, ...]] = {
    Kind.IDENTICAL: (5,),
    Kind.NEGLECT: (5, 3, 2, 1),
    Kind.SPATIAL: (5, 4, 3),
    Kind.COUNT: (5, 4, 3),
    Kind.ATTRIBUTE: (5, 4, 3),
}
_CONSISTENCY = (5, 4, 3, 5, 2)
_CONSISTENCY_UNDONE = (4, 1, 3, 2)
"""Where nothing asked for is done, something else is: else the pair would be an identical one."""


def cases_of(seed: int, count: int) -> list[Case]:
    """`count` cases, as many edits as prompts (one more edit where it is odd); the same for the same seed.

    A larger exam begins with the cases of a smaller one.
    """
    edits = [_edit(seed, index) for index in range(count - count // 2)]
    prompts = [_prompt(seed, index) for index in range(count // 2)]
    return [*edits, *prompts]


def _edit(seed: int, index: int) -> EditCase:
    kind, turn = _KINDS[index % len(_KINDS)], index // len(_KINDS)
    levels, start = _EXECUTION[kind], index % len(_KINDS)  # kinds begin at different scores, for small exams' sake
    wanted = levels[(start + turn) % len(levels)]
    turns = turn // len(levels)
    rng = random.Random(f"exam edit {seed} {index}")
    if kind is Kind.IDENTICAL:
        consistency = 5
    elif wanted == 1:
        consistency = _CONSISTENCY_UNDONE[turns % len(_CONSISTENCY_UNDONE)]
    elif kind is Kind.ATTRIBUTE and wanted == 4:
        consistency = (5, 4)[turns % 2]  # a thing of the wrong size needs room
    else:
        shift = turns if len(levels) == len(_CONSISTENCY) else 0  # else the two would go round in step
        consistency = _CONSISTENCY[(turn + shift) % len(_CONSISTENCY)]
    made = edit_of(str(kind), wanted, consistency, rng)
    back = made.inverse if wanted == 5 or kind is Kind.IDENTICAL else ""
    truth = {Dimension.EXECUTION: wanted, Dimension.CONSISTENCY: consistency}
    recoded = kind is Kind.IDENTICAL and turn % 2 == 1
    return EditCase(index, kind, made.instruction, truth, made.source, made.shown, back, recoded)


def _prompt(seed: int, index: int) -> PromptCase:
    kind, turn = _KINDS[index % len(_KINDS)], index // len(_KINDS)
    levels, start = _FOLLOWING[kind], index % len(_KINDS)
    wanted = levels[(start + turn) % len(levels)]
    text, shown = prompt_of(str(kind), wanted, random.Random(f"exam prompt {seed} {index}"))
    return PromptCase(index, kind, text, {Dimension.INSTRUCTION_FOLLOWING: wanted}, shown)
