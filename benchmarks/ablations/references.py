"""What a step of SFT costs by the number of a sample's references: seconds, and memory."""

from __future__ import annotations

import resource
import time
from itertools import cycle, islice

import torch

from shards.indexes import read_indexes
from shards.reader import Reader
from training import running
from training.config import Run, SFTConfig
from training.data import texts_of
from training.examples import Example, example
from training.optimising import Stepper
from training.processes import Processes
from training.sft import chosen, sft_losses


def steps_with(config: Run, references: int, steps: int) -> dict[str, float]:
    """Seconds a step (the median of `steps`, after two more) and MiB that the steps took beyond what was there before.

    Raises:
        SystemExit: the data has no sample of so many references.
    """
    assert isinstance(config, SFTConfig)
    torch.set_num_threads(config.threads or 1)
    batch = batch_of(config, references)
    backbone = running.open_backbone(config, lambda: texts_of(config))
    stepper = Stepper(list(backbone.trained("both")), config.optimiser, steps + 2)
    generator, one = torch.Generator().manual_seed(config.seed), Processes()
    texts = [chosen(sample, 0, config) for sample in batch]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for number in range(steps + 2):
        began = time.perf_counter()
        ce, mse = sft_losses(backbone, batch, texts, generator, config)
        stepper.step(ce + mse, number, one)
        seconds.append(time.perf_counter() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    words = sum(text.count(" ") + 1 for text in texts) / len(texts)
    return {
        "seconds": sorted(seconds[2:])[steps // 2],
        "mib": grown / 1024,
        "words": words,
    }


def batch_of(config: Run, references: int) -> list[Example]:
    """A batch of samples with this many references; few are given more than once."""
    tables = [index.table for index in read_indexes(config.data, ("id", "split", "references"))]
    rows = [row for table in tables for row in table.to_pylist()]
    ids = [row["id"] for row in rows if row["split"] == "train" and row["references"] == references]
    if not ids:
        raise SystemExit(f"{config.data} has no sample of {references} references")
    reader = Reader(config.data, "train", form="numpy", side=config.backbone.side, ids=ids[: config.batch], seed=None)
    return list(islice(cycle([example(sample) for sample in reader]), config.batch))
