"""What answers cost."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from schemas.base import Record


class Usage(Record):
    """The cost of the answers of one model that a sample, shard or run used.

    `usd` is what each answer cost when it was paid, so a restart does not change it; `calls` were made now,
    `ledger_hits` came from the ledger.
    """

    calls: int = Field(default=0, ge=0)
    ledger_hits: int = Field(default=0, ge=0)
    tokens_in: int = Field(default=0, ge=0)
    tokens_out: int = Field(default=0, ge=0)
    usd: float = Field(default=0.0, ge=0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})


def total(parts: Iterable[dict[str, Usage]]) -> dict[str, Usage]:
    """Sum per model, model names in alphabetical order."""
    sums: dict[str, Usage] = {}
    for part in parts:
        for model, usage in part.items():
            sums[model] = sums.get(model, Usage()) + usage
    return dict(sorted(sums.items()))
