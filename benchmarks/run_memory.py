"""Memory of a long offline run: the whole command, its resident memory sampled once a second.

python -m benchmarks.run_memory [SAMPLES]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.results import Row, record

SAMPLES = 20_000
SHARD = 500


def measure(samples: int = SAMPLES) -> tuple[list[Row], list[str]]:
    """(rows, notes): resident memory at each tenth of the run, and how flat it is."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "cli.main", "realign", "configs/toy.yaml", "--out", f"{folder}/out"),
            *("--set", f"samples={samples}", "--set", f"output.shard_samples={SHARD}", "--set", "reasonings=2"),
            *("--set", f"ledger={folder}/ledger", "--set", "filters={quality: {min_sharpness: null}}"),
        ]
        seen, seconds = _watched(command, Path(folder) / "out" / "shards")
    rows: list[Row] = []
    for tenth in range(1, 11):
        part = [rss for share, rss in seen if (tenth - 1) / 10 < share <= tenth / 10]
        if part:
            rows.append({"shards finished": f"{tenth * 10} %", "resident, MB": round(max(part))})
    early = max((rss for share, rss in seen if 0.05 <= share <= 0.3), default=0.0)
    late = max((rss for share, rss in seen if share >= 0.7), default=0.0)
    notes = [
        f"{samples:,} samples planned in {seconds:,.0f} s ({samples / seconds:,.0f} samples/s)",
        "offline provider, toy world, quality filter only",
        f"highest in the last 30 % / highest between 5 % and 30 %: {late / max(early, 1):.2f} (goal: flat)",
    ]
    return rows, notes


def _watched(command: list[str], shards: Path) -> tuple[list[tuple[float, float]], float]:
    """((share of shards finished, resident MB) once a second, seconds in all)."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
    reader.start()
    seen = []
    while process.poll() is None:
        names = [p.name for p in shards.glob("*.parquet")] if shards.exists() else []
        of = int(re.search(r"-of-(\d+)", names[0])[1]) if names else 1  # type: ignore[index]
        seen.append((len(names) / of if names else 0.0, _resident(process.pid)))
        time.sleep(1.0)
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}: {''.join(errors[-3:])}")
    return seen, time.monotonic() - began


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Measure and write the section."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else SAMPLES
    rows, notes = measure(samples)
    print(record("Memory of a long run", f"python -m benchmarks.run_memory {samples}", rows, notes))


if __name__ == "__main__":
    main()
