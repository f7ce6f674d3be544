"""OmniContext's judge: two questions per output, records in the official form; DreamOmni2Bench is judged alike.

The records are those of VectorSpaceLab/OmniGen2's `score.jsonl`. The released judge draws a random number where an
answer does not parse; here the score is null, and the record says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from annotators.interface import Models
from annotators.models import side_by_side
from annotators.omnicontext import FAMILY, OmniContextCritic, judged_size
from evaluation.judge_config import JudgeConfig
from evaluation.judged_images import Workspace
from evaluation.judged_outputs import OutputBenchmark, OutputSample
from evaluation.judging import Verdict, Verdicts, verdict
from evaluation.omnicontext import group_of
from evaluation.records import text_of
from prompts.catalogue import Catalogue
from schemas.errors import ImageError
from schemas.omnicontext import ContextJudgement
from storage import paths

PF, SC = "PF", "SC"


@dataclass(frozen=True)
class ContextJudge:
    """The recipe: a sample in, PF and SC out."""

    critic: OmniContextCritic
    workspace: Workspace

    @classmethod
    def of(cls, config: JudgeConfig, workspace: Workspace) -> ContextJudge:
        """With the prompts that the configuration names."""
        return cls(OmniContextCritic(Catalogue(config.prompts, FAMILY)), workspace)

    async def __call__(self, sample: OutputSample, models: Models) -> Verdicts:
        shown = self.workspace.shown
        try:
            references = [await asyncio.to_thread(shown, one, judged_size) for one in sample.inputs]
            output = await asyncio.to_thread(shown, sample.output)
        except ImageError as error:
            return dict.fromkeys((PF, SC), Verdict(failure=error.reason, reasoning=error.detail))
        critic, scene = self.critic, "scene" in sample.task_type
        following, consistency = await side_by_side(
            verdict(critic.prompt_following(references, output, sample.instruction, models), _read),
            verdict(
                critic.subject_consistency(references, output, sample.instruction, models, with_scene=scene), _read
            ),
        )
        return {PF: following, SC: consistency}


def context_records(judged: Iterable[tuple[OutputSample, Verdicts]]) -> Iterable[dict[str, Any]]:
    """Records in the official form; the score of a failed verdict is null."""
    for sample, verdicts in judged:
        yield {
            "key": sample.row["key"],
            "task_type": sample.task_type,
            "instruction": sample.instruction,
            "instruction_language": sample.language,
            "output_image_path": paths.join(*sample.output),
            "PF_score": verdicts[PF].score,
            "PF_score_reason": verdicts[PF].reason,
            "SC_score": verdicts[SC].score,
            "SC_score_reason": verdicts[SC].reason,
        }


def _read(answer: ContextJudgement) -> tuple[int, str]:
    return answer.score, answer.reasoning


OMNICONTEXT = OutputBenchmark(
    title="OmniContext",
    images="input_images",
    columns=(),
    place="{task_type}/{key}",
    check=lambda records, i: text_of(records, i, "task_type"),
    recipe=ContextJudge.of,
    records=context_records,
)
DREAMOMNI2 = OutputBenchmark(
    title="DreamOmni2Bench",
    images="input_images",
    columns=("category",),
    place="{task_type}/{key}",
    check=group_of,
    recipe=ContextJudge.of,
    records=context_records,
)
