"""Filters that ask models, one after another on what the ones before them kept: what each is, and how they go together.

Each is a plain async function of (draft, models). The cheapest goes first, and the first rejection is the last
question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from annotators.interface import Models
from filters.base import rounded
from schemas.draft import Draft, ErrorClass, Rejection, Source
from schemas.usage import Usage, total


class JudgeFilter(Protocol):
    """Draft in, the same draft with its scores out, or its rejection.

    It counts `models.usage`, all that was asked about this draft so far, into the draft's.
    """

    async def __call__(self, draft: Draft, models: Models) -> Draft | Rejection: ...


@dataclass(frozen=True)
class Judges:
    """Several, cheapest first; safe to share."""

    judges: Sequence[JudgeFilter]

    async def __call__(self, draft: Draft, models: Models) -> Draft | Rejection:
        """Draft in, the draft with every judge's scores out, or the first rejection.

        Raises:
            Failure: a model gave no usable answer.
        """
        outcome: Draft | Rejection = draft
        for judge in self.judges:
            assert isinstance(outcome, Draft)
            # Each adds what all of them were asked so far, so each is given what the draft cost before any.
            outcome = await judge(outcome.model_copy(update={"usage": draft.usage}), models)
            if isinstance(outcome, Rejection):
                return outcome
        return outcome.model_copy(update={"usage": spent(draft, models)})


def spent(draft: Draft, models: Models) -> dict[str, Usage]:
    """By model, what a draft cost, its judges included."""
    return total([draft.usage, models.usage])


def judged(draft: Draft, models: Models, scores: dict[str, float], sources: dict[str, Source]) -> Draft:
    """The draft with what judges said: their scores, where their answers came from, and what they cost.

    Args:
        scores: by column.
        sources: of their answers, by the words that the provenance has for them.
    """
    return draft.model_copy(
        update={
            "scores": {**draft.scores, **{name: rounded(value) for name, value in scores.items()}},
            "provenance": {**draft.provenance, **sources},
            "usage": spent(draft, models),
        }
    )


def rejected(draft: Draft, reason: str, detail: str, request_key: str) -> Rejection:
    """A judge's rejection, with the draft, so that another limit can bring it back."""
    return Rejection(
        id=draft.id,
        ordinal=draft.ordinal,
        split=draft.split,
        task=draft.plan.task,
        stage="judge",
        reason=reason,
        error_class=ErrorClass.FILTERED,
        detail=detail,
        request_key=request_key,
        scores=draft.scores,
        usage=draft.usage,
        draft=draft,
    )
