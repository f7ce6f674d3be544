"""Exports of a finished Re-Align output beside a plain copy of its shards in the same run.

    python -m benchmarks.export

Warm page cache. MB/s of payload read; a format that writes images as files writes each once, however many samples have
it, so every image of the corpus differs. Nothing is removed before the end: ext4 is slow to make files where some were
just removed.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import Row, record
from benchmarks.shard_corpus import race, scratch
from shards.commit import ShardSample, write_shard
from shards.export.formats import HOLDS, export
from shards.manifest import write_manifest, write_run
from shards.names import names_of

SAMPLES, PER_SHARD, REPEATS = 1000, 250, 3
LIMIT = "limit: copying the shards"
GOAL = 200
TITLE = "Export"
_BARE = ("genrl", "editrl")
"""Formats that leave most images where they are."""


def measure() -> list[Row]:
    """Medians of all contestants."""
    with scratch() as folder:
        size = _output(folder / "out")
        numbers = itertools.count()

        def exported(name: str) -> Callable[[], None]:
            def go() -> None:
                export(str(folder / "out"), name, str(folder / f"{name}-{next(numbers)}"))

            return go

        def copied() -> None:
            shutil.copytree(folder / "out" / "shards", folder / f"copy-{next(numbers)}")

        names = [name for name in HOLDS if "realign" in HOLDS[name] and name not in _BARE]
        return race({LIMIT: copied, **{name: exported(name) for name in names}}, size, SAMPLES, REPEATS)


def main() -> dict[str, float]:
    """Measure, print, and record in RESULTS.md; returns the numbers that have a goal."""
    rows = measure()
    speeds = {str(row["what"]): float(row["MB/s"]) for row in rows if row["what"] != LIMIT}
    slowest = min(speeds, key=lambda name: speeds[name])
    met = "met" if speeds[slowest] >= GOAL else "missed"
    notes = [
        "every member is compared with its digest on the way",
        f"goal {GOAL} MB/s: {met} (slowest: {slowest}, {speeds[slowest]:.0f})",
    ]
    print(record(TITLE, "python -m benchmarks.export", rows, notes))
    return speeds


def _output(out: Path) -> int:
    """A finished output of samples with two references; returns its payload in bytes."""
    rng = random.Random(0)
    run = {"dataset": "realign", "shards": {"train": SAMPLES // PER_SHARD}}
    run_hash = write_run(str(out), run)
    total = 0
    for name in names_of({"train": SAMPLES // PER_SHARD}):
        samples = []
        for _ in range(PER_SHARD):
            images = [rng.randbytes(rng.randint(80_000, 160_000)) for _ in range(3)]
            view = json.dumps(_view(f"{rng.getrandbits(128):032x}")).encode()
            members = [*zip(("image_1.jpg", "image_2.jpg", "target.jpg"), images, strict=True), ("json", view)]
            total += sum(len(content) for _, content in members)
            samples.append(ShardSample(json.loads(view)["id"], members))
        write_shard(str(out), name, samples, [], run_hash=run_hash, planned=PER_SHARD)
    write_manifest(str(out))
    return total


def _view(key: str) -> dict[str, object]:
    relations = "".join(f"<relation_{n}>Thing {n} is from image_{n}.</relation_{n}>" for n in (1, 2))
    reasoning = {"text": f"<out_caption>A scene.</out_caption>{relations}", "out_caption": "A scene.", "clip_text": 0.3}
    return {
        "id": key,
        "task": "add",
        "instruction": "Put the lamp of image 2 on the table of image 1.",
        "prompt": "<image_1> <image_2> Put the lamp of image 2 on the table of image 1.",
        "references": [{"role": "base"}, {"role": "subject"}],
        "reasonings": [reasoning],
        "scores": {"clip_text": 0.3},
    }


if __name__ == "__main__":
    main()
