"""A teacher sits the exam: every case judged directly and with FIRM's aid, again, and with its images exchanged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from annotators import registry
from annotators.config import ModelConfig
from annotators.critics import EditCritic, GenerationCritic
from annotators.engine import INTERRUPTED, Engine, EngineSpec, Finished
from annotators.errors import Failure, Stop
from annotators.interface import Answer, Models, Provider
from annotators.models import side_by_side
from annotators.registry import World
from evaluation.exam.cases import Case
from evaluation.exam.pictures import Drawn, DrawnEdit
from prompts.catalogue import Catalogue
from schemas.base import Word
from schemas.errors import error_of
from schemas.following import GenerationJudgement
from schemas.judgements import DifferenceReport, Dimension, EditJudgement
from schemas.labels import EditPair
from schemas.usage import Usage

Make = Callable[[ModelConfig, str, World], Provider]
EDIT_DIMENSIONS = (Dimension.EXECUTION, Dimension.CONSISTENCY)


class Way(Word):
    """How a case is judged: with the student's prompt alone, or with the report or plan that FIRM's teacher makes."""

    DIRECT = "direct"
    AIDED = "aided"


@dataclass(frozen=True)
class Question:
    """One case, judged once in one way.

    Attributes:
        draw: 0, or 1 for the retest: then description, plan and score are all drawn anew.
        exchanged: the pair with its images exchanged and the inverse instruction.
    """

    drawn: Drawn
    way: Way
    draw: int = 0
    exchanged: bool = False

    @property
    def case(self) -> Case:
        return self.drawn.case

    @property
    def id(self) -> str:
        """For log lines."""
        return f"{self.case.id}/{self.way}/{self.draw}{'/exchanged' if self.exchanged else ''}"


@dataclass(frozen=True)
class Mark:
    """What a teacher said of one dimension: a score with its reasoning, or the problem that there is none."""

    score: int | None
    reasoning: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Sat:
    """The answer to one question.

    Attributes:
        aid: the difference report, or the checklist; empty where there is none.
        usage: by model, what it cost.
    """

    question: Question
    marks: dict[Dimension, Mark]
    aid: str = ""
    usage: dict[str, Usage] = field(default_factory=dict)


def questions(cases: Sequence[Drawn], retest: bool, exchange: bool) -> Iterator[Question]:
    """All questions of an exam, case by case."""
    for case in cases:
        for way in Way:
            for draw in (0, 1) if retest else (0,):
                yield Question(case, way, draw)
            if exchange and isinstance(case, DrawnEdit) and case.exchanged is not None:
                yield Question(case, way, exchanged=True)


class Sitting:
    """One teacher's exam; opens its models at once, and closes them with the block.

    Args:
        make: builds the provider of a model; a test gives its own.

    Raises:
        InputError: a model that cannot be set up, or a ledger that cannot be written.
    """

    def __init__(
        self, spec: EngineSpec, asked: Sequence[Question], catalogue: Catalogue, make: Make = registry.make
    ) -> None:
        self.asked = asked
        self._edits, self._generations = EditCritic(catalogue), GenerationCritic(catalogue)
        self.engine = Engine(spec, make=make)

    def run(self) -> list[Sat]:
        """The answers, in the order of the questions.

        Raises:
            PlumblineError: the exam was stopped before its end; what was paid lies in the ledger.
        """
        self.engine.ask_batches(self.answered, lambda: self.asked)
        found: dict[str, Sat] = {}

        def take(finished: Finished[Question, Sat]) -> None:
            if finished.result is not None:
                sat = finished.result
                found[sat.question.id] = Sat(sat.question, sat.marks, sat.aid, finished.usage)

        with self.engine.window(self.answered) as window:
            for question in self.asked:
                for finished in window.put(question):
                    take(finished)
            for finished in window.drain():
                take(finished)
        if (stop := self.engine.stopped) is not None:
            raise error_of(stop.exit_code, stop.line)
        return [found[question.id] for question in self.asked]

    async def answered(self, question: Question, models: Models) -> Sat:
        """The recipe: one question put to the models."""
        if isinstance(question.drawn, DrawnEdit):
            return await self._edit(question, question.drawn, models)
        return await self._prompt(question, models)

    def interrupt(self) -> None:
        """End in order, as Ctrl-C does."""
        self.engine.stop(Stop(INTERRUPTED, "interrupted; run the same command to go on"))

    def __enter__(self) -> Sitting:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    async def _edit(self, question: Question, drawn: DrawnEdit, models: Models) -> Sat:
        pair = drawn.exchanged if question.exchanged else drawn.pair
        assert pair is not None
        report: DifferenceReport | None = None
        if question.way is Way.AIDED:
            try:
                report = (await self._edits.describe(pair, models, question.draw)).report
            except Failure as failure:
                return Sat(question, dict.fromkeys(EDIT_DIMENSIONS, Mark(None, problem=str(failure))))
        execution, consistency = await side_by_side(
            *(_of_edit(self._scored(each, pair, report, question.draw, models)) for each in EDIT_DIMENSIONS)
        )
        marks = {Dimension.EXECUTION: execution, Dimension.CONSISTENCY: consistency}
        return Sat(question, marks, str(report) if report else "")

    async def _scored(
        self, dimension: Dimension, pair: EditPair, report: DifferenceReport | None, draw: int, models: Models
    ) -> Answer[EditJudgement]:
        if report is None:
            return await self._edits.score_directly(dimension, pair, pair.instruction, models, draw)
        return await self._edits.score(dimension, pair, pair.instruction, report, models, draw)

    async def _prompt(self, question: Question, models: Models) -> Sat:
        drawn, draw, plan = question.drawn, question.draw, ""
        assert not isinstance(drawn, DrawnEdit)
        try:
            judged: Answer[GenerationJudgement]
            if question.way is Way.AIDED:
                checklist = (await self._generations.plan(drawn.case.prompt, models, draw)).parsed
                plan = str(checklist)
                judged = await self._generations.score(drawn.image, drawn.case.prompt, checklist, models, draw)
            else:
                judged = await self._generations.score_directly(drawn.image, drawn.case.prompt, models, draw)
            mark = Mark(judged.parsed.rating, judged.text)
        except Failure as failure:
            mark = Mark(None, problem=str(failure))
        return Sat(question, {Dimension.INSTRUCTION_FOLLOWING: mark}, plan)


async def _of_edit(asked: Awaitable[Answer[EditJudgement]]) -> Mark:
    """A mark; an answer that cannot be read is a failed one, never a score."""
    try:
        judged = (await asked).parsed
    except Failure as failure:
        return Mark(None, problem=str(failure))
    return Mark(int(judged.value), judged.reasoning)
