"""What one process holds open for a run of critic labels, and how a row is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipelines.config import FirmEditConfig, FirmGenConfig
from pipelines.firm_work import FirmEditWork, FirmGenWork
from pipelines.samples import label_sample
from pipelines.spec import RunSpec, ShardRange
from schemas.draft import Rejection
from schemas.labels import Labels
from schemas.usage import total
from shards.commit import write_shard
from shards.tables import Column, Footer

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
            [label_sample(label, one.split, one.ordinal, self._image, one.plan) for one in found for label in one.kept],
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
