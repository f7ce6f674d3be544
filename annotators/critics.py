"""FIRM's two critics as questions to models: difference-first for edits, plan-then-score for generated images.

Each function is one arrow of the paper's figure (arXiv 2603.12247, figure 3): it renders a prompt, asks a role and
returns the parsed answer. Pipelines, the critic filter, the exam and the reward server all judge through them.

`score` with a report or a checklist is the teacher's way; `score_directly` asks the student's prompt, which drops it
and which reward models are trained on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from annotators.interface import Answer, Facts, Models
from annotators.models import side_by_side
from prompts.catalogue import Catalogue, Rendered
from schemas.checklists import Checklist
from schemas.following import GenerationJudgement
from schemas.judgements import (
    AidedJudgement,
    DifferenceReport,
    Dimension,
    EditJudgement,
    QualityJudgement,
    RewriteAnswer,
    described,
    rewrite_of,
)
from schemas.labels import EditPair, Rewrite
from schemas.messages import ImagePart
from schemas.references import ImageRef

ROLES = {"edit": ("describer", "judge"), "generation": ("planner", "judge")}
"""The roles that judging asks, by what is judged."""


@dataclass(frozen=True)
class Described:
    """A difference report, and the two answers that it was merged from."""

    report: DifferenceReport
    obvious: Answer[str]
    detailed: Answer[str]


@dataclass(frozen=True)
class EditCritic:
    """Judges an edit: describes the differences first, then scores what was asked for against them."""

    catalogue: Catalogue

    async def describe(self, pair: EditPair, models: Models, draw: int = 0) -> Described:
        """Images in, report out; the instruction is not shown. Two questions, side by side, merged by concatenation."""
        obvious, detailed = await side_by_side(
            self._description("firm/obvious", pair, models, draw),
            self._description("firm/detailed", pair, models, draw),
        )
        return Described(DifferenceReport(obvious=obvious.parsed, detailed=detailed.parsed), obvious, detailed)

    async def rewrite(
        self, pair: EditPair, report: DifferenceReport, kind: Rewrite, models: Models
    ) -> Answer[RewriteAnswer]:
        """Report and instruction in, an instruction out that the edit does not fulfil, in the way of `kind`."""
        prompt = self.catalogue.render("firm/rewriter", report=report, instruction=pair.instruction, kind=str(kind))
        facts = Facts(asks=prompt.id, pair=pair, report=report, rewrite=kind, instruction=pair.instruction)
        return await models.ask("rewriter", prompt, answer=rewrite_of(pair.instruction), facts=facts)

    async def score(
        self,
        dimension: Dimension,
        pair: EditPair,
        instruction: str,
        report: DifferenceReport,
        models: Models,
        draw: int = 0,
    ) -> Answer[EditJudgement]:
        """Images, report and instruction in, Execution or Consistency out; the reasoning must stand without the report.

        Where the instruction was written for further images, they are shown under the numbers that it knows them by.
        """
        further = [(f"Image {n} of the instruction:", image) for n, image in enumerate(pair.references, 2)]
        prompt = self.catalogue.render(
            f"firm/{dimension}",
            images=[*_labelled(*pair.images), *further],
            further=len(further),
            report=report,
            instruction=instruction,
        )
        facts = Facts(asks=prompt.id, pair=pair, instruction=instruction, report=report)
        return await models.ask("judge", prompt, answer=AidedJudgement, draw=draw, facts=facts)

    async def score_directly(
        self, dimension: Dimension, pair: EditPair, instruction: str, models: Models, draw: int = 0
    ) -> Answer[EditJudgement]:
        """Images and instruction in, a score out: the student's way, without a report."""
        prompt = self.student_prompt(dimension, pair, instruction)
        facts = Facts(asks=prompt.id, pair=pair, instruction=instruction)
        return await models.ask("judge", prompt, answer=EditJudgement, draw=draw, facts=facts)

    def student_prompt(self, dimension: Dimension, pair: EditPair, instruction: str) -> Rendered:
        """The prompt that drops the report."""
        images = _unlabelled(*pair.images)
        return self.catalogue.render(f"firm/student_{dimension}", images=images, instruction=instruction)

    async def _description(self, id: str, pair: EditPair, models: Models, draw: int) -> Answer[str]:
        prompt = self.catalogue.render(id, images=_labelled(*pair.images))
        facts = Facts(asks=id, pair=pair.model_copy(update={"instruction": ""}))
        return await models.ask("describer", prompt, answer=described, draw=draw, facts=facts)


