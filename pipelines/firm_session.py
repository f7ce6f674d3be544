"""What one process holds open for a run of critic labels, and how a row is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from pipelines.config import FirmEditConfig, FirmGenConfig, ImageOutput
from pipelines.firm_work import FirmEditWork, FirmGenWork
from pipelines.spec import RunSpec, ShardRange
from schemas.draft import Rejection
from schemas.labels import EditLabel, GenerationLabel, Labels
from schemas.references import ImageRef
from schemas.usage import total
from shards.commit import ShardSample, write_shard
from shards.tables import Column, Footer
from storage import images
from storage.references import image_bytes

COLUMNS: dict[str, tuple[Column, ...]] = {
    "firm-edit": (
        ("task", "string"),
        ("dimension", "string"),
        ("score", "float"),
        ("pair_id", "string"),
        ("instruction", "string"),
        ("rewrite", "string"),
    ),
    "firm-gen": (
        ("task", "string"),
        ("dimension", "string"),
        ("score", "float"),
        ("prompt_id", "string"),
        ("instruction", "string"),
        ("painting", "int"),
        ("painter", "string"),
    ),
}


class FirmSession:
    """Opens on first use, in whichever process runs a step of the graph; its threads share it."""

    def __init__(self, spec: RunSpec) -> None:
        from annotators.engine import Engine, EngineSpec

        config = spec.config
        self.spec, self._image = spec, config.output.image
        self._work: FirmEditWork | FirmGenWork
        if isinstance(config, FirmEditConfig):
            self._work = FirmEditWork(config, input=spec.input)
        else:
            assert isinstance(config, FirmGenConfig)
            self._work = FirmGenWork(config, input=spec.input)
        self._recipe = self._work.recipe()
        self.engine = Engine(
            EngineSpec(
                models=config.models,
                roles=self._work.roles,
                ledger=config.ledger,
                budget=config.budget,
                allowance=spec.allowance,
                account=(spec.out, (spec.slice.index, spec.slice.of)),
                prices=config.prices,
                shares=spec.share.of,
                world=self._work.world,
            )
        )

    def plans(self, shard: ShardRange) -> Iterator[Any]:
        """The plans of a shard's range."""
        return self._work.plans(shard.name.split, range(shard.first, shard.last))

    def recipe(self) -> Callable[..., Any]:
        """The whole figure for one plan."""
        return self._recipe

    def commit(self, shard: ShardRange, outcomes: Sequence[Any]) -> Footer:
        """Write the rows of a whole range of plans as one shard; its counts are rows."""
        found = [outcome for outcome in outcomes if isinstance(outcome, Labels)]
        assert len(found) == len(outcomes), "a recipe of labels gives labels"
        rejections: list[Rejection] = [row for one in found for row in one.rejected]
        return write_shard(
            self.spec.out,
            shard.name,
            [self._sample(one, label) for one in found for label in one.kept],
            rejections,
            run_hash=self.spec.run_hash,
            planned=sum(one.plan.rows for one in found),
            columns=COLUMNS[self.spec.config.dataset],
            usage=total(one.usage for one in found),
        )

    def score(self, drafts: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError("labels have no filters")

    def judge(self) -> Callable[..., Any]:
        raise NotImplementedError("labels have no filters")

    def close(self) -> None:
        """Close the engine; a later run in this process opens its own."""
        self.engine.close()

    def _sample(self, made: Labels, label: EditLabel | GenerationLabel) -> ShardSample:
        members: list[tuple[str, Any]] = [
            (f"image_{i}.jpg", partial(_clean, image, self._image)) for i, image in enumerate(label.images, 1)
        ]
        members.append(("json", json.dumps(label.to_json(made.split), ensure_ascii=False).encode()))
        return ShardSample(
            id=label.id,
            members=members,
            columns={
                "task": label.task,
                "dimension": str(label.dimension),
                "score": label.score,
                "instruction": label.instruction,
                **_own_columns(label),
            },
            subjects=_subjects(label),
            ordinal=made.ordinal,
        )


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
    return (" ".join(label.prompt.lower().split()), *digests)


def _clean(image: ImageRef, output: ImageOutput) -> bytes:
    """The JPEG that goes into the tar."""
    return images.clean(image_bytes(image), max_side=output.max_side, quality=output.quality).data
