"""OmniContext and DreamOmni2Bench: prompt following and subject consistency, 0 to 10, and their geometric mean.

OmniContext's records are those of VectorSpaceLab/OmniGen2, omnicontext/ (`score.jsonl`): key, task_type,
instruction_language, PF_score, SC_score. The geometric mean is taken per sample, then averaged per task type; the
Average weighs the task types that are there alike (calculate_statistics.py). The released judge puts a random number
where an answer does not parse; here such a sample is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.bootstrap import RESAMPLES, SEED, Array, Bootstrap
from evaluation.records import Judged, Records, combined, once, read_records, text_of
from evaluation.tables import Cell, Report, Table
from schemas.errors import InputError
from storage import paths

TASK_TYPES = (
    "single_character",
    "single_object",
    "multi_character",
    "multi_object",
    "multi_character_object",
    "scene_character",
    "scene_object",
    "scene_character_object",
)
GROUPS = ("add", "replace", "global", "local", "generation")
"""What Re-Align reports DreamOmni2Bench in: concrete objects, abstract attributes, generation."""

HIGHEST = 10.0


class Scored(NamedTuple):
    """Two scores per sample and the group it counts in.

    Attributes:
        groups: names, in the order of the table.
        members: [n], places in `groups`.
        first, second: [n], both known.
    """

    groups: list[str]
    members: Array
    first: Array
    second: Array


def omnicontext(scores: Sequence[str], language: str = "en", resamples: int = RESAMPLES, seed: int = SEED) -> Report:
    """PF, SC and Overall per task type, and their unweighted average over the types present.

    Args:
        scores: files, or folders with a `score.jsonl` per task type in them.
        language: records of this instruction_language; `all` for every one. Records that name none count as `en`.

    Raises:
        InputError: bad records, a key twice in a task type, nothing in this language.
    """
    records = combined([read_records(path, "key") for path in _files(scores)])
    return _report("omnicontext", "task type", records, _task_type, list(TASK_TYPES), language, resamples, seed)


def dreamomni2(scores: Sequence[str], language: str = "all", resamples: int = RESAMPLES, seed: int = SEED) -> Report:
    """PF, SC and Overall in the groups add, replace, global, local and generation, judged the way of OmniContext.

    Records are OmniContext's; task_type (or category) is a group, or begins with one (`local_expression`).

    Raises:
        InputError: as for `omnicontext`, and for a category of no group.
    """
    records = combined([read_records(path, "key") for path in _files(scores)])
    report = _report("dreamomni2", "group", records, group_of, list(GROUPS), language, resamples, seed)
    report.notes.append("the paper's own success ratio is another metric; these are the scores that Re-Align reports")
    return report


def _report(
    name: str,
    heading: str,
    records: Records,
    group_of: Callable[[Records, int], str],
    order: list[str],
    language: str,
    resamples: int,
    seed: int,
) -> Report:
    judged = Judged()
    seen: dict[Any, int] = {}
    rows: list[tuple[str, float, float]] = []
    for i, row in enumerate(records.rows):
        group = group_of(records, i)
        spoken = row.get("instruction_language") or "en"
        once(seen, (group, spoken, text_of(records, i, "key")), records, i, "key")
        if language in ("all", spoken):
            pf, sc = (judged.score(records, i, key, row.get(key), 0.0, HIGHEST) for key in ("PF_score", "SC_score"))
            rows.append((group, pf, sc))
    if not rows:
        raise InputError(f"{records.path}: no record has instruction_language {language}; try --language all")
    scored = scored_of(rows, order)
    if not len(scored.members):
        raise InputError(f"{records.path}: no sample has both scores; {judged.example}")
    present = sorted({group for group, _, _ in rows}, key=scored.groups.index)
    counts = {
        "records": len(records.rows),
        "of this language": len(rows),
        "used": len(scored.members),
        **judged.counts(),
    }
    notes = judged.notes()
    missing = [group for group in order if group not in present]
    if missing:
        notes.append(f"the average is over the {len(present)} of {len(order)} present; missing: {', '.join(missing)}")
    table = geometric_table("by_group", heading, ("PF", "SC", "Overall"), scored, Bootstrap(resamples, seed), rows)
    return Report(name, counts, [table], notes, resamples, seed)


def scored_of(rows: Sequence[tuple[str, float, float]], order: list[str]) -> Scored:
    """The samples that have both scores; groups in the given order, others after them by name."""
    names = {group for group, _, _ in rows}
    groups = [group for group in order if group in names] + sorted(names - set(order))
    places = {group: i for i, group in enumerate(groups)}
    known = [(places[group], a, b) for group, a, b in rows if not (math.isnan(a) or math.isnan(b))]
    columns = np.array(known, float).reshape(-1, 3)
    return Scored(groups, columns[:, 0].astype(int), columns[:, 1], columns[:, 2])


def geometric_table(
    name: str,
    heading: str,
    columns: tuple[str, str, str],
    scored: Scored,
    bootstrap: Bootstrap,
    rows: Sequence[tuple[str, float, float]],
) -> Table:
    """Each group's mean of both scores and of their geometric mean; last the unweighted average of groups."""
    overall = np.sqrt(scored.first * scored.second)
    count = len(scored.groups)
    answers = [bootstrap.grouped(values, scored.members, count) for values in (scored.first, scored.second, overall)]
    used = np.bincount(scored.members, minlength=count)
    asked = dict.fromkeys(scored.groups, 0)
    for group, _, _ in rows:
        asked[group] += 1
    body: list[tuple[Cell, ...]] = [
        (group, int(used[i]), asked[group] - int(used[i]), *(means[i] for means, _ in answers))
        for i, group in enumerate(scored.groups)
    ]
    body.append(("average", int(used.sum()), len(rows) - int(used.sum()), *(average for _, average in answers)))
    return Table(name, f"means by {heading}, and their average", (heading, "samples", "failed", *columns), body)


def _files(scores: Sequence[str]) -> list[str]:
    """Each file as it is; of a folder the `score.jsonl` below it (the combined file misses what a resume skipped)."""
    files = []
    for path in scores:
        below = [] if paths.is_remote(path) else paths.list_files(path)
        if not below:
            files.append(path)
            continue
        found = sorted(file for file in below if file.rsplit("/", 1)[-1] == "score.jsonl")
        if not found:
            raise InputError(f"{path}: has no score.jsonl in it; name the files of records")
        files += [paths.join(path, file) for file in found]
    return files


def _task_type(records: Records, i: int) -> str:
    return text_of(records, i, "task_type")


def group_of(records: Records, i: int) -> str:
    """The group of DreamOmni2Bench that a record counts in.

    Raises:
        InputError: its category begins with none.
    """
    category = text_of(records, i, "task_type", "category")
    found = next((group for group in GROUPS if category.lower().replace("-", "_").startswith(group)), None)
    if found is None:
        raise InputError(f"{records.at(i)}: task_type is {category!r}; it must begin with one of {', '.join(GROUPS)}")
    return found
