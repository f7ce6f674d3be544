"""What the shard benchmarks write and read: samples of three JPEG-like payloads of about 59 KB and 2 KB of JSON."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.results import Row

SAMPLES, PER_SHARD, REPEATS = 3000, 500, 5


@dataclass(frozen=True)
class Sample:
    key: str
    images: tuple[bytes, ...]
    json: bytes

    @property
    def size(self) -> int:
        return sum(map(len, self.images)) + len(self.json)


def corpus(samples: int = SAMPLES) -> list[Sample]:
    """Samples that share 256 payloads of noise, as hard to compress as JPEGs."""
    rng = random.Random(0)
    payloads = [rng.randbytes(rng.randint(55_000, 63_000)) for _ in range(256)]
    made = []
    for i in range(samples):
        key = f"{rng.getrandbits(128):032x}"
        view = {
            "id": key,
            "instruction": "Move the figurine to the left of the lamp. " * 44,
            "scores": {"clip_text": 0.3},
        }
        made.append(Sample(key, tuple(rng.choice(payloads) for _ in range(3)), json.dumps({**view, "n": i}).encode()))
    return made


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk under test: $BENCH_DIR, else the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def race(contestants: dict[str, Callable[[], None]], size: int, samples: int, repeats: int = REPEATS) -> list[Row]:
    """Run all contestants in turn, `repeats` times over, so that a busy machine is busy for all; medians."""
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, go in contestants.items():
            os.sync()
            started, used = time.perf_counter(), time.process_time()
            go()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    return [
        {
            "what": name,
            "MB/s": round(size / median(wall[name]) / 1e6, 1),
            "best MB/s": round(size / min(wall[name]) / 1e6, 1),
            "samples/s": round(samples / median(wall[name]), 1),
            "CPU ms per sample": round(median(cpu[name]) / samples * 1e3, 3),
        }
        for name in contestants
    ]


def ratio(rows: list[Row], ours: str, theirs: str) -> float:
    """How many times the speed of `theirs` is that of `ours`, by the median MB/s."""
    speed = {str(row["what"]): float(row["MB/s"]) for row in rows}
    return speed[ours] / speed[theirs]
