"""Slow checks of whole runs, for `make soak`."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipelines.conftest import ROOT, Command, digests, run


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_twenty_times_at_random_moments_it_ends_the_same(whole: Path, command: Command, tmp_path: Path) -> None:
    out, chance = tmp_path / "o", random.Random(20)
    words = command(out, "--workers", "2", ledger=tmp_path / "ledger")
    for _ in range(20):
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(1, 15))
        process.kill()
        process.wait()
    time.sleep(2)
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(whole)
