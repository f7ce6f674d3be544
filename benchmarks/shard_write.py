"""Shard writing, ours against webdataset's, on the same samples in the same run.

    python -m benchmarks.shard_write

Ours does more: it hashes every member and the tar, syncs to disk, and writes index and rejects.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import Row, record
from benchmarks.shard_corpus import PER_SHARD, Sample, corpus, race, ratio, scratch
from shards.commit import ShardSample, write_shard
from shards.names import ShardName

OURS = "plumbline write_shard (sha256, fsync, index)"
THEIRS = "webdataset ShardWriter (defaults)"
THEIRS_FIXED = "webdataset ShardWriter (mtime=0)"
LIMIT = "limit: write() of the same bytes"
TITLE = "Shard writing"


def measure() -> list[Row]:
    """Medians of all contestants; MB/s of payload."""
    samples = corpus()
    with scratch() as folder:
        contestants: dict[str, Callable[[], None]] = {
            LIMIT: lambda: _plain(_fresh(folder), samples),
            OURS: lambda: _ours(_fresh(folder), samples),
            THEIRS: lambda: _webdataset(_fresh(folder), samples),
            THEIRS_FIXED: lambda: _webdataset(_fresh(folder), samples, mtime=0),
        }
        return race(contestants, sum(s.size for s in samples), len(samples))


def main() -> dict[str, float]:
    """Measure, print, and record in RESULTS.md; returns the numbers that have a goal."""
    rows = measure()
    speed = float(next(row["MB/s"] for row in rows if row["what"] == OURS))
    found = {"MB/s": speed, "times webdataset": ratio(rows, OURS, THEIRS)}
    notes = [
        f"ours / webdataset: {found['times webdataset']:.2f} (goal 1.5); "
        f"/ webdataset with mtime=0: {ratio(rows, OURS, THEIRS_FIXED):.2f}; "
        f"/ the limit: {ratio(rows, OURS, LIMIT):.2f}",
        f"goal 400 MB/s with fsync, index and sha256: {'met' if speed >= 400 else 'missed'} ({speed:.0f})",
    ]
    print(record(TITLE, "python -m benchmarks.shard_write", rows, notes))
    return found


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    return folder / "out"


def _plain(out: Path, samples: list[Sample]) -> None:
    for start in range(0, len(samples), PER_SHARD):
        with open(out / f"{start}.bin", "wb", buffering=1 << 20) as file:
            for s in samples[start : start + PER_SHARD]:
                for image in s.images:
                    file.write(image)
                file.write(s.json)


def _ours(out: Path, samples: list[Sample]) -> None:
    count = -(-len(samples) // PER_SHARD)
    for i in range(count):
        part = [
            ShardSample(
                s.key,
                [*((f"image_{j}.jpg", data) for j, data in enumerate(s.images, 1)), ("json", s.json)],
                {"task": "add", "clip_text": 0.3},
            )
            for s in samples[i * PER_SHARD : (i + 1) * PER_SHARD]
        ]
        columns = [("task", "string"), ("clip_text", "float")]
        name = ShardName("train", i, count)
        write_shard(str(out), name, part, [], run_hash="bench", planned=len(part), columns=columns)  # type: ignore[arg-type]


def _webdataset(out: Path, samples: list[Sample], **options: int) -> None:
    import webdataset

    pattern = str(out / "train-%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=PER_SHARD, maxsize=1e12, verbose=0, **options) as sink:
        for s in samples:
            images = {f"image_{j}.jpg": data for j, data in enumerate(s.images, 1)}
            sink.write({"__key__": s.key, **images, "json": s.json})


if __name__ == "__main__":
    main()
