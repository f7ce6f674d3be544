"""Plan, annotate, filter and write 1,000 to 1,000,000 samples with `--workers 2`, through the command itself.

    python -m benchmarks.scale [--sizes 1000 10000 100000] [--workers 2]

References are stored JPEGs of 64 x 64 pixels and targets have that size, so that painting and scoring cost little and
what is left is the pipeline's own work. Sizes that were measured before on the same machine and are not asked for
stay in the table. `make soak` runs 1,000,000.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.results import Row
from benchmarks.scale import measured as store
from benchmarks.scale.measured import BASE, Measured, Size
from benchmarks.scale.plot import PLOT, draw
from benchmarks.scale.pool import SHARD, SIDE, write_pool
from benchmarks.scale.watched import Watched, watched

SIZES = (1_000, 10_000, 100_000)
WORKERS = 2
MILLION = 1_000_000
START = 4
GOAL = 1.1
POINTS = 60


def measure(samples: int, workers: int = WORKERS, shard: int = SHARD, minutes: float = math.inf) -> Size:
    """Make `samples` in a temporary folder and take what that cost.

    Args:
        minutes: after so many the run is stopped, and what it finished until then is what was measured.

    Raises:
        SystemExit: the run failed, or lost a sample.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = write_pool(Path(folder))
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "cli.main", "realign", str(config), "--out", str(out)]
        command += ["--set", f"samples={samples}", "--set", f"output.shard_samples={shard}"]
        shards, of = out / "shards", -(-samples // shard)
        run = watched(
            [*command, "--workers", str(workers)],
            lambda: _finished(shards) / of,
            most=minutes * 60,
        )
        if run.stopped:
            return _size(min(samples, _finished(shards) * shard), samples, run)
        counts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["counts"]
    if counts["planned"] != samples or counts["kept"] + counts["rejected"] != samples:
        raise SystemExit(f"{samples:,} samples were asked for, and the manifest has {counts}")
    return _size(samples, samples, run)


def table(measured: Measured) -> list[Row]:
    """A row per size, and a million by extrapolation where it was not run."""
    rows = [_row(measured, one, _how(one)) for one in sorted(measured.sizes, key=lambda one: one.samples)]
    if measured.size(MILLION) is None:
        rows.append(_row(measured, extrapolated(measured, MILLION), f"extrapolated from {measured.largest.samples:,}"))
    return rows


def _how(size: Size) -> str:
    return "measured" if size.samples == size.planned else f"measured: {size.planned:,}, stopped here"


def extrapolated(measured: Measured, samples: int) -> Size:
    """The largest run that was made, continued at its pace: start + samples x what one took."""
    of, start = measured.largest, measured.start
    times = (samples - start.samples) / (of.samples - start.samples)
    wall, cpu = (start.wall + (of.wall - start.wall) * times, start.cpu + (of.cpu - start.cpu) * times)
    return replace(of, samples=samples, planned=samples, wall=wall, cpu=cpu)


def notes(measured: Measured) -> list[str]:
    """What was run, and how the goals stand."""
    largest = measured.largest
    said = [
        f"one command, `--workers {measured.workers}`, shards of {SHARD}; offline provider on stored JPEGs of {SIDE} x "
        f"{SIDE} pixels, targets as small, quality filter, two reasonings: painting and scoring are cheap on purpose",
        "CPU: user and system seconds of all processes. Own CPU per sample: without what a run of "
        f"{measured.start.samples} samples takes ({measured.start.cpu:.1f} s: imports, the pool, three processes)",
        "memory: the kernel's high-water mark; late / early: a worker's highest in the last 30 % of the shards to that "
        "between 5 % and 30 %",
        "wall time is that of a shared, busy machine at low priority; CPU time is the figure to compare",
    ]
    times = measured.times_base(largest)
    if times is not None and largest.samples > BASE:
        verdict = "met" if times <= GOAL else "missed"
        said.append(f"own CPU per sample at {largest.samples:,} / at {BASE:,}: {times:.2f} (goal <= {GOAL}: {verdict})")
        verdict = "flat" if largest.growth <= GOAL else "grows"
        said.append(f"memory at {largest.samples:,}, late / early: {largest.growth:.2f} ({verdict})")
    if largest.samples < largest.planned:
        said.append(
            f"{largest.planned:,} were planned, and the run was stopped when its time was up: the samples are those of "
            "its finished shards, the CPU is all it used, work on unfinished ones included"
        )
    if measured.size(MILLION) is None:
        said.append("1,000,000: not run here; `make soak` runs it. Time extrapolated, memory taken to stay as it is")
    return [*said, f"![CPU per sample by size, memory by time]({PLOT.parent.name}/{PLOT.name})"]


def _size(samples: int, planned: int, run: Watched) -> Size:
    every = max(1, len(run.moments) // POINTS)
    curve = [(round(m.share, 4), round(m.cpu, 1), round(max(m.workers), 1)) for m in run.moments[::every]]
    return Size(
        samples=samples,
        planned=planned,
        wall=round(run.wall, 1),
        cpu=round(run.cpu, 1),
        parent_peak=round(run.parent_peak, 1),
        worker_peak=round(run.worker_peak, 1),
        growth=round(run.growth(), 3),
        curve=tuple(curve),
    )


def _finished(shards: Path) -> int:
    return sum(1 for _ in shards.glob("*.parquet")) if shards.exists() else 0


def _row(measured: Measured, size: Size, how: str) -> Row:
    times = measured.times_base(size)
    return {
        "samples": size.samples,
        "how": how,
        "wall, s": round(size.wall),
        "CPU, s": round(size.cpu),
        "wall ms per sample": size.wall / size.samples * 1e3,
        "CPU ms per sample": size.cpu / size.samples * 1e3,
        "own CPU ms per sample": measured.own_ms(size),
        f"of that at {BASE:,}": "-" if times is None else f"{times:.2f}",
        "parent's peak, MB": round(size.parent_peak),
        "largest worker's peak, MB": round(size.worker_peak),
        "memory late / early": f"{size.growth:.2f}",
    }


def main(argv: Sequence[str] = ()) -> None:
    """Measure each size, and after each write the section, so that a later one may be stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop a run after so many")
    arguments = parser.parse_args(argv)
    known = _known(arguments.workers)
    start = known.start if known else measure(START, arguments.workers)
    command = f"python -m benchmarks.scale --sizes {' '.join(map(str, arguments.sizes))}"
    for samples in arguments.sizes:
        size = measure(samples, arguments.workers, minutes=arguments.minutes)
        known = _known(arguments.workers)
        sizes = {one.planned: one for one in known.sizes} if known else {}
        sizes[samples] = size
        today = datetime.date.today().isoformat()
        found = Measured(today, _machine(), arguments.workers, SIDE, start, tuple(sizes.values()))
        store.save(found, store.MEASURED)
        draw(found, PLOT)
        print(results.record("Scale", command, table(found), notes(found), results.RESULTS), flush=True)


def _known(workers: int) -> Measured | None:
    """What was measured here before, with as many workers."""
    try:
        found = store.load(store.MEASURED)
    except FileNotFoundError:
        return None
    return found if (found.machine, found.workers, found.image_side) == (_machine(), workers, SIDE) else None


def _machine() -> str:
    """Without its load, which differs from run to run."""
    return results.machine().partition(", load")[0]


if __name__ == "__main__":
    main(sys.argv[1:])
