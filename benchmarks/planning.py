"""Plans per second and memory growth over a pool of a million rows.

    python -m benchmarks.planning [--rows 1000000] [--plans 200000]

The pool's index is drawn here; no image is opened.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import results
from benchmarks.results import Row
from pools.index import DIGEST_KEY, FILES_KEY, VERSION, VERSION_KEY, columns
from pools.options import PlanOptions
from pools.plans import Planner
from pools.pool import Pool
from pools.tasks import load_tasks

_GOAL = 20_000
_WARM_UP = 20_000


def write_index(path: Path, rows: int) -> None:
    """An index of `rows` references: two photos per subject on average, a fifth of them characters or scenes."""
    rng = np.random.default_rng(7)
    kinds = rng.choice(["character", "object", "scene"], size=rows, p=[0.3, 0.5, 0.2])
    subjects = rng.integers(0, rows // 2, size=rows)
    schema = columns()
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 50_000):
            span = range(start, min(start + 50_000, rows))
            ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in span]
            here = slice(span.start, span.stop)
            table = {
                "id": ids,
                "sha256": ids,
                "source_id": [f"row-{i}" for i in span],
                "kind": kinds[here].tolist(),
                "caption": [f"a {kinds[i]} numbered {i}, standing on a wooden table by a window" for i in span],
                "subject": [f"{kinds[i]}-{subjects[i]}" for i in span],
                "category": [f"category {i % 900}" for i in span],
                "license": [("CC0-1.0", "CC-BY-4.0")[i % 2] for i in span],
                "attribution": [f"photo by photographer {i % 20_000}" for i in span],
                "person": [("none", "unknown")[i % 2] for i in span],
                "uri": [f"images/{i % 1000:03d}/{ids[i - start]}.jpg" for i in span],
                "media_type": ["image/jpeg"] * len(span),
                "phash": [identity[:16] for identity in ids],
                "width": [1024] * len(span),
                "height": [768] * len(span),
                "alpha": [False] * len(span),
            }
            writer.write_table(pa.table(table, schema=schema))
        metadata = {VERSION_KEY: VERSION, DIGEST_KEY: f"{rows:064x}", FILES_KEY: f"{rows:064x}"}
        writer.add_key_value_metadata(metadata)


def resident_mib() -> float:
    """This process's resident memory, mapped files left out."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def measure(rows: int, plans: int) -> tuple[Row, int]:
    """What `plans` plans over a drawn pool of `rows` images took, and plans per second."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "pool.parquet"
        write_index(index, rows)
        started = time.perf_counter()
        pool = Pool.open(str(index), folder)
        planner = Planner(pool, load_tasks(), PlanOptions(seed=7, splits={"train": 0.98, "test": 0.02}))
        ready = time.perf_counter() - started
        for _ in planner.plans("train", range(_WARM_UP)):
            pass
        gc.collect()
        before = resident_mib()
        started = time.perf_counter()
        timed = planner.plans("train", range(_WARM_UP, _WARM_UP + plans))
        references = sum(len(plan.references) for plan in timed)
        speed = round(plans / (time.perf_counter() - started))
        row: Row = {
            "images": rows,
            "plans": plans,
            "plans/s": speed,
            "references per plan": references / plans,
            "ready, s": ready,
            "memory growth, MiB": resident_mib() - before,
        }
    return row, speed


def main(argv: Sequence[str] = ()) -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--plans", type=int, default=200_000)
    arguments = parser.parse_args(argv)
    row, speed = measure(arguments.rows, arguments.plans)
    command = f"python -m benchmarks.planning --rows {arguments.rows} --plans {arguments.plans}"
    goal = f"goal {_GOAL:,} plans/s, memory flat: {'met' if speed >= _GOAL else 'missed'} ({speed:,})"
    print(results.record("Planning", command, [row], [goal], results.RESULTS))


if __name__ == "__main__":
    main(sys.argv[1:])
