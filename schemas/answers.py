"""Structured answers: what a model must return, with the bounds that a provider can enforce."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WriterAnswer(BaseModel):
    """The writer's answer: an instruction, or why this combination of references allows none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feasible: bool
    reason: str = Field(default="", max_length=600, description="why it is infeasible; empty where it is feasible")
    instruction: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _one_of_both(self) -> WriterAnswer:
        if self.feasible and not self.instruction.strip():
            raise ValueError("instruction is empty although feasible is true.")
        if not self.feasible and not self.reason.strip():
            raise ValueError("reason is empty although feasible is false.")
        return self
