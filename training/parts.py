"""Which samples of an output each stage sees: a split of their own, or a share of `train` that is held out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any, Literal

from schemas.errors import InputError
from shards.indexes import read_indexes
from shards.manifest import read_run
from shards.places import places_of
from training.config import Run

Part = Literal["sft", "rl", "test"]
LABELS = ("firm-edit", "firm-gen")
"""Datasets of critic labels: RL reads what was asked for in them; there is nothing in them to learn by SFT."""


def dataset_of(data: str) -> str:
    """The dataset that an output is of.

    Raises:
        InputError: one that no stage reads.
    """
    dataset: str = read_run(data)[1].get("dataset", "")
    if dataset != "realign" and dataset not in LABELS:
        raise InputError(
            f"data: {data} is an output of {dataset!r}, which no stage reads; give one of `plumbline realign`, or, to"
            " RL, of firm-gen or firm-edit"
        )
    return dataset


def part_of(config: Run, part: Part) -> tuple[str, list[str] | None]:
    """(the split, the ids in it that are of this part; None: all).

    SFT reads the `train` split, RL the split `rl` and evaluation the split `test`. Where the output has no such split,
    its samples are those of `train` whose id's hash falls into the share that is held out; SFT never reads them. Of
    labels RL reads all that is not evaluated, each prompt once, each edit once with the instruction that it had.

    Raises:
        InputError: no such sample; labels, for SFT, or with a choice that they have no words for.
    """
    dataset, splits = dataset_of(config.data), set(read_run(config.data)[1]["shards"])
    if dataset in LABELS:
        return _asked(config, part, dataset, splits)
    split = {"sft": "train", "rl": "rl", "test": "test"}[part]
    ids = None
    shares = {name: getattr(config.held_out, name) for name in ("rl", "test") if name not in splits}
    if split not in splits or (part == "sft" and any(shares.values())):
        split = "train"
        places = places_of(config.data, split)
        every = [places.id(number) for number in range(len(places))]
        ids = [one for one in every if _part(one, shares) == part]
        _refuse_none(ids, config, part, len(every))
    if config.tasks or config.max_references is not None:
        taken = _taken(config, split)
        ids = [one for one in (taken if ids is None else ids) if one in taken]
        if not ids:
            asked = f"tasks: {', '.join(config.tasks) or 'all'}, max_references: {config.max_references or 'any'}"
            raise InputError(f"{asked}; {config.data} has no such sample for {part}; name others, or make more")
    return split, ids


def _taken(config: Run, split: str) -> dict[str, None]:
    """Ids of the split's samples of the tasks and with as few references as are asked for, from the indexes alone."""
    most = math.inf if config.max_references is None else config.max_references
    rows = _rows(config.data, "task", "references")
    there = {row["task"] for row in rows}
    if unknown := set(config.tasks) - there:
        raise InputError(
            f"tasks: {config.data} has no sample of {', '.join(sorted(unknown))}; it has {', '.join(sorted(there))}"
        )
    return {
        row["id"]: None
        for row in rows
        if row["split"] == split and (not config.tasks or row["task"] in config.tasks) and row["references"] <= most
    }


def _asked(config: Run, part: Part, dataset: str, splits: set[str]) -> tuple[str, list[str]]:
    """See `part_of`; of labels. What counts as the same is never in two parts, whichever of its rows are there."""
    data = config.data
    if part == "sft":
        raise InputError(
            f"data: {data} is an output of {dataset!r}, which has no reasonings; give one of `plumbline realign`"
        )
    if config.tasks or config.max_references is not None:
        raise InputError(f"tasks, max_references: {data} is an output of {dataset!r}, which has neither; unset them")
    split = part if part in splits else "train"
    first: dict[str, str] = {}
    columns = ("subjects", "instruction", *(["rewrite"] if dataset == "firm-edit" else []))
    for row in _rows(data, *columns):
        if row["split"] == split and not row.get("rewrite"):
            key = _same(row, dataset)
            first[key] = min(row["id"], first.get(key, row["id"]))
    if not first:
        raise InputError(f"{data}: no row of {split} holds a request as it was made; give the whole output")
    own, held = split == part, {} if "test" in splits else {"test": config.held_out.test}
    ids = sorted(row for key, row in first.items() if own or (_part(key, held) == "test") == (part == "test"))
    _refuse_none(ids, config, part, len(first))
    return split, ids


def _same(row: dict[str, Any], dataset: str) -> str:
    """What rows of one request have in common: a prompt, or a source and an instruction, but for case and white space.

    A label's first subject is its prompt in that form, or the digest of its source.
    """
    subject: str = row["subjects"][0]
    return subject if dataset == "firm-gen" else f"{subject} {' '.join(row['instruction'].split()).casefold()}"


def _refuse_none(ids: Iterable[str], config: Run, part: Part, every: int) -> None:
    if not ids:
        raise InputError(f"{config.data}: no sample for {part}: {every} in all; make more, or raise held_out.{part}")


def _rows(data: str, *columns: str) -> list[dict[str, Any]]:
    """Of every sample: `id`, `split` and these columns, from the indexes."""
    tables = [index.table for index in read_indexes(data, ("id", "split", *columns))]
    return [row for table in tables for row in table.to_pylist()]


def _part(key: str, shares: dict[str, float]) -> Part:
    """Which stage a sample of `train` belongs to, by its key alone."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if place < shares.get("test", 0.0):
        return "test"
    return "rl" if place < shares.get("test", 0.0) + shares.get("rl", 0.0) else "sft"
