"""Rows of critic data: what came of a plan, and the rejections of rows that came to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from annotators.errors import Failure
from annotators.interface import Models
from schemas.draft import ErrorClass, Rejection
from schemas.judgements import Dimension
from schemas.labels import EditLabel, GenerationLabel, Labels, PairPlan, PromptPlan
from schemas.usage import Usage

Row = EditLabel | GenerationLabel | Rejection
"""What a row comes to."""


def labels(plan: PairPlan | PromptPlan, models: Models, rows: Sequence[Row]) -> Labels:
    """What came of a plan; each rejected row bears an equal part of what the plan cost."""
    usage = models.usage
    part = {model: _part(cost, plan.rows) for model, cost in usage.items()}
    return Labels(
        plan=plan,
        kept=tuple(row for row in rows if not isinstance(row, Rejection)),
        rejected=tuple(row.model_copy(update={"usage": part}) for row in rows if isinstance(row, Rejection)),
        usage=usage,
    )


def refused(
    plan: PairPlan | PromptPlan,
    stage: str,
    reason: str,
    detail: str,
    named: object,
    dimension: Dimension,
    error_class: ErrorClass = ErrorClass.PLANNED,
    label: EditLabel | GenerationLabel | None = None,
) -> Rejection:
    """The rejection of the row that `named` (the kind of rewriting, or the number of the image) and dimension name."""
    return Rejection(
        id=plan.row_id(named, dimension),
        ordinal=plan.ordinal,
        split=plan.split,
        task=str(dimension),
        stage=stage,
        reason=reason,
        error_class=error_class,
        detail=detail,
        instruction="" if label is None else label.instruction,
        scores={} if label is None else {str(dimension): label.score},
        label="" if label is None else label.model_dump_json(),
        images=() if label is None else tuple(image.sha256 for image in label.images),
        request_key="" if label is None else label.provenance["judge"].request_key,
    )


def rejected(
    plan: PairPlan | PromptPlan, failure: Failure, named: object, dimension: Dimension, instruction: str = ""
) -> Rejection:
    """The same for a row whose model gave no usable answer."""
    whole = failure.rejection(plan)
    return whole.model_copy(
        update={"id": plan.row_id(named, dimension), "task": str(dimension), "instruction": instruction}
    )


def _part(cost: Usage, rows: int) -> Usage:
    return Usage(tokens_in=cost.tokens_in // rows, tokens_out=cost.tokens_out // rows, usd=cost.usd / rows)
