"""What every record shares: frozen, closed to unknown keys, compact JSON."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A value that travels between rooms: immutable, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Word(str, Enum):
    """A string enum whose members print as their value (StrEnum, which Python 3.10 lacks)."""

    def __str__(self) -> str:
        return str(self.value)
