"""Teachers for exams: providers that answer from the truth, or always the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from annotators.config import ModelConfig
from annotators.interface import Capabilities, RawAnswer, Request
from annotators.registry import World
from evaluation.exam.cases import EditCase, PromptCase, cases_of
from evaluation.exam.config import ExamConfig
from schemas.judgements import Dimension

SILENT = "Nothing differs between the two images."
PLAN = "1. [Main Subject]:\n- Is all of it there?\n2. [Colours]:\n- Are they right?\n"

Grade = Callable[[str, Dimension, int, int], int | None]
"""(case id, dimension, truth, draw) -> the score to give; None for an answer that cannot be read."""


class Teacher:
    """A provider that plays all three roles; it knows the exam's truth by the pair's id or the prompt."""

    name, version, secrets = "fake", "1", ()
    capabilities = Capabilities(reads_facts=True, remote=False, stores_text=False)

    def __init__(self, config: ExamConfig, grade: Grade, report: str = SILENT) -> None:
        cases = cases_of(config.seed, config.cases)
        self._edits = {case.id: case for case in cases if isinstance(case, EditCase)}
        self._prompts = {case.prompt: case for case in cases if isinstance(case, PromptCase)}
        self._grade, self._report = grade, report
        self.asked: list[str] = []

    def make(self, config: ModelConfig, where: str, world: World) -> Teacher:
        """As `registry.make`."""
        return self

    async def answer(self, request: Request) -> RawAnswer:
        facts = request.facts
        self.asked.append(facts.asks)
        if facts.asks in ("firm/obvious", "firm/detailed"):
            return RawAnswer(text=self._report)
        if facts.asks == "firm/planner":
            return RawAnswer(text=PLAN)
        if facts.pair is not None:
            dimension = Dimension(facts.asks.removeprefix("firm/").removeprefix("student_"))
            case = self._edits[facts.pair.id.removesuffix("-exchanged")]
            score = self._grade(facts.pair.id, dimension, case.truth[dimension], facts.draw)
            answer: dict[str, Any] = {"reasoning": "Looked.", "score": [score]}
            return RawAnswer(text="I would rather not say." if score is None else json.dumps(answer))
        dimension, prompt = Dimension.INSTRUCTION_FOLLOWING, self._prompts[facts.prompt]
        score = self._grade(prompt.id, dimension, prompt.truth[dimension], facts.draw)
        return RawAnswer(text="I would rather not say." if score is None else rated(score))

    def batches(self) -> Any:
        raise AssertionError("it has no batches")

    async def close(self) -> None: ...


def rated(score: int) -> str:
    """An answer of this Instruction Following, with verdicts that do not contradict it."""
    first, second = {5: ("met", "met"), 4: ("met", "partly met"), 3: ("met", "not met")}.get(score, ("not met",) * 2)
    return (
        f"1. Subject: seen. Verdict: {first}\n2. Colours: seen. Verdict: {second}\n\n"
        f"Final Analysis: weighed.\n\nFinal Alignment Rating: {score}\n\\boxed{{{score}}}"
    )
