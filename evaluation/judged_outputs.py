"""Benchmarks whose outputs lie in a folder by task type and key: what their judges have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evaluation.judge_config import JudgeConfig
from evaluation.judged_images import Picture, Workspace
from evaluation.judged_tables import read_benchmark
from evaluation.judging import Recipe, Verdicts, seed_of
from evaluation.records import Records, Row, once, text_of
from schemas.errors import InputError
from storage import paths

_COLUMNS = ("key", "task_type", "instruction", "instruction_language")
_ENDINGS = ("png", "jpg", "jpeg", "webp")


@dataclass(frozen=True)
class OutputSample:
    """A record of the benchmark with the output that is judged.

    Attributes:
        row: the record; `key` is the text of its key.
        inputs: the images that the output was made from, in the benchmark's order.
    """

    id: str
    seed: int
    row: Row
    key: str
    task_type: str
    instruction: str
    language: str
    inputs: tuple[Picture, ...]
    output: Picture


@dataclass(frozen=True)
class OutputBenchmark:
    """What tells one benchmark from another.

    Attributes:
        title: its name in messages.
        images: the column of input images.
        columns: of its records, beside key, task_type, instruction, instruction_language and the images.
        place: where an output lies in the folder of outputs, without its ending; formats task_type, key, language.
        check: raises InputError for a record that the benchmark's table has no place for.
        recipe: from a configuration and a workspace to the recipe.
        records: of what was judged, in the benchmark's own form.
    """

    title: str
    images: str
    columns: tuple[str, ...]
    place: str
    check: Callable[[Records, int], object]
    recipe: Callable[[JudgeConfig, Workspace], Recipe[OutputSample]]
    records: Callable[[Iterable[tuple[OutputSample, Verdicts]]], Iterable[dict[str, Any]]]

    def samples(
        self, bench: str, outputs: str, image_root: str | None, workspace: Workspace, language: str, seed: int = 0
    ) -> list[OutputSample]:
        """What is to be judged: the benchmark's records in `language` (`all` for every one) and their outputs.

        Args:
            bench: JSON lines, Parquet, or a folder of them.
            outputs: a folder with the outputs at `place` in it, or in its folder `fullset`.
            image_root: what paths among the input images are relative to; default: the folder of their file.

        Raises:
            InputError: bad records, a key twice in a task type, nothing in this language.
        """

        def spoken(row: Row) -> bool:
            return language in ("all", row.get("instruction_language") or "en")

        columns = (*_COLUMNS, *self.columns)
        records = read_benchmark(bench, self.images, image_root, workspace, spoken, columns)
        if not records.rows:
            raise InputError(f"{bench}: no record has instruction_language {language}; try --language all")
        seen: dict[Any, int] = {}
        return [self._sample(records, i, outputs, seed, seen) for i in range(len(records.rows))]

    def _sample(self, records: Records, i: int, outputs: str, seed: int, seen: dict[Any, int]) -> OutputSample:
        row = records.rows[i]
        task_type, key = text_of(records, i, "task_type", "category"), text_of(records, i, "key")
        self.check(records, i)
        language = str(row.get("instruction_language") or "en")
        once(seen, (task_type, language, key), records, i, "key")
        name = f"{task_type}/{key}" + ("" if language == "en" else f" ({language})")
        return OutputSample(
            id=name,
            seed=seed_of(seed, name),
            row=row,
            key=key,
            task_type=task_type,
            instruction=text_of(records, i, "instruction"),
            language=language,
            inputs=tuple(row[self.images]),
            output=_output(outputs, self.place.format(task_type=task_type, key=key, language=language)),
        )


def _output(folder: str, name: str) -> Picture:
    """The image of that name (without an ending) in a folder of outputs; `NAME.png` where there is none."""
    places = [f"{below}{name}.{ending}" for below in ("", "fullset/") for ending in _ENDINGS]
    return Picture(folder, next((place for place in places if paths.exists(paths.join(folder, place))), places[0]))
