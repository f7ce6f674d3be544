"""Re-Align (arXiv 2601.05124): in-context generation and editing samples with structured reasoning.

The figure "data pipeline", arrow by arrow: references are drawn by task (a), a writer gives the instruction (b), then,
side by side and blind to each other, a reasoner gives N IC-CoTs without the target (c) and a painter gives the target
without the reasoning (d); filters compare the two (e), and where K targets were painted, keep the best.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from annotators.errors import Failure
from annotators.interface import Answer, Facts, Models
from annotators.models import side_by_side
from filters.config import FiltersConfig
from schemas.answers import WriterAnswer, writer_answer
from schemas.draft import Draft, ErrorClass, Painting, Reasoning
from schemas.iccot import ICCoT
from schemas.plan import Plan
from schemas.tasks import Role, Task

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from pipelines.spec import RunSpec, ShardRange
    from pipelines.transforms import Step
    from prompts.catalogue import Catalogue

T = TypeVar("T")
ROLES = ("writer", "reasoner", "painter")
NO_FILTERS = FiltersConfig()


def graph(p: beam.Pipeline, spec: RunSpec, shards: list[ShardRange]) -> PCollection[str]:
    """The figure as a Beam graph; gives the name of each committed shard."""
    import apache_beam as beam

    from pipelines.transforms import Annotate, Judge, Plans, Score, WriteShards

    plans = p | "Plan" >> Plans(spec, shards)  # (a) deterministic: (seed, split, ordinal) -> task, references
    drafts = plans | "Spread plans" >> beam.Reshuffle() | "Annotate" >> Annotate(spec)  # (b) (c) (d) network-bound
    scored = drafts | "Spread drafts" >> beam.Reshuffle() | "Score" >> Score(spec)  # (e) decode and CLIP, device-bound
    if _judged(spec):  # (e) MLLM-based filtering: only where configured, only survivors
        scored = scored | "Spread scored" >> beam.Reshuffle() | "Judge" >> Judge(spec)
    return scored | "Write shards" >> WriteShards(spec, shards)  # kept and rejected, one commit per shard


def steps(spec: RunSpec) -> list[Step]:
    """The same arrows from plan to outcome, for a shard that one worker makes (`pipelines.whole_shards`)."""
    from pipelines.transforms import Annotate, Judge, Score

    return [Annotate(spec), Score(spec), *([Judge(spec)] if _judged(spec) else [])]  # (b) (c) (d), then (e)


def _judged(spec: RunSpec) -> bool:
    """Whether a filter asks models."""
    return bool(getattr(spec.config, "filters", NO_FILTERS).judges)


@dataclass(frozen=True)
class Recipe:
    """Stages b, c and d for one plan: a plain async function of (plan, models), without Beam.

    Attributes:
        catalogue: the prompts.
        tasks: by name; a plan's task gives the prompts their definition.
        reasonings: N, the number of IC-CoTs drawn.
        paintings: K, the number of targets painted; the filters choose among them.
    """

    catalogue: Catalogue
    tasks: Mapping[str, Task]
    reasonings: int = 1
    paintings: int = 1

    async def __call__(self, plan: Plan, models: Models) -> Draft:
        """Plan in, draft out.

        Raises:
            Failure: a plan that no draft can be made of: the writer calls it infeasible, or a model gave no answer.
        """
        models.check("painter", images=len(plan.references), size=size_of_base(plan))  # before anything is paid for
        wrote = await self.write_instruction(plan, models)  # (b) adaptive instruction generation
        instruction = wrote.parsed.instruction.strip()
        try:
            painted, thoughts = await side_by_side(
                self.paint_targets(plan, instruction, models),  # (d) target image generation: no reasoning
                self.reason(plan, instruction, models),  # (c) reasoning text generation: no target
            )
        except Failure as failure:
            failure.instruction = instruction
            raise
        return Draft(
            plan=plan,
            instruction=instruction,
            prompt=interleaved(plan, instruction),
            reasonings=distinct([thought.parsed for thought in thoughts]),
            target=painted[0].image,
            provenance={"writer": wrote.source, "reasoner": thoughts[0].source, "painter": painted[0].source},
            usage=models.usage,
            paintings=tuple(painted) if self.paintings > 1 else (),
        )

    async def write_instruction(self, plan: Plan, models: Models) -> Answer[WriterAnswer]:
        """(b) References and task in, instruction out; an infeasible combination ends here, before an image is paid."""
        prompt = self.catalogue.render("realign/writer", plan=plan, task=self.tasks[plan.task])
        schema = writer_answer(len(plan.references))
        wrote = await models.ask("writer", prompt, answer=schema, facts=Facts(plan=plan))
        if not wrote.parsed.feasible:
            raise Failure(
                "writer",
                "infeasible",
                ErrorClass.PLANNED,
                wrote.parsed.reason,
                attempts=wrote.attempts,
                last_answer=wrote.text,
                request_key=wrote.key,
            )
        return wrote

    async def reason(self, plan: Plan, instruction: str, models: Models) -> Sequence[Answer[ICCoT]]:
        """(c) References and instruction in, up to N IC-CoTs out, each with a focus of its own."""

        async def think(draw: int) -> Answer[ICCoT]:
            prompt = self.catalogue.render(
                "realign/reasoner", plan=plan, task=self.tasks[plan.task], instruction=instruction, draw=draw
            )
            references = len(plan.references)
            facts = Facts(plan=plan, instruction=instruction, focus=prompt.focus)
            return await models.ask(
                "reasoner", prompt, answer=lambda text: ICCoT.parse(text, references), draw=draw, facts=facts
            )

        return await up_to(self.reasonings, think)

    async def paint_targets(self, plan: Plan, instruction: str, models: Models) -> Sequence[Painting]:
        """(d) References and instruction in, up to K targets out; an edit is asked for in the size of its base."""
        prompt = self.catalogue.render(
            "realign/painter", plan=plan, task=self.tasks[plan.task], instruction=instruction
        )
        facts = Facts(plan=plan, instruction=instruction)

        async def paint(draw: int) -> Painting:
            painted = await models.paint("painter", prompt, size=size_of_base(plan), draw=draw, facts=facts)
            assert painted.image is not None
            return Painting(draw=draw, image=painted.image, source=painted.source)

        return await up_to(self.paintings, paint)


async def up_to(draws: int, ask: Callable[[int], Awaitable[T]]) -> list[T]:
    """The answers to as many draws, asked side by side, in their order.

    A draw whose answer no repair could mend costs only itself (the sample then has fewer than were asked for). One
    that was never answered costs the plan, which another attempt can bring back.

    Raises:
        Failure: that of the first draw where none was answered; or of one that was worth another attempt.
    """
    failures: dict[int, Failure] = {}

    async def one(draw: int) -> list[T]:
        try:
            return [await ask(draw)]
        except Failure as failure:
            if failure.error_class is ErrorClass.RETRYABLE:
                raise
            failures[draw] = failure
            return []

    answers = [answer for found in await side_by_side(*(one(draw) for draw in range(draws))) for answer in found]
    if not answers:
        raise failures[min(failures)]
    return answers


def interleaved(plan: Plan, instruction: str) -> str:
    """The interleaved prompt: each image's placeholder in order, then the instruction."""
    return " ".join([*(f"<image_{i}>" for i in range(1, len(plan.references) + 1)), instruction])


def distinct(thoughts: Sequence[ICCoT]) -> tuple[Reasoning, ...]:
    """Each different IC-CoT once, in the order drawn, with how many draws gave it."""
    counts: dict[ICCoT, int] = {}
    for thought in thoughts:
        counts[thought] = counts.get(thought, 0) + 1
    return tuple(Reasoning(iccot=thought, draws=n) for thought, n in counts.items())


def size_of_base(plan: Plan) -> tuple[int, int] | None:
    """(width, height) of the image to edit; None for generation, where the painter chooses."""
    bases = plan.of_role(Role.BASE)
    return (bases[0][1].width, bases[0][1].height) if bases else None
