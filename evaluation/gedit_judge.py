"""GEdit-Bench's judge: SC and PQ of each edit by VIEScore's protocol, in records that `evaluate gedit` reads.

The released scripts write CSVs of the least sub-scores, one file per group; here both sub-scores stay in JSON lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from annotators.interface import Models
from annotators.models import side_by_side
from annotators.viescore import FAMILY, EditScoreCritic, judged_size
from evaluation.edits import GROUPS
from evaluation.judge_config import JudgeConfig
from evaluation.judged_images import Workspace
from evaluation.judged_outputs import OutputBenchmark, OutputSample
from evaluation.judging import Verdict, Verdicts, verdict
from evaluation.records import Records, text_of
from prompts.catalogue import Catalogue
from schemas.errors import ImageError, InputError
from schemas.viescore import EditQuality, EditSemantics
from storage import paths

SC, PQ = "SC", "PQ"
_INTERSECTION = ("Intersection_exist", "intersection_exist")


@dataclass(frozen=True)
class EditScoreJudge:
    """The recipe: a sample in, SC and PQ out."""

    critic: EditScoreCritic
    workspace: Workspace

    @classmethod
    def of(cls, config: JudgeConfig, workspace: Workspace) -> EditScoreJudge:
        """With the prompts that the configuration names."""
        return cls(EditScoreCritic(Catalogue(config.prompts, FAMILY)), workspace)

    async def __call__(self, sample: OutputSample, models: Models) -> Verdicts:
        shown = self.workspace.shown
        try:
            source = await asyncio.to_thread(shown, sample.inputs[0], judged_size)
            edited = await asyncio.to_thread(shown, sample.output, judged_size)
        except ImageError as error:
            return dict.fromkeys((SC, PQ), Verdict(failure=error.reason, reasoning=error.detail))
        semantics, quality = await side_by_side(
            verdict(self.critic.semantics(source, edited, sample.instruction, models), _read),
            verdict(self.critic.quality(edited, models), _read),
        )
        return {SC: semantics, PQ: quality}


def edit_records(judged: Iterable[tuple[OutputSample, Verdicts]]) -> Iterable[dict[str, Any]]:
    """Records for `evaluate gedit`: SC and PQ as lists of two; null where the verdict failed."""
    for sample, verdicts in judged:
        yield {
            "key": sample.row["key"],
            "task_type": sample.task_type,
            "instruction": sample.instruction,
            "instruction_language": sample.language,
            "intersection_exist": next((sample.row[name] for name in _INTERSECTION if name in sample.row), False),
            "edited_image": paths.join(*sample.output),
            "SC": verdicts[SC].score,
            "SC_reason": verdicts[SC].reason,
            "PQ": verdicts[PQ].score,
            "PQ_reason": verdicts[PQ].reason,
        }


def _read(answer: EditSemantics | EditQuality) -> tuple[list[int], str]:
    return answer.scores, answer.reasoning


def _check(records: Records, i: int) -> None:
    group = text_of(records, i, "task_type")
    if group not in GROUPS:
        raise InputError(f"{records.at(i)}: task_type is {group!r}; GEdit-Bench's groups are {', '.join(GROUPS)}")
    if len(records.rows[i]["input_image"]) != 1:
        raise InputError(
            f"{records.at(i)}: input_image holds {len(records.rows[i]['input_image'])} images; one is wanted"
        )


GEDIT = OutputBenchmark(
    title="GEdit-Bench",
    images="input_image",
    columns=_INTERSECTION,
    place="{task_type}/{language}/{key}",
    check=_check,
    recipe=EditScoreJudge.of,
    records=edit_records,
)
