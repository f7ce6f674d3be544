"""What a shard and its files are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SHARDS, REJECTS = "shards", "rejects"
# Far beyond any run: a damaged count must not fill the memory with names.
MOST_SHARDS = 10_000_000
MANIFEST, RUN = "manifest.json", "run.json"
# Below a run's folder: a selection of its samples, an output of its own.
BALANCED = "balanced"
_STEM = re.compile(r"(?P<split>[A-Za-z0-9_]+)-(?P<index>[0-9]{5,})-of-(?P<of>[0-9]{5,})")


@dataclass(frozen=True, order=True)
class ShardName:
    """Shard `index` (from 0) of the `of` shards of a split: `train-00000-of-00004`."""

    split: str
    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of or not _STEM.fullmatch(str(self)):
            raise ValueError(f"{self.split!r}, {self.index} of {self.of} is no shard: the split is one word of letters")

    def __str__(self) -> str:
        return f"{self.split}-{self.index:05d}-of-{self.of:05d}"

    @property
    def tar(self) -> str:
        return f"{SHARDS}/{self}.tar"

    @property
    def index_file(self) -> str:
        return f"{SHARDS}/{self}.parquet"

    @property
    def rejects(self) -> str:
        return f"{REJECTS}/{self}.parquet"

    @property
    def files(self) -> tuple[str, str, str]:
        """Relative to the run's folder, in the order in which they are committed."""
        return self.rejects, self.tar, self.index_file


def is_split(name: object) -> bool:
    """Whether a split may be called this: ASCII letters, digits and underscores."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]+", name) is not None


def parse_name(stem: str) -> ShardName | None:
    """The name behind `train-00000-of-00004`; None for anything else."""
    match = _STEM.fullmatch(stem)
    if not match or not int(match["index"]) < int(match["of"]):
        return None
    name = ShardName(match["split"], int(match["index"]), int(match["of"]))
    return name if str(name) == stem else None


def names_of(shards: dict[str, int]) -> list[ShardName]:
    """Every shard of a run, from the number of shards of each split, in the order of their file names."""
    return [ShardName(split, i, of) for split, of in sorted(shards.items()) for i in range(of)]


def committed(files: Iterable[str]) -> list[ShardName]:
    """The finished shards among the file names of a run's `shards/`, in order: those whose index is there."""
    marks = [name.removesuffix(".parquet") for name in files if name.endswith(".parquet")]
    return sorted(name for name in map(parse_name, marks) if name is not None)
