"""Rows of critic data: what came of a plan, and the rejections of rows that came to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest

from annotators.errors import Failure
from annotators.interface import Models
from annotators.sending import sendable
from pools.inputs import PAIRS, PROMPTS
from schemas.draft import ErrorClass, Rejection
from schemas.errors import ImageError
from schemas.judgements import Dimension
from schemas.labels import EditLabel, GenerationLabel, Labels, PairPlan, PromptPlan
from schemas.references import ImageRef
from schemas.usage import Usage

Row = EditLabel | GenerationLabel | Rejection
"""What a row comes to."""

_OF_IMAGES = frozenset({"missing", "unreadable", "changed", "bomb"})
"""Reasons that are an image's, whoever was to look at it."""


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
        input_id=plan.input_id,
    )


def rejected(
    plan: PairPlan | PromptPlan, failure: Failure, named: object, dimension: Dimension, instruction: str = ""
) -> Rejection:
    """The same for a row whose model gave no usable answer."""
    whole = failure.rejection(plan)
    said = {"detail": _naming(plan, failure.detail)} if failure.reason in _OF_IMAGES else {}
    own = {"id": plan.row_id(named, dimension), "task": str(dimension), "instruction": instruction}
    return whole.model_copy(update={**own, **said, "input_id": plan.input_id})


def called(plan: PairPlan | PromptPlan) -> tuple[str, ...]:
    """What a message calls the images of a plan, in their order: the column, and where the list says that it lies."""
    form = PAIRS if isinstance(plan, PairPlan) else PROMPTS
    return tuple(f"`{column}` {name}".rstrip() for column, name in zip_longest(form.images, plan.names, fillvalue=""))


def located(detail: str, image: ImageRef, name: str) -> str:
    """What is wrong with an image, by its name in place of its address, which is this machine's."""
    if image.uri in detail:
        return detail.replace(image.uri, name)
    return f"{name}: {detail}"


def _naming(plan: PairPlan | PromptPlan, detail: str) -> str:
    """The detail of a failure of one of a plan's images, with that image's name."""
    if isinstance(plan, PromptPlan):
        return located(detail, plan.image, called(plan)[0]) if plan.image is not None else detail
    images = list(zip(plan.pair.images, called(plan), strict=True)) if plan.pair is not None else []
    # The longer address first, as it may begin with the other.
    by_address = sorted(images, key=lambda one: -len(one[0].uri))
    at_fault = [one for one in by_address if one[0].uri in detail] or [one for one in images if _broken(one[0])]
    return located(detail, *at_fault[0]) if at_fault else detail


@lru_cache(maxsize=256)
def _broken(image: ImageRef) -> bool:
    """Whether an image cannot be shown to a model: looked at again, as who failed did not say which it was."""
    try:
        sendable(image)
    except ImageError:
        return True
    return False


def _part(cost: Usage, rows: int) -> Usage:
    return Usage(tokens_in=cost.tokens_in // rows, tokens_out=cost.tokens_out // rows, usd=cost.usd / rows)
