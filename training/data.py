"""Which samples of an output each stage sees, and batches of them with a position."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from schemas.errors import InputError
from shards.indexes import read_indexes
from shards.loading import Loader
from shards.manifest import read_run
from shards.places import places_of
from shards.reader import Reader
from training.config import Run
from training.examples import Example, example, told

Part = Literal["sft", "rl", "test"]
BUCKETS = 8
"""Batches that are drawn at once and sorted by length, so that little of a batch is padding."""


def reader_of(config: Run, part: Part, *, side: int | None, seed: int | None, rank: int = 0, world: int = 1) -> Reader:
    """The samples of one stage that the configuration takes.

    SFT reads the `train` split, RL the split `rl` and evaluation the split `test`. Where the output has no such split,
    its samples are those of `train` whose id's hash falls into the share that is held out; SFT never reads them.
    Of FIRM's outputs RL reads each prompt, or each edit as it was asked for, once.

    Args:
        side: images are decoded within it; None: without images.

    Raises:
        InputError: no shards, or no sample in this part, of these tasks or with so few references; labels, for SFT;
            fewer samples than processes.
    """
    data = config.data
    dataset, splits = _run_of(data)
    if part == "sft" and dataset != "realign":
        raise InputError(
            f"data: {data} is an output of {dataset!r}, which has no reasonings; give one of `plumbline realign`"
        )
    split = {"sft": "train", "rl": "rl", "test": "test"}[part]
    ids = None
    shares = {name: getattr(config.held_out, name) for name in ("rl", "test") if name not in splits}
    if split not in splits or (part == "sft" and any(shares.values())):
        split = "train"
        places = places_of(data, split)
        every = [places.id(number) for number in range(len(places))]
        ids = [one for one in every if _part(one, shares) == part]
        if not ids:
            raise InputError(f"{data}: no sample for {part}: {len(every)} in all; make more, or raise held_out.{part}")
    taken = _taken(config, split) if dataset == "realign" else _asked_once(config, split, dataset)
    if taken is not None:
        ids = [one for one in (taken if ids is None else ids) if one in taken]
        if not ids:
            asked = f"tasks: {', '.join(config.tasks) or 'all'}, max_references: {config.max_references or 'any'}; "
            asked = asked if dataset == "realign" else ""
            raise InputError(f"{asked}{data} has no such sample for {part}; name others, or make more")
    reader = Reader(
        data,
        split,
        form="numpy",
        side=side,
        ids=ids,
        seed=seed,
        rank=rank,
        world=world,
        even="drop" if world > 1 else "no",
    )
    if not len(reader):
        raise InputError(f"{data}: {reader.samples} samples for {part} do not go round among {world} processes")
    return reader


def of_all_tasks(config: Run) -> Run:
    """The configuration without a choice of tasks: what is only read or understood may be any one's."""
    return config.model_copy(update={"tasks": ()})


def texts_of(config: Run, most: int = 50_000) -> Iterator[str]:
    """Prompts, reasonings and captions of the first `most` samples that SFT may read, whatever their task: for a
    vocabulary."""
    reader = reader_of(of_all_tasks(config), "sft", side=None, seed=None)
    for found in reader.fetched(reader.rest[:most]):
        if reader.accepted(found):
            record = told(found.sample)
            yield record["prompt"]
            yield from (one["text"] for one in record["reasonings"])
            yield from (one["caption"] for one in record["references"])


def _taken(config: Run, split: str) -> dict[str, None] | None:
    """Ids of the split's samples of the tasks and with as few references as are asked for, from the indexes alone;
    None: all."""
    if not config.tasks and config.max_references is None:
        return None
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


def _asked_once(config: Run, split: str, dataset: str) -> dict[str, None]:
    """Ids of one row for each prompt of `firm-gen`, or for each pair of `firm-edit` with its own instruction."""
    if config.tasks or config.max_references is not None:
        raise InputError(
            f"tasks, max_references: {config.data} is an output of {dataset!r}, which has neither; unset them"
        )
    if dataset == "firm-gen":
        rows = {row["instruction"]: row["id"] for row in _rows(config.data, "instruction") if row["split"] == split}
    else:
        found = _rows(config.data, "pair_id", "rewrite")
        rows = {row["pair_id"]: row["id"] for row in found if row["split"] == split and not row["rewrite"]}
    return dict.fromkeys(rows.values())


