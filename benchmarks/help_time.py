"""How long `plumbline --help` takes, as a process of its own: what nobody should wait for.

python -m benchmarks.help_time
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import results
from benchmarks.results import Row

GOAL_S = 0.5
_COMMAND = (sys.executable, "-m", "cli.main", "--help")
_TITLE = "plumbline --help"


def measure(runs: int) -> list[Row]:
    """Best and median seconds of `runs` processes, on the clock and on the processor (user and system)."""
    _timed()  # compiles and caches what an installed command finds compiled
    timed = [_timed() for _ in range(runs)]
    kinds = {"wall": [wall for wall, _ in timed], "CPU": [cpu for _, cpu in timed]}
    return [{"seconds": kind, "best": min(found), "median": float(median(found))} for kind, found in kinds.items()]


def _timed() -> tuple[float, float]:
    """(wall, CPU) seconds of one process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(_COMMAND, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main(runs: int = 10) -> None:
    """Measure and write the section."""
    rows = measure(runs)
    best = float(rows[0]["best"])
    goal = f"goal {GOAL_S} s, best wall time: {'met' if best <= GOAL_S else 'missed'} ({best:.2f} s of {runs} runs)"
    print(results.record(_TITLE, "python -m benchmarks.help_time", rows, [goal], results.RESULTS))


if __name__ == "__main__":
    main()
