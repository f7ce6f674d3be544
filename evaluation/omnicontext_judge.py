"""OmniContext's judge: outputs found by task type and key, two questions each, records in the official form.

The records are those of VectorSpaceLab/OmniGen2's `score.jsonl`. What its released judge does otherwise: it draws a
random number where an answer does not parse; here the score is null, and the record says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from annotators.interface import Models
from annotators.models import side_by_side
from annotators.omnicontext import FAMILY, ROLES, OmniContextCritic, judged_size
from evaluation.judge_config import JudgeConfig
from evaluation.judged_images import Picture, Workspace
from evaluation.judged_tables import read_benchmark
from evaluation.judging import Verdict, Verdicts, seed_of, verdict
from evaluation.records import Records, Row, once, text_of
from prompts.catalogue import Catalogue
from schemas.errors import ImageError, InputError
from schemas.omnicontext import ContextJudgement
from storage import paths

__all__ = ["ROLES", "ContextJudge", "ContextSample", "context_records", "context_samples", "output_of"]

_COLUMNS = ("key", "task_type", "category", "instruction", "instruction_language")
_ENDINGS = ("png", "jpg", "jpeg", "webp")
PF, SC = "PF", "SC"


@dataclass(frozen=True)
class ContextSample:
    """A record of OmniContext with the output that is judged.

    Attributes:
        references: in the benchmark's order.
        key: as the record has it.
    """

    id: str
    seed: int
    key: Any
    task_type: str
    instruction: str
    language: str
    references: tuple[Picture, ...]
    output: Picture


def context_samples(
    bench: str,
    outputs: str,
    image_root: str | None,
    workspace: Workspace,
    language: str = "en",
    seed: int = 0,
    group_of: Callable[[Records, int], str] | None = None,
) -> list[ContextSample]:
    """What is to be judged: the benchmark's records in `language` (`all` for every one) and their outputs.

    Args:
        bench: JSON lines, Parquet, or a folder: key, task_type, instruction, instruction_language, input_images.
        outputs: a folder with TASK_TYPE/KEY.png below it, or below its folder `fullset`.
        image_root: what paths among the input images are relative to; default: the folder of their file.
        group_of: raises InputError for a task type that the benchmark's table has no place for.

    Raises:
        InputError: bad records, a key twice in a task type, nothing in this language.
    """

    def spoken(row: Row) -> bool:
        return language in ("all", row.get("instruction_language") or "en")

    records = read_benchmark(bench, "input_images", image_root, workspace, spoken, _COLUMNS)
    if not records.rows:
        raise InputError(f"{bench}: no record has instruction_language {language}; try --language all")
    seen: dict[Any, int] = {}
    found = []
    for i, row in enumerate(records.rows):
        task_type, key = text_of(records, i, "task_type", "category"), text_of(records, i, "key")
        if group_of is not None:
            group_of(records, i)
        said = str(row.get("instruction_language") or "en")
        once(seen, (task_type, said, key), records, i, "key")
        name = f"{task_type}/{key}" + ("" if said == "en" else f" ({said})")
        found.append(
            ContextSample(
                id=name,
                seed=seed_of(seed, name),
                key=row["key"],
                task_type=task_type,
                instruction=text_of(records, i, "instruction"),
                language=said,
                references=tuple(row["input_images"]),
                output=output_of(outputs, f"{task_type}/{key}"),
            )
        )
    return found


def output_of(folder: str, name: str) -> Picture:
    """The image of that name (without an ending) in a folder of outputs; `NAME.png` where there is none."""
    places = [f"{below}{name}.{ending}" for below in ("", "fullset/") for ending in _ENDINGS]
    return Picture(folder, next((place for place in places if paths.exists(paths.join(folder, place))), places[0]))


@dataclass(frozen=True)
class ContextJudge:
    """The recipe: a sample in, PF and SC out."""

    critic: OmniContextCritic
    workspace: Workspace

    @classmethod
    def of(cls, config: JudgeConfig, workspace: Workspace) -> ContextJudge:
        """With the prompts that the configuration names."""
        return cls(OmniContextCritic(Catalogue(config.prompts, FAMILY)), workspace)

    async def __call__(self, sample: ContextSample, models: Models) -> Verdicts:
        shown = self.workspace.shown
        try:
            references = [await asyncio.to_thread(shown, one, judged_size) for one in sample.references]
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


def context_records(judged: Iterable[tuple[ContextSample, Verdicts]]) -> Iterable[dict[str, Any]]:
    """Records in the official form; the score of a failed verdict is null."""
    for sample, verdicts in judged:
        yield {
            "key": sample.key,
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
