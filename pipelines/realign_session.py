"""What one process holds open for a Re-Align run: the planner, the models, the filters, and how a sample is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from filters.paintings import chosen, spread
from pipelines.config import RealignConfig
from pipelines.samples import LOWEST, realign_sample
from pipelines.shown import ShownImages
from pipelines.spec import RunSpec, ShardRange
from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import ImageError, InputError
from schemas.plan import Plan, Stress
from schemas.usage import total
from shards.commit import write_shard
from shards.tables import Column, Footer
from storage import images
from storage.references import image_bytes

OWN_COLUMNS: tuple[Column, ...] = (
    ("task", "string"),
    ("subtype", "string"),
    ("instruction", "string"),
    ("references", "int"),
    ("reasonings", "int"),
    ("stress", "string"),
    ("target_phash", "string"),
)
PAINTINGS_COLUMNS: tuple[Column, ...] = (("paintings", "int"), ("paintings_passed", "int"), ("chosen_draw", "int"))


class RealignSession:
    """Opens on first use, in whichever process runs a step of the graph; its threads share it."""

    def __init__(self, spec: RunSpec) -> None:
        from annotators.engine import Engine, EngineSpec
        from pipelines.realign_work import RealignWork

        config = cast(RealignConfig, spec.config)
        self.spec, self._config = spec, config
        self._work = RealignWork(config, input=spec.input)
        self._recipe = self._work.recipe()
        self._filters = self._work.filters
        if self._filters.digest != spec.filters:
            raise InputError("filters.clip.weights: this process sees other weights than the one that began the run")
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

    def plans(self, shard: ShardRange) -> Iterator[Plan]:
        """(a) The plans of a shard's range."""
        for plan in self._work.plans(shard.name.split, range(shard.first, shard.last)):
            yield plan if plan.stress is Stress.NONE else self._stressed(plan)

    def recipe(self) -> Callable[..., Any]:
        """(b) (c) (d)"""
        return self._recipe

    def score(self, drafts: Sequence[Draft]) -> list[Draft | Rejection]:
        """(e) Each draft with its scores, or the rejection that a filter made of it; a broken target is one too.

        Of several paintings each is scored as a draft of its own, and the best becomes the target.
        """
        hashed = [[_hashed(candidate) for candidate in spread(draft)] for draft in drafts]
        scored = iter(self._filters.run([one for of_plan in hashed for one in of_plan if isinstance(one, Draft)]))
        return [
            chosen(draft, [next(scored) if isinstance(one, Draft) else one for one in of_plan])
            for draft, of_plan in zip(drafts, hashed, strict=True)
        ]

    def judge(self) -> Callable[..., Any]:
        """(e) MLLM-based filtering, on what the other filters kept."""
        judge = self._work.judge(self._shown)
        assert judge is not None
        return judge

    @cached_property
    def _shown(self) -> ShownImages:
        """One for all bundles: a reference comes back in many samples."""
        return ShownImages(self.engine.ledger.blobs)

    def commit(self, shard: ShardRange, outcomes: Sequence[Draft | Rejection]) -> Footer:
        """Write what was kept and what was rejected of a whole range as one shard."""
        drafts = [o for o in outcomes if isinstance(o, Draft)]
        rejections = [o for o in outcomes if isinstance(o, Rejection)]
        return write_shard(
            self.spec.out,
            shard.name,
            [realign_sample(draft, self._config.output.image, self._filters.score_names) for draft in drafts],
            rejections,
            run_hash=self.spec.run_hash,
            planned=shard.last - shard.first,
            columns=self._columns(),
            usage=total(outcome.usage for outcome in outcomes),
        )

    def close(self) -> None:
        """Close the engine; a later run in this process opens its own."""
        self.engine.close()

    def _columns(self) -> list[Column]:
        names = self._filters.score_names
        columns = [*OWN_COLUMNS, *((name, "float") for name in names)]
        if self._config.paintings > 1:
            columns += [*PAINTINGS_COLUMNS, *([LOWEST] if "clip_text" in names else [])]
        return columns

    def _stressed(self, plan: Plan) -> Plan:
        """The plan with its blurred references really blurred, so that models and shards see the same pixels."""
        from pools.stress import blurred

        blobs = self.engine.ledger.blobs
        return plan.model_copy(update={"references": tuple(blurred(r, blobs) for r in plan.references)})


def _hashed(draft: Draft) -> Draft | Rejection:
    """The draft with its target's perceptual hash, or its rejection where the target cannot be decoded."""
    try:
        phash = images.phash(images.decode(image_bytes(draft.target), max_side=256))
    except ImageError as error:
        plan = draft.plan
        return Rejection(
            id=plan.id,
            ordinal=plan.ordinal,
            split=plan.split,
            task=plan.task,
            stage="images",
            reason=error.reason,
            error_class=ErrorClass.FINAL,
            detail=error.detail,
            usage=draft.usage,
            draft=draft,
        )
    return draft.model_copy(update={"target_phash": phash})
