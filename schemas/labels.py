"""Critic labels: what FIRM's pipelines plan, and the rows that they make (arXiv 2603.12247).

A plan is an edit pair with the ways its instruction is rewritten, or a prompt with its images; one plan gives several
rows, one per (instruction, dimension) or (image, dimension), and counts count rows.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field

from schemas.base import Record, Word
from schemas.checklists import Checklist
from schemas.draft import Rejection, Source
from schemas.following import Mark
from schemas.judgements import DifferenceReport, Dimension
from schemas.references import ImageRef
from schemas.usage import Usage

PLAN_ID = r"^[0-9a-f]{32}$"


class Rewrite(Word):
    """How a rewritten instruction misses its edit (section 3.1: rewritten "to generate poor-quality matches").

    wrong_object: names another thing than the one that changed.  wrong_attribute: the right thing, another colour,
    number, size, material or place.  opposite: asks for the contrary.  partly_done: asks for what was done and for a
    further change that was not.  unrelated: asks for something that the edit has nothing to do with.
    """

    WRONG_OBJECT = "wrong_object"
    WRONG_ATTRIBUTE = "wrong_attribute"
    OPPOSITE = "opposite"
    PARTLY_DONE = "partly_done"
    UNRELATED = "unrelated"


MOST_EXECUTION: dict[Rewrite, int] = {
    Rewrite.WRONG_OBJECT: 2,
    Rewrite.WRONG_ATTRIBUTE: 3,
    Rewrite.OPPOSITE: 2,
    Rewrite.PARTLY_DONE: 3,
    Rewrite.UNRELATED: 2,
}
"""The highest Execution that an instruction of each kind can truly have; a judge beyond it errs (`label_conflict`).

By the scale of appendix C: 3 is the main intent with one part missing or wrong (`partly_done`, `wrong_attribute`), 2 an
attempt that can be recognised (`wrong_object`: the kind of change, on another thing).
"""


class EditPair(Record):
    """A source image, its edit, and what was asked for.

    Attributes:
        id: the user's own.
        instruction: empty where the input has none.
        references: further images that the instruction was written for, from its "image 2" on; its "image 1" is the
            source. Empty for FIRM-Edit's pairs.
    """

    id: str
    source: ImageRef
    edited: ImageRef
    instruction: str = ""
    references: tuple[ImageRef, ...] = ()

    @property
    def images(self) -> tuple[ImageRef, ImageRef]:
        """In the order they are shown: the source first."""
        return self.source, self.edited


class Planned(Record):
    """What every plan of labels has.

    Attributes:
        id: 32 hex digits, of the input's content and place.
        ordinal: position in the split's plan, from 0.
        seed: a 63-bit number of this plan's own; chooses among the models of a mix.
        input_id: the user's own id.
        problem: one word for why this input cannot be used (`missing`, `unreadable`, `no_prompt`, ...), else empty.
        detail: the sentence behind it.
        names: what the list calls its images, in the order of its columns; "" for one that it holds itself or lacks.
    """

    id: str = Field(pattern=PLAN_ID)
    ordinal: int = Field(ge=0)
    split: str = "train"
    seed: int = Field(ge=0)
    input_id: str
    problem: str = ""
    detail: str = ""
    names: tuple[str, ...] = ()

    def row_id(self, *parts: object) -> str:
        """32 hex digits for one of its rows."""
        text = "\n".join([self.id, *map(str, parts)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class PairPlan(Planned):
    """An edit pair and the kinds of rewriting it undergoes; its rows are (1 + rewrites) x 2.

    Attributes:
        pair: None where there is a `problem`.
    """

    pair: EditPair | None = None
    rewrites: tuple[Rewrite, ...] = ()

    @property
    def rows(self) -> int:
        return 2 * (1 + len(self.rewrites))

    @property
    def kind(self) -> str:
        """Plans of one kind cost about the same."""
        return f"pair with {len(self.rewrites)} rewrites"


class PromptPlan(Planned):
    """A prompt and its images: one that is given, or as many as are to be painted.

    Attributes:
        image: the given one; None where images are painted, or where there is a `problem`.
        paintings: how many are painted; 0 where one is given.
        quality: whether Quality is judged beside Instruction Following.
    """

    prompt: str = ""
    image: ImageRef | None = None
    paintings: int = Field(default=1, ge=0)
    quality: bool = False

    @property
    def rows(self) -> int:
        return max(1, self.paintings) * (1 + self.quality)

    @property
    def kind(self) -> str:
        return f"prompt with {self.paintings or 'its own'} images"


class Label(Record):
    """What every row of critic data has: a prompt without the teacher's aid, and the answer a student learns to give.

    Attributes:
        score: 1.0 to 5.0.
        student_prompt: text with `<image_1>`, ... where the images stand, at its beginning.
        student_answer: reasoning and score in the form of the teacher's answer.
        provenance: by role; a describer's two answers as `describer_obvious` and `describer_detailed`.
    """

    id: str
    dimension: Dimension
    score: float = Field(ge=1, le=5)
    reasoning: str
    student_prompt: str
    student_answer: str
    provenance: dict[str, Source] = {}

    @property
    def task(self) -> str:
        """What the index and the rejects count rows by."""
        return str(self.dimension)

    def _provenance(self) -> str:
        found = {role: source.model_dump() for role, source in sorted(self.provenance.items())}
        return json.dumps(found, sort_keys=True, ensure_ascii=False)


class EditLabel(Label):
    """A row of FIRM-Edit.

    Attributes:
        instruction: the one that was judged.
        rewrite: its kind; None for the original.
    """

    pair: EditPair
    instruction: str
    rewrite: Rewrite | None = None
    report: DifferenceReport

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return self.pair.images

    @property
    def conflict(self) -> str:
        """A sentence where the score is beyond what the kind of rewriting allows; empty where it is not."""
        if self.rewrite is None or self.dimension is not Dimension.EXECUTION:
            return ""
        most = MOST_EXECUTION[self.rewrite]
        if self.score <= most:
            return ""
        return f"Execution of a {self.rewrite} instruction is {most} at most, but the judge gave {self.score:g}"

    def to_json(self, split: str) -> dict[str, Any]:
        """The row's JSON in a tar: every key in every row, no nulls."""
        return {
            "id": self.id,
            "pair_id": self.pair.id,
            "dimension": str(self.dimension),
            "score": self.score,
            "reasoning": self.reasoning,
            "instruction": self.instruction,
            "original_instruction": self.pair.instruction,
            "rewrite": "" if self.rewrite is None else str(self.rewrite),
            "difference_report": str(self.report),
            "student_prompt": self.student_prompt,
            "student_answer": self.student_answer,
            "split": split,
            "provenance": self._provenance(),
        }


