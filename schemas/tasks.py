"""Tasks: what a sample asks for, as slots that references fill (Re-Align, figure "data distribution")."""

from __future__ import annotations

from pydantic import Field, model_validator

from schemas.base import Record, Word
from schemas.references import Kind


class Role(Word):
    """What a reference is in a sample.

    base: the image to edit; always image 1.  subject: a thing to show.  scene: the place to show it in.
    donor: gives an element, an attribute or a style and nothing else.
    """

    BASE = "base"
    SUBJECT = "subject"
    SCENE = "scene"
    DONOR = "donor"


class Family(Word):
    EDITING = "editing"
    GENERATION = "generation"


class Slot(Record):
    """A place in a task: which role it plays, which pools may fill it, and how many references it takes.

    With `same_subject`, several references of this slot are photos of one and the same subject; without it, each
    shows a subject of its own.
    """

    role: Role
    kinds: tuple[Kind, ...] = Field(min_length=1)
    min: int = Field(default=1, ge=0)
    max: int = Field(default=1, ge=1)
    same_subject: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Slot:
        if self.min > self.max:
            raise ValueError(f"slot {self.role}: min {self.min} is above max {self.max}")
        return self


class Subtype(Record):
    """A sub-type of a task: its scope, its weight among its siblings, and the pools it may draw from.

    `base_kinds` and `donor_kinds` take the place of the kinds of the slots with that role; empty leaves them.
    """

    name: str
    scope: str = "global"
    weight: float = Field(default=1.0, ge=0)
    base_kinds: tuple[Kind, ...] = ()
    donor_kinds: tuple[Kind, ...] = ()


class Task(Record):
    """One task: its slots in the order their references are numbered.

    Attributes:
        share: the default weight, as measured off the paper's figure (research note A.4).
        definition: one sentence the prompts give the writer.
        subtypes: empty, or the sub-types of which each plan draws one.
    """

    name: str
    family: Family
    share: float = Field(ge=0)
    definition: str
    slots: tuple[Slot, ...] = Field(min_length=1)
    subtypes: tuple[Subtype, ...] = ()

    @model_validator(mode="after")
    def _base_first(self) -> Task:
        roles = [slot.role for slot in self.slots]
        if Role.BASE in roles[1:]:
            raise ValueError(f"task {self.name}: the base slot must come first")
        if self.family is Family.EDITING and roles[0] is not Role.BASE:
            raise ValueError(f"task {self.name}: an editing task begins with a base slot")
        return self
