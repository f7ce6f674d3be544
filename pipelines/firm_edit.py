"""FIRM-Edit (arXiv 2603.12247, section 3.1): critic labels for edits, difference-first.

The figure, arrow by arrow: the differences of an image pair are described without the instruction, obvious ones and
detailed ones, and merged (a); some instructions are rewritten so that the edit fails them (b); Execution and
Consistency are scored in two calls that see images, report and instruction (c); the student's prompt drops the report
(d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotators.critics import Described, EditCritic, as_text
from annotators.errors import Failure
from annotators.interface import Models
from annotators.models import side_by_side
from pipelines.rows import Row, labels, refused, rejected
from schemas.draft import ErrorClass, Source
from schemas.judgements import Dimension
from schemas.labels import EditLabel, EditPair, Labels, PairPlan, Rewrite

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from pipelines.spec import RunSpec, ShardRange
    from pipelines.transforms import Step

DIMENSIONS = (Dimension.EXECUTION, Dimension.CONSISTENCY)


def graph(p: beam.Pipeline, spec: RunSpec, shards: list[ShardRange]) -> PCollection[str]:
    """The figure as a Beam graph; gives the name of each committed shard."""
    import apache_beam as beam

    from pipelines.transforms import Annotate, Plans, WriteShards

    plans = p | "Plan" >> Plans(spec, shards)  # deterministic: (seed, split, ordinal) -> pair, kinds of rewriting
    judged = plans | "Spread plans" >> beam.Reshuffle() | "Annotate" >> Annotate(spec)  # (a) to (d) network-bound
    return judged | "Write shards" >> WriteShards(spec, shards)  # rows kept and rejected, one commit per shard


def steps(spec: RunSpec) -> list[Step]:
    """The same arrow from plan to rows, for a shard that one worker makes (`pipelines.whole_shards`)."""
    from pipelines.transforms import Annotate

    return [Annotate(spec)]  # (a) to (d)


@dataclass(frozen=True)
class Asked:
    """An instruction that a pair is judged by.

    Attributes:
        rewrite: the kind of its rewriting; None for the original.
        source: the rewriter's answer; None for the original.
    """

    text: str
    rewrite: Rewrite | None = None
    source: Source | None = None


@dataclass(frozen=True)
class Recipe:
    """The whole figure for one pair: a plain async function of (plan, models), without Beam."""

    critic: EditCritic

    async def __call__(self, plan: PairPlan, models: Models) -> Labels:
        """Plan in, one row per (instruction, dimension) out: a label, or a rejection where a model failed it."""
        if plan.pair is None:
            return labels(
                plan, models, [refused(plan, "input", plan.problem, plan.detail, *row) for row in _rows(plan)]
            )
        if not (plan.pair.instruction or plan.rewrites):
            return labels(plan, models, [_uninstructed(plan, dimension) for dimension in DIMENSIONS])
        try:
            told = await self.critic.describe(plan.pair, models)  # (a) obvious + detailed, without the instruction
        except Failure as failure:
            return labels(plan, models, [rejected(plan, failure, *row) for row in _rows(plan)])
        judged = await side_by_side(  # the original instruction, and each rewriting
            self.original(plan, plan.pair, told, models),
            *(self.rewritten(plan, plan.pair, told, kind, models) for kind in plan.rewrites),
        )
        return labels(plan, models, [row for rows in judged for row in rows])

    async def original(self, plan: PairPlan, pair: EditPair, told: Described, models: Models) -> list[Row]:
        """The rows of the instruction as it came."""
        if not pair.instruction:
            return [_uninstructed(plan, dimension) for dimension in DIMENSIONS]
        return await self.judged(plan, pair, told, Asked(pair.instruction), models)

    async def rewritten(
        self, plan: PairPlan, pair: EditPair, told: Described, kind: Rewrite, models: Models
    ) -> list[Row]:
        """(b) The rows of an instruction that the edit does not fulfil."""
        try:
            wrote = await self.critic.rewrite(pair, told.report, kind, models)
        except Failure as failure:
            return [rejected(plan, failure, kind, d) for d in DIMENSIONS]
        asked = Asked(wrote.parsed.instruction.strip(), kind, wrote.source)
        return await self.judged(plan, pair, told, asked, models)

    async def judged(self, plan: PairPlan, pair: EditPair, told: Described, asked: Asked, models: Models) -> list[Row]:
        """(c) Execution and Consistency, side by side."""
        return list(await side_by_side(*(self.row(plan, pair, told, asked, d, models) for d in DIMENSIONS)))

    async def row(
        self, plan: PairPlan, pair: EditPair, told: Described, asked: Asked, dimension: Dimension, models: Models
    ) -> Row:
        """(c) (d) One row: the teacher's judgement under the student's prompt; a score beyond its bound is rejected."""
        named = asked.rewrite or "original"
        try:
            judge = await self.critic.score(dimension, pair, asked.text, told.report, models)
        except Failure as failure:
            return rejected(plan, failure, named, dimension, instruction=asked.text)
        label = EditLabel(
            id=plan.row_id(named, dimension),
            dimension=dimension,
            score=judge.parsed.value,
            reasoning=judge.parsed.reasoning,
            student_prompt=as_text(self.critic.student_prompt(dimension, pair, asked.text)),
            student_answer=judge.parsed.text,
            provenance={
                "describer_obvious": told.obvious.source,
                "describer_detailed": told.detailed.source,
                "rewriter": asked.source or Source(model=""),
                "judge": judge.source,
            },
            pair=pair,
            instruction=asked.text,
            rewrite=asked.rewrite,
            report=told.report,
        )
        if not label.conflict:
            return label
        return refused(plan, "judge", "label_conflict", label.conflict, named, dimension, ErrorClass.FILTERED, label)


def _uninstructed(plan: PairPlan, dimension: Dimension) -> Row:
    return refused(plan, "input", "no_instruction", "the input has no instruction for this pair", "original", dimension)


def _rows(plan: PairPlan) -> list[tuple[str, Dimension]]:
    """What each row of a plan is named by."""
    return [(str(named), d) for named in ("original", *plan.rewrites) for d in DIMENSIONS]
