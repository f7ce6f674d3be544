"""How a sample is written: from what a recipe made to the members and the index row of a shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from pipelines.config import ImageOutput
from pipelines.rows import called, located
from pools.splits import same_text
from schemas.draft import Draft, Painting
from schemas.errors import ImageError
from schemas.labels import EditLabel, GenerationLabel, PairPlan, PromptPlan
from schemas.references import ImageRef
from shards.commit import ShardSample
from shards.tables import Cell, Column
from storage import images
from storage.references import image_bytes

LOWEST: Column = ("lowest_clip_text", "float")
"""Of a sample's paintings: what lies between it and `clip_text` tells chosen from rejected."""


def realign_sample(draft: Draft, output: ImageOutput, score_names: tuple[str, ...]) -> ShardSample:
    """A Re-Align sample; its images are read and cleaned when they are written.

    Args:
        score_names: the run's score columns.
    """
    plan = draft.plan
    members: list[tuple[str, Any]] = [
        (f"image_{i}.jpg", partial(_clean, r.reference, output)) for i, r in enumerate(plan.references, 1)
    ]
    members.append(("target.jpg", partial(_clean, draft.target, output)))
    members += [(name, partial(_clean, p.image, output)) for name, p in draft.painted_members if not p.chosen]
    members.append(("json", json.dumps(draft.to_json(score_names), ensure_ascii=False).encode()))
    return ShardSample(
        id=draft.id,
        members=members,
        columns=realign_row(draft, score_names),
        subjects=tuple(dict.fromkeys(r.reference.subject for r in plan.references)),
        ordinal=plan.ordinal,
        draft=draft,
    )


def label_sample(
    label: EditLabel | GenerationLabel,
    split: str,
    ordinal: int,
    output: ImageOutput,
    plan: PairPlan | PromptPlan | None = None,
) -> ShardSample:
    """A row of critic labels.

    Args:
        plan: of the row; knows what the list calls its images, for the rejection should one of them fail.
    """
    names = called(plan) if plan is not None else [""] * len(label.images)
    members: list[tuple[str, Any]] = [
        (f"image_{i}.jpg", partial(_clean, image, output, name))
        for i, (image, name) in enumerate(zip(label.images, names, strict=True), 1)
    ]
    members.append(("json", json.dumps(label.to_json(split), ensure_ascii=False).encode()))
    return ShardSample(
        id=label.id,
        members=members,
        columns=label_row(label),
        subjects=_subjects(label),
        ordinal=ordinal,
        input_id=label.pair.id if isinstance(label, EditLabel) else label.prompt_id,
    )


def realign_row(draft: Draft, score_names: tuple[str, ...]) -> dict[str, Cell]:
    """The flat columns of its index row."""
    plan = draft.plan
    return {
        "task": plan.task,
        "subtype": plan.subtype,
        "instruction": draft.instruction,
        "references": len(plan.references),
        "reasonings": len(draft.reasonings),
        "stress": str(plan.stress),
        "target_phash": draft.target_phash,
        **{name: draft.scores.get(name) for name in score_names},
        **(_choice(draft.paintings, score_names) if draft.paintings else {}),
    }


def label_row(label: EditLabel | GenerationLabel) -> dict[str, Cell]:
    """The flat columns of its index row."""
    return {
        "task": label.task,
        "dimension": str(label.dimension),
        "score": label.score,
        "instruction": label.instruction,
        **_own_columns(label),
    }


def _choice(paintings: Sequence[Painting], score_names: Sequence[str]) -> dict[str, Cell]:
    """What the index says of a sample's paintings."""
    row: dict[str, Cell] = {
        "paintings": len(paintings),
        "paintings_passed": sum(not painting.reason for painting in paintings),
        "chosen_draw": next(painting.draw for painting in paintings if painting.chosen),
    }
    if "clip_text" in score_names:
        fits = [painting.scores["clip_text"] for painting in paintings if "clip_text" in painting.scores]
        row[LOWEST[0]] = min(fits, default=None)
    return row


def _own_columns(label: EditLabel | GenerationLabel) -> dict[str, str | int]:
    if isinstance(label, EditLabel):
        return {"pair_id": label.pair.id, "rewrite": "" if label.rewrite is None else str(label.rewrite)}
    painter = label.provenance["painter"].model
    return {"prompt_id": label.prompt_id, "painting": label.painting, "painter": painter}


def _subjects(label: EditLabel | GenerationLabel) -> tuple[str, ...]:
    """What may not appear in another split: images by digest, a prompt by its text."""
    digests = dict.fromkeys(image.sha256 for image in label.images)
    if isinstance(label, EditLabel):
        return tuple(digests)
    return (same_text(label.prompt), *digests)


def _clean(image: ImageRef, output: ImageOutput, name: str = "") -> bytes:
    """The JPEG that goes into the tar; an error calls the image by `name`, where it has one."""
    try:
        return images.clean(image_bytes(image), max_side=output.max_side, quality=output.quality).data
    except ImageError as error:
        raise (ImageError(error.reason, located(error.detail, image, name)) if name else error) from error
