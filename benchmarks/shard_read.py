"""Shard reading, raw members of every sample, ours against webdataset's and Python's tarfile in the same run.

    python -m benchmarks.shard_read

Warm page cache, one process. Each contestant touches the members as bytes-like objects and counts their sizes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import Row, record
from benchmarks.shard_corpus import corpus, race, ratio, scratch
from benchmarks.shard_write import _ours
from shards.reader import read_shard

OURS = "plumbline read_shard (memoryviews)"
COPIED = "plumbline read_shard, each member copied to bytes"
THEIRS = "webdataset raw"
TARFILE = "tarfile stream"
LIMIT = "limit: read() of the files"
TITLE = "Shard reading"


def measure() -> list[Row]:
    """Medians of all contestants; MB/s of payload."""
    samples = corpus()
    size = sum(s.size for s in samples)
    with scratch() as folder:
        _ours(folder, samples)
        tars = sorted(folder.glob("shards/*.tar"))
        readers: dict[str, Callable[[list[Path]], int]] = {
            LIMIT: _plain,
            OURS: _read,
            COPIED: _copied,
            THEIRS: _webdataset,
            TARFILE: _tarfile,
        }
        contestants = {name: _checked(reader, tars, size) for name, reader in readers.items()}
        return race(contestants, size, len(samples))


def main() -> dict[str, float]:
    """Measure, print, and record in RESULTS.md; returns the numbers that have a goal."""
    rows = measure()
    speed = float(next(row["MB/s"] for row in rows if row["what"] == OURS))
    found = {"MB/s": speed, "times webdataset": ratio(rows, OURS, THEIRS)}
    notes = [
        f"ours / webdataset: {found['times webdataset']:.2f}; copied / webdataset: {ratio(rows, COPIED, THEIRS):.2f}",
        f"goal 1,100 MB/s raw: {'met' if speed >= 1100 else 'missed'} ({speed:.0f})",
    ]
    print(record(TITLE, "python -m benchmarks.shard_read", rows, notes))
    return found


def _checked(reader: Callable[[list[Path]], int], tars: list[Path], size: int) -> Callable[[], None]:
    def go() -> None:
        found = reader(tars)
        if found < size:
            raise AssertionError(f"{reader.__name__} saw {found} of {size} bytes")

    return go


def _plain(tars: list[Path]) -> int:
    total = 0
    for tar in tars:
        with open(tar, "rb") as file:
            while block := file.read(1 << 20):
                total += len(block)
    return total


def _read(tars: list[Path]) -> int:
    return sum(len(v) for t in tars for s in read_shard(str(t)) for k, v in s.items() if k != "__key__")


def _copied(tars: list[Path]) -> int:
    return sum(len(bytes(v)) for t in tars for s in read_shard(str(t)) for k, v in s.items() if k != "__key__")


def _webdataset(tars: list[Path]) -> int:
    import webdataset

    data = webdataset.WebDataset([str(t) for t in tars], shardshuffle=False)
    return sum(len(v) for s in data for k, v in s.items() if not k.startswith("__"))


def _tarfile(tars: list[Path]) -> int:
    total = 0
    for path in tars:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                total += len(file.read()) if file else 0
    return total


if __name__ == "__main__":
    main()