class GenerationLabel(Label):
    """A row of FIRM-Gen.

    Attributes:
        painting: the number of the image among the prompt's, from 0.
        checklist, marks: of Instruction Following; None and empty for Quality.
        aspects: Quality's three sub-scores by name; empty for Instruction Following.
    """

    prompt_id: str
    prompt: str
    image: ImageRef
    painting: int = 0
    checklist: Checklist | None = None
    marks: tuple[Mark, ...] = ()
    aspects: dict[str, int] = {}

    @property
    def instruction(self) -> str:
        return self.prompt

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return (self.image,)

    def to_json(self, split: str) -> dict[str, Any]:
        """The row's JSON in a tar: every key in every row, no nulls; -1.0 for an aspect that was not judged."""
        return {
            "id": self.id,
            "prompt_id": self.prompt_id,
            "dimension": str(self.dimension),
            "score": self.score,
            "reasoning": self.reasoning,
            "prompt": self.prompt,
            "painting": self.painting,
            "checklist": "" if self.checklist is None else str(self.checklist),
            "marks": ", ".join(map(str, self.marks)),
            "aspects": {name: float(self.aspects.get(name, -1)) for name in ("aesthetics", "structure", "technical")},
            "student_prompt": self.student_prompt,
            "student_answer": self.student_answer,
            "split": split,
            "provenance": self._provenance(),
        }


class Labels(Record):
    """What came of one plan: its rows, kept or rejected, `plan.rows` of them in all."""

    plan: PairPlan | PromptPlan
    kept: tuple[EditLabel | GenerationLabel, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    usage: dict[str, Usage] = {}

    @property
    def id(self) -> str:
        return self.plan.id

    @property
    def ordinal(self) -> int:
        return self.plan.ordinal

    @property
    def split(self) -> str:
        return self.plan.split
