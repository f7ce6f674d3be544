"""The same small dataset made in every way there is, and the hash of its bytes for each: `make same-bytes`.

    python -m tests.servers.same_bytes

Ends with 1 where two of them differ. What is hashed: run.json, every tar, every index, and the manifest's counts.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from cli.outputs import run_merge
from shards.manifest import read_manifest
from shards.verify import verify
from tests.servers.job_service import JobService, job_service, worker_pool
from tests.servers.runs import attempt, digests, drawn

SAMPLES = ("samples=40", "output.shard_samples=10")
SLICES = 4
Way = Callable[[Path], None]


def ways(service: JobService, pool: str) -> dict[str, Way]:
    """What is done to make the dataset in a folder, by what it is called."""
    here = service.options("LOOPBACK")
    far = service.options("EXTERNAL", f"--environment_config={pool}", "--num_workers=1")
    return {
        "FnApiRunner, 1 worker": lambda folder: _made(folder),
        "FnApiRunner, --workers 2": lambda folder: _made(folder, workers=2),
        "FnApiRunner, every bundle twice": lambda folder: _made(folder, ["--direct_runner_bundle_repeat=1"]),
        "job service, LOOPBACK": lambda folder: _made(folder, here),
        "job service, LOOPBACK, --workers 2": lambda folder: _made(folder, here, workers=2),
        "job service, workers of its own": lambda folder: _made(folder, far),
        f"{SLICES} slices merged": _sliced,
    }


def _made(folder: Path, beam: Sequence[str] = (), workers: int = 1, part: str = "1/1", out: str = "out") -> None:
    ended = attempt(folder / out, drawn("realign", folder / "ledger", *SAMPLES), beam, part=part, workers=workers)
    if ended != (0, ""):
        raise RuntimeError(f"it ended with {ended}")


def _sliced(folder: Path) -> None:
    parts = [f"part{i}" for i in range(1, SLICES + 1)]
    for i, part in enumerate(parts, 1):
        _made(folder, part=f"{i}/{SLICES}", out=part)
    run_merge([str(folder / part) for part in parts], str(folder / "out"))


def hashed(out: Path) -> str:
    """One hash of an output's bytes and counts; `verify` has found nothing."""
    manifest = read_manifest(str(out))
    if manifest is None or (problems := verify(str(out))):
        raise RuntimeError(f"{out}: {problems[0] if manifest else 'has no manifest'}")
    whole = {**digests(out), "counts": manifest["counts"], "reasons": manifest["rejected_by_reason"]}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """Print a line for each way; 1 where they are not all the same."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as folder, job_service() as service, worker_pool() as pool:
        for number, (name, make) in enumerate(ways(service, pool).items()):
            where, said, began = Path(folder, str(number)), StringIO(), time.monotonic()
            try:
                with redirect_stdout(said), redirect_stderr(said):
                    make(where)
                found[name] = hashed(where / "out")
            except Exception as error:  # noqa: BLE001 - the table goes on; what it was stands in its line
                found[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(f"{found[name]:<64}  {name} ({time.monotonic() - began:.0f} s)", flush=True)
    same = len(set(found.values())) == 1
    print(f"{len(found)} ways, {'the same bytes' if same else 'NOT the same bytes'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