def _rows(data: str, *columns: str) -> list[dict[str, Any]]:
    """Of every sample: `id`, `split` and these columns, from the indexes."""
    tables = [index.table for index in read_indexes(data, ("id", "split", *columns))]
    return [row for table in tables for row in table.to_pylist()]


def _run_of(data: str) -> tuple[str, set[str]]:
    """The dataset that an output is of, and its splits.

    Raises:
        InputError: one that no stage reads.
    """
    run = read_run(data)[1]
    dataset = run.get("dataset")
    if dataset not in ("realign", "firm-edit", "firm-gen"):
        raise InputError(
            f"data: {data} is an output of {dataset!r}, which no stage reads; give one of `plumbline realign`"
        )
    return dataset, set(run["shards"])


def _part(sample: str, shares: dict[str, float]) -> Part:
    """Which stage a sample of `train` belongs to, by its id alone."""
    place = int.from_bytes(hashlib.sha256(sample.encode()).digest()[:8], "big") / 2**64
    if place < shares.get("test", 0.0):
        return "test"
    return "rl" if place < shares.get("test", 0.0) + shares.get("rl", 0.0) else "sft"


class Batches:
    """Batches of examples for ever, epoch after epoch; the position is exact, and small JSON.

    A reader's samples are taken `BUCKETS` batches at a time, sorted by length and cut, and the batches given in an
    order that follows from the position alone.

    Args:
        reader: gives decoded samples; its position is this one's.
        size: examples of a batch, on this process.
        length: of an example, in whatever unit padding costs.
        workers: processes that decode ahead.
        keep: hold decoded examples in memory once they were read.

    Raises:
        InputError: fewer samples than one batch needs.
    """

    def __init__(self, reader: Reader, size: int, length: Any, *, workers: int = 0, keep: bool = False) -> None:
        if len(reader) < size:
            raise InputError(f"batch: {size} a process, and there are {len(reader)} samples for it; make it smaller")
        self.reader, self.size, self.keep = reader, size, keep
        self._length, self._workers = length, workers
        self._kept: dict[int, Example] = {}
        self._taken = 0
        self._begin = reader.state_dict()

    def __iter__(self) -> Iterator[tuple[int, list[Example]]]:
        """(epoch, batch)."""
        while True:
            for pool in self._pools():
                epoch = int(self._begin["epoch"])
                for batch in self._cut(pool)[self._taken :]:
                    self._taken += 1
                    yield epoch, batch
                self._taken, self._begin = 0, self.reader.state_dict()

    def _pools(self) -> Iterator[list[Example]]:
        """Examples of `BUCKETS` batches, until the epoch ends; what does not fill a batch is left out."""
        size = self.size * BUCKETS
        if self.keep:
            while self.reader.left >= self.size:
                numbers = self.reader.rest[:size]
                missing = np.array([n for n in numbers.tolist() if n not in self._kept], dtype=np.int64)
                for found in self.reader.fetched(missing):
                    if self.reader.accepted(found):
                        self._kept[found.number] = example(found.sample)
                self.reader.advance(len(numbers))
                yield [self._kept[n] for n in numbers.tolist() if n in self._kept]
            self.reader.end_epoch()
            self._begin = self.reader.state_dict()
            return
        for samples in Loader(self.reader, size, workers=self._workers):
            yield [example(sample) for sample in samples]
        self._begin = self.reader.state_dict()

    def _cut(self, pool: Sequence[Example]) -> list[list[Example]]:
        ordered = sorted(pool, key=lambda one: (self._length(one), one.prompt.id))
        batches = [ordered[at : at + self.size] for at in range(0, len(ordered) - self.size + 1, self.size)]
        shuffled = np.random.default_rng([int(self._begin["epoch"]), int(self._begin["given"])]).permutation(
            len(batches)
        )
        return [batches[number] for number in shuffled]

    def state_dict(self) -> dict[str, Any]:
        """The position behind the batch in hand."""
        return {"reader": self._begin, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where another was.

        Raises:
            InputError: the position is one in other samples or another order.
        """
        self.reader.load_state_dict(state["reader"])
        self._begin, self._taken = self.reader.state_dict(), int(state["taken"])