@dataclass(frozen=True)
class GenerationCritic:
    """Judges a generated image: plans what to check from the prompt alone, then scores the image against the plan."""

    catalogue: Catalogue

    async def plan(self, prompt: str, models: Models, draw: int = 0) -> Answer[Checklist]:
        """Prompt in, checklist out; no image is shown."""
        rendered = self.catalogue.render("firm/planner", prompt=prompt)
        facts = Facts(asks=rendered.id, prompt=prompt)
        return await models.ask("planner", rendered, answer=Checklist.parse, draw=draw, facts=facts)

    async def score(
        self, image: ImageRef, prompt: str, checklist: Checklist, models: Models, draw: int = 0
    ) -> Answer[GenerationJudgement]:
        """Image, prompt and checklist in, Instruction Following out, criterion by criterion."""
        rendered = self.catalogue.render("firm/following", images=_labelled(image), prompt=prompt, checklist=checklist)
        facts = Facts(asks=rendered.id, prompt=prompt, image=image, checklist=checklist)
        return await models.ask(
            "judge", rendered, answer=lambda text: GenerationJudgement.parse(text, checklist), draw=draw, facts=facts
        )

    async def score_directly(
        self, image: ImageRef, prompt: str, models: Models, draw: int = 0
    ) -> Answer[GenerationJudgement]:
        """Image and prompt in, Instruction Following out: the student's way, without a plan."""
        rendered = self.student_prompt(image, prompt)
        facts = Facts(asks=rendered.id, prompt=prompt, image=image)
        return await models.ask("judge", rendered, answer=GenerationJudgement.parse, draw=draw, facts=facts)

    async def quality(self, image: ImageRef, models: Models) -> Answer[QualityJudgement]:
        """Image in, Quality out; the prompt is not shown."""
        rendered = self.quality_prompt(image)
        return await models.ask("judge", rendered, answer=QualityJudgement, facts=Facts(asks=rendered.id, image=image))

    def student_prompt(self, image: ImageRef, prompt: str) -> Rendered:
        """The prompt that drops the plan."""
        return self.catalogue.render("firm/student_following", images=_unlabelled(image), prompt=prompt)

    def quality_prompt(self, image: ImageRef) -> Rendered:
        """Quality's prompt; teacher and student see the same."""
        return self.catalogue.render("firm/quality", images=_unlabelled(image))


_PLACEHOLDER = re.compile(r"<image_(\d+)>")


def as_text(prompt: Rendered) -> str:
    """A prompt of one message as a training row's text, `<image_1>`, ... where its images stand.

    A placeholder that the user's own text holds loses its brackets, so that there are as many as images.
    """
    number, found = 0, []
    for part in (part for message in prompt.messages for part in message.parts):
        if isinstance(part, ImagePart):
            number += 1
            found.append(f"<image_{number}>")
        else:
            found.append(_PLACEHOLDER.sub(r"(image \1)", part.text))
    return "\n".join(found)


def _labelled(*images: ImageRef) -> list[tuple[str, ImageRef]]:
    names = ("First image:", "Second image:") if len(images) == 2 else ("The image:",)
    return list(zip(names, images, strict=True))


def _unlabelled(*images: ImageRef) -> list[tuple[str, ImageRef]]:
    """For a student, who is asked exactly what it was trained on: rows hold images and one text (`as_text`)."""
    return [("", image) for image in images]
