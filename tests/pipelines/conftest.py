"""A small run on the toy world, made once and compared with every other way of making it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.commands import plumbline
from tests.servers.job_service import service

__all__ = ["service"]

ROOT = Path(__file__).resolve().parents[2]
# Without CLIP, whose loading would be most of the time of each of many runs; `scored` has it.
SETTINGS = (
    *("samples=24", "output.shard_samples=4", "reasonings=2", "splits={train: 0.75, test: 0.25}"),
    "filters={similarity: {}}",
)
CLIP = "filters={clip: {weights: toy, min_text: 0.4}, relations: {min_margin: 0}}"

Command = Callable[..., list[str]]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command line of the small run into a folder, with further words after it."""
    ledger = tmp_path_factory.mktemp("ledger")

    def words(out: Path, *more: str, ledger: Path = ledger) -> list[str]:
        settings = [part for s in (*SETTINGS, f"ledger={ledger}") for part in ("--set", s)]
        return [sys.executable, "-m", "cli.main", "realign", "configs/toy.yaml", "--out", str(out), *settings, *more]

    return words


@pytest.fixture(scope="session")
def whole(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, made by one process without interruption."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(command(out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def scored(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with CLIP scores, by one process."""
    out = tmp_path_factory.mktemp("scored") / "out"
    done = run(command(out, "--set", CLIP))
    assert done.returncode == 0, done.stderr
    return out


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """What `words` would do as a process of their own, done within this one: it spares seconds of imports."""
    assert words[:3] == [sys.executable, "-m", "cli.main"]
    return plumbline(*words[3:])


def digests(out: Path) -> dict[str, str]:
    """sha256 of every tar and index of an output."""
    files = sorted((out / "shards").iterdir())
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if not f.name.startswith(".")}
