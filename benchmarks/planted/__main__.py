"""The planted-defect matrix: what finds each defect, how often, and how many clean samples it rejects.

python -m benchmarks.planted [--samples N] [--no-peers]

Writes its section of benchmarks/RESULTS.md; docs/defects.md says what each row means.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.planted import of_files, of_pairs, of_samples, of_sets, peers
from benchmarks.planted.counting import GOAL_FALSE, GOAL_RECALL, Outcome
from benchmarks.planted.of_samples import Planted
from benchmarks.planted.of_sets import Copies
from benchmarks.planted.outputs import World, photo_world, toy_world
from benchmarks.results import record

SAMPLES, MOST = 200, 60
TITLE = "Planted defects"


class Matrix:
    """One sitting: its worlds, what was planted in them, and what was found."""

    def __init__(self, folder: Path, samples: int) -> None:
        self.folder, self.samples, self.most = folder, samples, min(MOST, max(4, samples * 3 // 10))
        self.outcomes: list[Outcome] = []
        self.planted: list[tuple[World, Planted]] = []
        self.copies: list[Copies] = []
        self.notes: list[str] = []

    def run(self) -> None:
        """Everything of ours."""
        self._world(toy_world(self.folder, self.samples))
        photos = photo_world(self.folder, max(6, self.samples * 3 // 10))
        if isinstance(photos, str):
            self.notes.append(f"photos: not run, {photos}")
        else:
            self._world(photos)
        self.outcomes += of_pairs.outcomes(self.folder, max(4, self.samples // 5))

    def _world(self, world: World) -> None:
        planted = of_samples.planted(world, self.most)
        copies = of_sets.copies_of(world, self.most)
        self.outcomes += of_samples.outcomes(world, planted)
        self.outcomes += of_sets.outcomes(world, copies, self.folder)
        self.outcomes += of_files.outcomes(world, self.folder)
        self.planted += [(world, one) for one in planted]
        self.copies.append(copies)
        self.notes.append(f"{world.name}: {of_samples.all_checks(world)} clean samples rejected by any filter")
        self.notes += [f"{world.name}: {name} {why}" for name, why in world.filters.notes.items()]


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    os.nice(10)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(Path(folder), given.samples)
        matrix.run()
        ours = time.monotonic() - began
        said = "data-juicer: not run (--no-peers)"
        if not given.no_peers:
            matrix.outcomes, said = peers.beside(matrix.outcomes, matrix.planted, matrix.copies, Path(folder))
    rows = [outcome.row() for outcome in matrix.outcomes]
    checked = [outcome.met for outcome in matrix.outcomes]
    counts = ", ".join(f"{checked.count(word)} {word}" for word in sorted(set(checked)))
    notes = [
        f"goal: its own check finds >= {GOAL_RECALL:.2f} and rejects <= {GOAL_FALSE:.0%} of the clean: {counts}",
        *matrix.notes,
        said,
        f"{ours:,.0f} s without the peer",
    ]
    command = f"python -m benchmarks.planted --samples {given.samples}" + (" --no-peers" if given.no_peers else "")
    print(record(TITLE, command, rows, notes))


if __name__ == "__main__":
    main()
