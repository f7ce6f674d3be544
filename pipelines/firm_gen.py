"""FIRM-Gen (arXiv 2603.12247, section 3.2): critic labels for generated images, plan-then-score.

The figure, arrow by arrow: images come with the prompt or a mix of generators paints them (a); a planner that sees the
prompt alone writes the checklist (b); the judge goes through it criterion by criterion before it gives Instruction
Following (c), and Quality, where asked for, without the prompt (d); the student's prompt drops the plan (e).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotators.critics import GenerationCritic, as_text
from annotators.errors import Failure
from annotators.interface import Answer, Facts, Models
from annotators.models import side_by_side
from pipelines.rows import Row, labels, refused, rejected
from schemas.checklists import Checklist
from schemas.draft import Source
from schemas.judgements import Dimension
from schemas.labels import GenerationLabel, Labels, PromptPlan
from schemas.references import ImageRef

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from pipelines.spec import RunSpec, ShardRange
    from pipelines.transforms import Step


def graph(p: beam.Pipeline, spec: RunSpec, shards: list[ShardRange]) -> PCollection[str]:
    """The figure as a Beam graph; gives the name of each committed shard."""
    import apache_beam as beam

    from pipelines.transforms import Annotate, Plans, WriteShards

    plans = p | "Plan" >> Plans(spec, shards)  # deterministic: (seed, split, ordinal) -> prompt, its image or none
    judged = plans | "Spread plans" >> beam.Reshuffle() | "Annotate" >> Annotate(spec)  # (a) to (e) network-bound
    return judged | "Write shards" >> WriteShards(spec, shards)  # rows kept and rejected, one commit per shard


def steps(spec: RunSpec) -> list[Step]:
    """The same arrow from plan to rows, for a shard that one worker makes (`pipelines.whole_shards`)."""
    from pipelines.transforms import Annotate

    return [Annotate(spec)]  # (a) to (e)


NOBODY = Source(model="")


@dataclass(frozen=True)
class Shown:
    """An image of a prompt.

    Attributes:
        number: among the prompt's images, from 0.
        painter: who made it; an empty source where it was given.
    """

    image: ImageRef
    number: int = 0
    painter: Source = NOBODY


@dataclass(frozen=True)
class Unplanned:
    """Why there is no checklist."""

    failure: Failure


@dataclass(frozen=True)
class Recipe:
    """The whole figure for one prompt: a plain async function of (plan, models), without Beam.

    Attributes:
        size: (width, height) of what is painted; None where the painter chooses.
    """

    critic: GenerationCritic
    size: tuple[int, int] | None = None

    async def __call__(self, plan: PromptPlan, models: Models) -> Labels:
        """Plan in, one row per (image, dimension) out: a label, or a rejection where a model failed it."""
        if plan.problem:
            rows = [
                refused(plan, "input", plan.problem, plan.detail, number, dimension)
                for number in range(max(1, plan.paintings))
                for dimension in _dimensions(plan)
            ]
            return labels(plan, models, rows)
        images, checklist = await side_by_side(
            self.images(plan, models),  # (a) given, or painted
            self.checklist(plan, models),  # (b) no image
        )
        judged = await side_by_side(*(self.judged(plan, shown, checklist, models) for shown in images))
        return labels(plan, models, [row for rows in judged for row in rows])

    async def images(self, plan: PromptPlan, models: Models) -> list[Shown | list[Row]]:
        """(a) The prompt's images; in place of one that nobody painted, its rows."""
        if plan.image is not None:
            return [Shown(plan.image)]
        return list(await side_by_side(*(self.painted(plan, number, models) for number in range(plan.paintings))))

    async def painted(self, plan: PromptPlan, number: int, models: Models) -> Shown | list[Row]:
        """(a) One image of the mix."""
        rendered = self.critic.catalogue.render("firm/painter", prompt=plan.prompt)
        facts = Facts(asks=rendered.id, prompt=plan.prompt)
        try:
            answer = await models.paint("painter", rendered, size=self.size, draw=number, facts=facts)
        except Failure as failure:
            return [rejected(plan, failure, number, d, instruction=plan.prompt) for d in _dimensions(plan)]
        assert answer.image is not None
        return Shown(answer.image, number, answer.source)

    async def checklist(self, plan: PromptPlan, models: Models) -> Answer[Checklist] | Unplanned:
        """(b) The prompt's checklist, or why there is none: an image's Quality can be judged without."""
        try:
            return await self.critic.plan(plan.prompt, models)
        except Failure as failure:
            return Unplanned(failure)

    async def judged(
        self, plan: PromptPlan, shown: Shown | list[Row], checklist: Answer[Checklist] | Unplanned, models: Models
    ) -> list[Row]:
        """(c) (d) The rows of one image."""
        if not isinstance(shown, Shown):
            return shown
        asked = [self.following(plan, shown, checklist, models)]
        if plan.quality:
            asked.append(self.quality(plan, shown, models))
        return list(await side_by_side(*asked))

    async def following(
        self, plan: PromptPlan, shown: Shown, checklist: Answer[Checklist] | Unplanned, models: Models
    ) -> Row:
        """(c) (e) Instruction Following against the checklist, under the student's prompt."""
        named = (shown.number, Dimension.INSTRUCTION_FOLLOWING)
        if isinstance(checklist, Unplanned):
            return rejected(plan, checklist.failure, *named, instruction=plan.prompt)
        try:
            judge = await self.critic.score(shown.image, plan.prompt, checklist.parsed, models)
        except Failure as failure:
            return rejected(plan, failure, *named, instruction=plan.prompt)
        return GenerationLabel(
            id=plan.row_id(*named),
            dimension=Dimension.INSTRUCTION_FOLLOWING,
            score=float(judge.parsed.rating),
            reasoning=judge.parsed.analysis,
            student_prompt=as_text(self.critic.student_prompt(shown.image, plan.prompt)),
            student_answer=judge.parsed.unplanned,
            provenance={"painter": shown.painter, "planner": checklist.source, "judge": judge.source},
            prompt_id=plan.input_id,
            prompt=plan.prompt,
            image=shown.image,
            painting=shown.number,
            checklist=checklist.parsed,
            marks=judge.parsed.marks,
        )

    async def quality(self, plan: PromptPlan, shown: Shown, models: Models) -> Row:
        """(d) (e) Quality of the image by itself; teacher and student are asked the same."""
        named = (shown.number, Dimension.QUALITY)
        try:
            judge = await self.critic.quality(shown.image, models)
        except Failure as failure:
            return rejected(plan, failure, *named, instruction=plan.prompt)
        found = judge.parsed
        return GenerationLabel(
            id=plan.row_id(*named),
            dimension=Dimension.QUALITY,
            score=found.value,
            reasoning=found.reasoning,
            student_prompt=as_text(self.critic.quality_prompt(shown.image)),
            student_answer=found.text,
            provenance={"painter": shown.painter, "planner": NOBODY, "judge": judge.source},
            prompt_id=plan.input_id,
            prompt=plan.prompt,
            image=shown.image,
            painting=shown.number,
            aspects={"aesthetics": found.aesthetics, "technical": found.technical, "structure": found.structure},
        )


def _dimensions(plan: PromptPlan) -> tuple[Dimension, ...]:
    return (Dimension.INSTRUCTION_FOLLOWING, *((Dimension.QUALITY,) if plan.quality else ()))
