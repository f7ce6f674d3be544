"""A run of rows with a task, a dimension and a score, as critic labels have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from schemas.usage import Usage
from shards.commit import ShardSample, write_shard
from shards.manifest import write_manifest, write_run
from shards.names import ShardName, names_of
from tests.shards.made import jpeg, rejection

COLUMNS = [("task", "string"), ("dimension", "string"), ("score", "float"), ("tries", "int")]
RUN = {
    "dataset": "firm-edit",
    "seed": 7,
    "shards": {"train": 3, "test": 1},
    "prompts": {"firm/execution": "ab12"},
    "versions": {"plumbline": "0"},
}
DIMENSIONS = ("execution", "consistency")
IMAGES = [jpeg(seed) for seed in range(4)]


def score_of(i: int) -> float:
    """Many fives, few ones."""
    return float((1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5)[i % 16])


def labelled(split: str, i: int, score: Callable[[int], float] = score_of) -> ShardSample:
    key = hashlib.sha256(f"{split} {i}".encode()).hexdigest()[:32]
    dimension = DIMENSIONS[i // 16 % 2]
    view = {"id": key, "dimension": dimension, "score": score(i), "split": split, "reasoning": "why " * (i % 5)}
    members = [("image_1.jpg", IMAGES[i % 4]), ("image_2.jpg", IMAGES[i % 3]), ("json", json.dumps(view).encode())]
    columns = {"task": dimension, "dimension": dimension, "score": score(i), "tries": None if i % 2 else i}
    return ShardSample(key, members, columns, (f"{split} pair {i // 2}",), i)


def write_labelled(out: str, *, only: Callable[[ShardName], bool] | None = None, close: bool = True) -> str:
    """64 rows in three shards and 32 in one, one rejection in each shard; returns the run's hash."""
    run_hash = write_run(out, RUN)
    for name in names_of(RUN["shards"]):
        if only is not None and not only(name):
            continue
        size = (32, 16, 16)[name.index]
        first = (0, 32, 48)[name.index]
        write_shard(
            out,
            name,
            [labelled(name.split, first + i) for i in range(size)],
            [rejection(name.split, 1000 + first)],
            run_hash=run_hash,
            planned=size + 1,
            columns=COLUMNS,
            usage={"offline": Usage(calls=3)},
        )
    if close:
        write_manifest(out)
    return run_hash
