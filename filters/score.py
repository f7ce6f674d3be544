"""Ask the filters, cheap ones first; each sees only what the ones before it kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from filters.base import TOGETHER, Candidate, Filter, Verdict, rounded
from schemas.draft import Draft, ErrorClass, Reasoning, Rejection
from schemas.errors import ImageError
from schemas.iccot import ICCoT

BATCH = 16
"""Candidates in memory with their pixels at once; no result depends on it."""


@dataclass
class _Under:
    """A candidate under way: its draft as scored so far, and what became of it."""

    candidate: Candidate
    order: tuple[ICCoT, ...]
    dropped: list[Reasoning] = field(default_factory=list)
    rejection: Rejection | None = None

    @classmethod
    def of(cls, candidate: Candidate) -> _Under:
        return cls(candidate, tuple(r.iccot for r in candidate.draft.reasonings))

    def all_reasonings(self, remaining: Sequence[Reasoning]) -> tuple[Reasoning, ...]:
        """Those that remain and those dropped, in the order the draft came with."""
        return tuple(sorted([*remaining, *self.dropped], key=lambda r: self.order.index(r.iccot)))


def run(filters: Sequence[Filter], candidates: Sequence[Candidate]) -> list[Draft | Rejection]:
    """Keep or reject every candidate, in order.

    A kept draft holds every score that was computed and the reasonings that remain. A filter's rejection (stage
    `filter`) holds the scores so far and the draft with all its reasonings, those dropped included, so that a lower
    limit can bring it back. An image that cannot be used costs its sample (stage `images`, class final).
    """
    out: list[Draft | Rejection] = []
    ordered = sorted(filters, key=lambda f: f.cost)
    for start in range(0, len(candidates), TOGETHER):
        batch = [_Under.of(candidate) for candidate in candidates[start : start + TOGETHER]]
        for size, group in groupby(ordered, key=lambda one: getattr(one, "batch", BATCH)):
            _ask(list(group), batch, size)
        for under in batch:
            under.candidate.images.forget()
        out += [under.rejection or under.candidate.draft for under in batch]
    return out


def _ask(filters: Sequence[Filter], batch: Sequence[_Under], size: int) -> None:
    """All of these filters about the first `size`, then about the next ones, so that few pixels are held."""
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        for one in filters:
            alive = [under for under in part if under.rejection is None]
            for under, verdict in zip(alive, _verdicts(one, [u.candidate for u in alive]), strict=True):
                _apply(under, one, verdict)
        for under in part:
            under.candidate.images.forget_pixels()


def _verdicts(one: Filter, candidates: Sequence[Candidate]) -> list[Verdict | ImageError]:
    """A batch with a broken image in it is asked about again one by one, to find whose it is."""
    if not candidates:
        return []
    try:
        return list(one(candidates))
    except ImageError as error:
        if len(candidates) == 1:
            return [error]
    return [verdict for candidate in candidates for verdict in _verdicts(one, [candidate])]


def _apply(under: _Under, one: Filter, verdict: Verdict | ImageError) -> None:
    draft = under.candidate.draft
    if isinstance(verdict, ImageError):
        under.rejection = _rejection(draft, "images", verdict.reason, verdict.detail, ErrorClass.FINAL)
        return
    unknown = set(verdict.scores) - set(one.scores)
    if unknown:
        raise ValueError(f"filter {one.name} wrote columns it does not declare: {sorted(unknown)}")
    under.dropped += verdict.dropped
    remaining = draft.reasonings if verdict.reasonings is None else verdict.reasonings
    scores = {**draft.scores, **{name: rounded(value) for name, value in verdict.scores.items()}}
    if not verdict.reason:
        draft = draft.model_copy(update={"scores": scores, "reasonings": remaining})
        under.candidate = Candidate(draft, under.candidate.images)
        return
    draft = draft.model_copy(update={"scores": scores, "reasonings": under.all_reasonings(remaining)})
    under.rejection = _rejection(draft, "filter", verdict.reason, verdict.detail, ErrorClass.FILTERED, draft)


def _rejection(
    draft: Draft, stage: str, reason: str, detail: str, error_class: ErrorClass, kept: Draft | None = None
) -> Rejection:
    return Rejection(
        id=draft.id,
        ordinal=draft.plan.ordinal,
        split=draft.plan.split,
        task=draft.plan.task,
        stage=stage,
        reason=reason,
        error_class=error_class,
        detail=detail,
        scores=draft.scores,
        usage=draft.usage,
        draft=kept,
    )
