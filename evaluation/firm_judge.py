"""FIRM-Bench's judge: the critic's own prompts put to a model, and its scores in the benchmark's form.

FIRM-Bench infers with the student's prompts (arXiv 2603.12247, section 3.3), which is the way `direct`; with `aided`
the judge sees a difference report or a checklist. Only what people scored is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from annotators.critics import EditCritic, GenerationCritic
from annotators.errors import Failure
from annotators.interface import Models
from annotators.models import side_by_side
from evaluation.firm_bench import human_scores
from evaluation.judge_config import JudgeConfig
from evaluation.judged_images import Picture, Workspace
from evaluation.judging import Verdict, Verdicts, failed, seed_of, verdict
from evaluation.records import Records, read_records, required, text_of
from prompts.catalogue import Catalogue
from schemas.errors import ImageError, InputError
from schemas.following import GenerationJudgement
from schemas.judgements import Dimension, EditJudgement
from schemas.labels import EditPair

INSTRUCTIONS = ("instruction", "prompt", "edit_instruction", "edit_prompt", "input_prompt")
IMAGES = ("image", "images")


@dataclass(frozen=True)
class FirmSample:
    """A record of FIRM-Bench that people have scored.

    Attributes:
        images: [original, edited], or the generated one.
        named: the record's id and images as it has them, for the predictions.
    """

    id: str
    seed: int
    images: tuple[Picture, ...]
    instruction: str
    dimensions: tuple[Dimension, ...]
    named: Mapping[str, Any]


def firm_samples(gt: str, bench: str | None, image_root: str | None, seed: int = 0) -> list[FirmSample]:
    """What is to be judged: the records whose ids people have scored, on the dimensions that they scored.

    Args:
        gt: people's scores.
        bench: the benchmark's records (`bench_v1.jsonl`); default: `gt`, where its records hold the instruction too.
        image_root: what the images' paths are relative to; default: the folder of the records.

    Raises:
        InputError: bad records, a record without instruction or with another number of images than its dimensions
            need, no id in common.
    """
    wanted: dict[str, list[Dimension]] = {}
    for dimension, name in human_scores(gt):
        wanted.setdefault(name, []).append(Dimension(dimension))
    records = read_records(bench or gt)
    folder = image_root or records.path.rpartition("/")[0] or "."
    found: dict[str, FirmSample] = {}
    for i in range(len(records.rows)):
        name = text_of(records, i, "id")
        if name in wanted:
            sample = _sample(records, i, name, tuple(wanted[name]), folder, seed, bench is None)
            if found.setdefault(name, sample) != sample:
                raise InputError(f"{records.at(i)}: id {name!r} came before with another image or instruction")
    if not found:
        raise InputError(
            f"{records.path}: has no id in common with {gt}; first ids: {_first(records)}, {next(iter(wanted))!r}"
        )
    return list(found.values())


def roles_of(samples: Iterable[FirmSample], way: str) -> tuple[str, ...]:
    """The roles that judging these asks."""
    edits = {len(sample.images) == 2 for sample in samples}
    aids = ("describer",) * (True in edits) + ("planner",) * (False in edits)
    return (*(aids if way == "aided" else ()), "judge")


@dataclass(frozen=True)
class FirmJudge:
    """The recipe: a sample's images and instruction in, its verdicts out."""

    catalogue: Catalogue
    workspace: Workspace
    aided: bool

    @classmethod
    def of(cls, config: JudgeConfig, workspace: Workspace) -> FirmJudge:
        """With the prompts that the configuration names."""
        return cls(Catalogue(config.prompts, "firm"), workspace, config.way == "aided")

    async def __call__(self, sample: FirmSample, models: Models) -> Verdicts:
        try:
            if len(sample.images) == 2:
                return await self._edit(sample, models)
            return await self._image(sample, models)
        except ImageError as error:
            lost = Verdict(failure=error.reason, reasoning=error.detail)
        except Failure as failure:  # of the report or the plan, without which nothing is scored
            lost = failed(failure)
        return dict.fromkeys(sample.dimensions, lost)

    async def _edit(self, sample: FirmSample, models: Models) -> Verdicts:
        source, edited = [await asyncio.to_thread(self.workspace.shown, picture) for picture in sample.images]
        pair = EditPair(id=sample.id, source=source, edited=edited, instruction=sample.instruction)
        critic = EditCritic(self.catalogue)
        if self.aided:
            report = (await critic.describe(pair, models)).report
            asked = [critic.score(d, pair, pair.instruction, report, models) for d in sample.dimensions]
        else:
            asked = [critic.score_directly(d, pair, pair.instruction, models) for d in sample.dimensions]
        found = await side_by_side(*(verdict(one, _of_edit) for one in asked))
        return dict(zip(sample.dimensions, found, strict=True))

    async def _image(self, sample: FirmSample, models: Models) -> Verdicts:
        image = await asyncio.to_thread(self.workspace.shown, sample.images[0])
        critic = GenerationCritic(self.catalogue)
        if self.aided:
            plan = (await critic.plan(sample.instruction, models)).parsed
            asked = critic.score(image, sample.instruction, plan, models)
        else:
            asked = critic.score_directly(image, sample.instruction, models)
        return {Dimension.INSTRUCTION_FOLLOWING: await verdict(asked, _of_image)}


def firm_records(judged: Iterable[tuple[FirmSample, Verdicts]]) -> Iterable[dict[str, Any]]:
    """Predictions in FIRM-Bench's form: `{"id", "image", "execution": {"score": [4], "reasoning": ...}, ...}`.

    The score of a failed verdict is null, and its reasoning says why.
    """
    for sample, verdicts in judged:
        scores = {
            str(dimension): {"score": None if one.failure else [one.score], "reasoning": one.reason}
            for dimension, one in verdicts.items()
        }
        yield {**sample.named, **scores}


def _sample(
    records: Records, i: int, name: str, dimensions: tuple[Dimension, ...], folder: str, seed: int, scores_only: bool
) -> FirmSample:
    row = records.rows[i]
    if scores_only and not any(row.get(key) for key in INSTRUCTIONS):
        raise InputError(
            f"{records.at(i)} has no instruction to judge by; name the benchmark's own records with --bench"
        )
    instruction = text_of(records, i, *INSTRUCTIONS)
    key = next((key for key in IMAGES if row.get(key) is not None), IMAGES[0])
    value = required(records, i, *IMAGES)
    images = [value] if isinstance(value, str) else value
    if not isinstance(images, list) or not all(isinstance(one, str) and one for one in images):
        raise InputError(f"{records.at(i)}: {key} must be a path, or a list of paths")
    needed = 1 if dimensions == (Dimension.INSTRUCTION_FOLLOWING,) else 2
    if len(images) != needed or (needed == 2 and Dimension.INSTRUCTION_FOLLOWING in dimensions):
        what = "one path, of the generated image, is" if needed == 1 else "two paths are"
        raise InputError(f"{records.at(i)}: {key} holds {len(images)}; for {' and '.join(dimensions)} {what} needed")
    pictures = tuple(Picture(folder, one) for one in images)
    named = {"id": row["id"], "image": images}
    return FirmSample(name, seed_of(seed, name), pictures, instruction, dimensions, named)


def _of_edit(answer: EditJudgement) -> tuple[int, str]:
    return int(answer.value), answer.reasoning


def _of_image(answer: GenerationJudgement) -> tuple[int, str]:
    return answer.rating, answer.analysis


def _first(records: Records) -> str:
    return repr(records.rows[0].get("id"))
