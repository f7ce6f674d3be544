"""A small run of two splits, made by the same calls that a pipeline makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shards.manifest import write_manifest, write_run
from shards.names import ShardName, names_of
from tests.shards.made import RUN, write_one


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """`make_run(folder, only=None, close=True)`: the run's shards (those that `only` takes), and its manifest."""

    def make(folder: Path, only: Callable[[ShardName], bool] | None = None, close: bool = True) -> Path:
        run_hash = write_run(str(folder), RUN)
        for name in names_of(RUN["shards"]):
            if only is None or only(name):
                write_one(folder, name, run_hash)
        if close:
            write_manifest(str(folder))
        return folder

    return make


@pytest.fixture
def run_folder(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    return make_run(tmp_path / "run")
