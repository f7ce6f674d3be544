"""Structured answers: what a model must return, with the bounds that a provider can enforce."""

from __future__ import annotations

from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.mentions import PLACEHOLDER, beyond

INSTRUCTION_LENGTH = 2000
"""The most characters that a writer's instruction may have."""


class WriterAnswer(BaseModel):
    """The writer's answer: an instruction, or why this combination of references allows none."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="WriterAnswer")

    feasible: bool
    reason: str = Field(default="", max_length=600, description="why it is infeasible; empty where it is feasible")
    instruction: str = Field(default="", max_length=INSTRUCTION_LENGTH)

    @model_validator(mode="after")
    def _one_of_both(self) -> WriterAnswer:
        if self.feasible and not self.instruction.strip():
            raise ValueError("instruction is empty although feasible is true.")
        if not self.feasible and not self.reason.strip():
            raise ValueError("reason is empty although feasible is false.")
        return self


@lru_cache(maxsize=32)
def writer_answer(references: int) -> type[WriterAnswer]:
    """`WriterAnswer` for a sample of so many references: an instruction that names any other image is defective.

    The JSON schema that a provider sees is the same for all.
    """

    class Bounded(WriterAnswer):
        __doc__ = WriterAnswer.__doc__

        @field_validator("instruction")
        @classmethod
        def _names_only_its_images(cls, instruction: str) -> str:
            found = beyond([instruction], references)
            if PLACEHOLDER.search(instruction):
                found.append("The instruction must not hold a placeholder such as <image_1>; write image 1.")
            if found:
                raise ValueError(" ".join(found))
            return instruction

    return Bounded
