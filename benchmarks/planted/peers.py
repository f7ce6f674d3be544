"""data-juicer beside ours: its filters and its image deduplicator over the very samples that were planted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.annotate.running import peer_python
from benchmarks.planted.counting import NOT_RUN, Outcome
from benchmarks.planted.of_samples import Planted
from benchmarks.planted.of_sets import Copies
from benchmarks.planted.outputs import ROOT, Sample, World

# Neither asks for torch. imagededup's own requirements do, so only what its hashes need is named.
PACKAGES = ("py-data-juicer", "aiohttp", "scipy", "scikit-learn", "PyWavelets")
WITHOUT_THEIR_OWN = ("imagededup", "matplotlib")
PATIENCE = 240
_NOTE = (
    "data-juicer {version}: image_aspect_ratio_filter, image_size_filter, special_characters_filter and "
    "character_repetition_filter with their defaults over instruction, caption and target, image_deduplicator (phash) "
    "over targets; "
    "image_text_similarity_filter and its other CLIP filters not run: their weights cannot be fetched here"
)
Key = tuple[str, str]


def beside(
    outcomes: Sequence[Outcome], planted: Sequence[tuple[World, Planted]], copies: Sequence[Copies], folder: Path
) -> tuple[list[Outcome], str]:
    """The outcomes with the peer's column, and what is to be said of it; as they were where it cannot be had."""
    python = peer_python("datajuicer", PACKAGES, ROOT / ".bench")
    if python is None or not _with_hashes(python):
        return list(outcomes), "data-juicer: not run, it cannot be installed here"
    rows, deduplicated = _rows(planted), {f"{c.world} / {c.defect}": _compared(c, folder) for c in copies}
    found, said = _ran(python, {"each": rows, "deduplicated": deduplicated}, folder)
    if found is None:
        return list(outcomes), f"data-juicer: not run, {said}"
    cells = {**_of_each(rows, set(found["each"])), **_of_copies(copies, found["deduplicated"])}
    marked = [replace(o, peer=cells.get((o.world, o.defect), NOT_RUN)) for o in outcomes]
    return marked, _NOTE.format(version=said)


def _with_hashes(python: str) -> bool:
    if subprocess.run(
        [python, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('imagededup'))"]
    ).returncode:
        command = [python, "-m", "pip", "install", "-q", "--no-deps", *WITHOUT_THEIR_OWN]
        return subprocess.run(command).returncode == 0
    return True


def _ran(python: str, given: dict[str, Any], folder: Path) -> tuple[dict[str, Any] | None, str]:
    """(what it dropped, its version), or (None, why it did not run)."""
    asked, answered = folder / "peer-in.json", folder / "peer-out.json"
    asked.write_text(json.dumps(given))
    script = Path(__file__).with_name("contestants") / "datajuicer.py"
    # Offline: it otherwise installs and fetches what an operator lacks.
    command = ["env", "HF_HUB_OFFLINE=1", "TQDM_DISABLE=1", python, str(script), str(asked), str(answered)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder)
    except subprocess.TimeoutExpired:
        return None, f"no answer in {PATIENCE} s"
    if ran.returncode or not answered.exists():
        return None, f"it ended with {ran.returncode}: {(ran.stderr.strip().splitlines() or ['no word'])[-1][:120]}"
    return json.loads(answered.read_text()), _version(python)


def _version(python: str) -> str:
    word = "import importlib.metadata as m; print(m.version('py-data-juicer'))"
    return subprocess.run([python, "-c", word], capture_output=True, text=True).stdout.strip()


def _rows(planted: Sequence[tuple[World, Planted]]) -> list[dict[str, Any]]:
    rows = []
    for world, one in planted:
        for n, (spoilt, clean) in enumerate(zip(one.samples, one.clean, strict=True)):
            for kind, sample in (("planted", spoilt), ("clean", world.samples[clean])):
                rows.append(_row(f"{world.name}|{one.defect.name}|{kind}|{n}", sample))
    return rows


def _row(id: str, sample: Sample) -> dict[str, Any]:
    caption = sample.reasoning.partition("<out_caption>")[2].partition("</out_caption>")[0]
    return {"id": id, "text": f"{sample.instruction} {caption}", "images": [sample.target.uri]}


def _of_each(rows: Sequence[dict[str, Any]], dropped: set[str]) -> dict[Key, str]:
    counts: dict[Key, dict[str, list[bool]]] = {}
    for row in rows:
        world, defect, kind, _ = row["id"].split("|")
        counts.setdefault((world, defect), {}).setdefault(kind, []).append(row["id"] in dropped)
    return {key: ", ".join(f"{sum(of[k])}/{len(of[k])}" for k in ("planted", "clean")) for key, of in counts.items()}


def _compared(copies: Copies, folder: Path) -> list[dict[str, Any]]:
    """The clean ones first: of two that are alike the later is dropped."""
    rows = [{"id": f"clean|{n}", "text": "a", "images": [uri]} for n, uri in enumerate(copies.clean)]
    for n, data in enumerate(copies.copies):
        path = folder / f"copy-{copies.world}-{n}.jpg"
        path.write_bytes(data)
        rows.append({"id": f"planted|{n}", "text": "a", "images": [str(path)]})
    return rows


def _of_copies(copies: Sequence[Copies], dropped: dict[str, list[str]]) -> dict[Key, str]:
    cells = {}
    for one in copies:
        gone = dropped[f"{one.world} / {one.defect}"]
        found = sum(id.startswith("planted") for id in gone)
        cells[one.world, one.defect] = f"{found}/{len(one.copies)}, {len(gone) - found}/{len(one.clean)}"
    return cells
