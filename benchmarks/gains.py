"""What RL gained on held-out samples, with intervals: each evaluation less the one before the first update.

    python -m benchmarks.gains RUN

RUN: the `out` of `plumbline train rl`. Differences are paired by sample; intervals are 95 %, by bootstrap.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.ablations import figures
from benchmarks.results import Row, table
from storage import paths
from training.running import METRICS


def gains(lines: Sequence[dict[str, Any]]) -> list[Row]:
    """A row an evaluation, the first one with its means; of records of `metrics.jsonl`."""
    evaluated = [line for line in lines if "each" in line]
    if len(evaluated) < 2:
        raise SystemExit("the run has been evaluated less than twice; nothing can be compared")
    first = evaluated[0]["each"]
    rows: list[Row] = [{"update": "before", **{key: figures.told(figures.over([first[key]]), 4) for key in first}}]
    for line in evaluated[1:]:
        found = {key: figures.difference([line["each"][key]], [first[key]]) for key in first}
        rows.append({"update": line["step"], **{key: figures.told(one, 4) for key, one in found.items()}})
    return rows


def main(given: Sequence[str] | None = None) -> None:
    """Print the table of a run."""
    (run,) = sys.argv[1:] if given is None else given
    lines = [json.loads(line) for line in paths.read_bytes(paths.join(run, METRICS)).decode().splitlines()]
    print("\n".join(table(gains(lines))))


if __name__ == "__main__":
    main()
