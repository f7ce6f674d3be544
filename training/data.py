"""Samples of an output as batches of examples, with an exact position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from schemas.errors import InputError
from shards.loading import Loader
from shards.reader import Reader
from training.config import Run
from training.examples import IMAGES, Example, example, told
from training.parts import Part, dataset_of, part_of

BUCKETS = 8
"""Batches that are drawn at once and sorted by length, so that little of a batch is padding."""


def reader_of(config: Run, part: Part, *, side: int | None, seed: int | None, rank: int = 0, world: int = 1) -> Reader:
    """The samples of one stage that the configuration takes.

    See `training.parts` for which these are.

    Args:
        side: images are decoded within it; None: without images.

    Raises:
        InputError: no shards, or no sample in this part, of these tasks or with so few references; labels, for SFT;
            fewer samples than processes.
    """
    split, ids = part_of(config, part)
    reader = Reader(
        config.data,
        split,
        form="numpy",
        side=side,
        images=IMAGES[dataset_of(config.data)],
        ids=ids,
        seed=seed,
        rank=rank,
        world=world,
        even="drop" if world > 1 else "no",
    )
    if not len(reader):
        raise InputError(f"{config.data}: {reader.samples} samples for {part} do not go round among {world} processes")
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
