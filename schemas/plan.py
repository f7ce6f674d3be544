"""A plan: everything decided about a sample before any model is asked."""

from __future__ import annotations

from pydantic import Field, model_validator

from schemas.base import Record, Word
from schemas.references import Reference
from schemas.tasks import Role


class Style(Word):
    """How the instruction speaks: a request ("put the cat ...") or a description ("the cat sits ...")."""

    INSTRUCTIVE = "instructive"
    DESCRIPTIVE = "descriptive"


class Naming(Word):
    """How the instruction names references: "image 1", "the first image", or by content alone."""

    INDEXED = "indexed"
    INDEX_FREE = "index_free"


class Length(Word):
    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class Stress(Word):
    """A labelled defect put into a plan on request; `none` otherwise."""

    NONE = "none"
    BLURRED = "blurred"
    MISMATCHED = "mismatched"
    DISTRACTOR = "distractor"


class Wording(Record):
    """The wording choices of one plan, drawn with the configured shares and recorded with the sample.

    Attributes:
        focus: the secondary visual detail the instruction should dwell on (`material`, `light`, ...).
        language: an IETF tag such as `en` or `zh`.
    """

    style: Style = Style.INSTRUCTIVE
    naming: Naming = Naming.INDEXED
    length: Length = Length.MEDIUM
    focus: str = "material"
    language: str = "en"


class PlannedReference(Record):
    """A reference in its place in a plan. `stress` marks a reference that was put there to be wrong."""

    reference: Reference
    role: Role
    stress: Stress = Stress.NONE


class Plan(Record):
    """Which references a sample uses, in order, in which roles, and how its instruction is to speak.

    Attributes:
        id: 32 hex digits, derived from (task, ordered reference ids, seed, split, ordinal).
        ordinal: position in the split's plan, from 0.
        seed: a 63-bit number of this plan's own, for whatever the recipe draws later.
        references: image 1 first; the image to edit, where there is one, is image 1.
    """

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    ordinal: int = Field(ge=0)
    split: str = "train"
    seed: int = Field(ge=0)
    task: str
    subtype: str = ""
    references: tuple[PlannedReference, ...] = Field(min_length=1)
    wording: Wording = Wording()
    stress: Stress = Stress.NONE

    @model_validator(mode="after")
    def _base_first(self) -> Plan:
        if any(r.role is Role.BASE for r in self.references[1:]):
            raise ValueError("the image to edit must be image 1")
        return self

    @property
    def kind(self) -> str:
        """Plans of one kind cost about the same."""
        return f"{self.task} of {len(self.references)}"

    def of_role(self, role: Role) -> list[tuple[int, Reference]]:
        """(1-based image number, reference) of every reference in `role`, in order."""
        return [(i, r.reference) for i, r in enumerate(self.references, 1) if r.role is role]
