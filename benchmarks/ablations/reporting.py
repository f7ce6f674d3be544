"""Where an ablation's figures go: JSON beside the code, a section of RESULTS.md, a plot in docs/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.ablations.runs import ROOT, Sitting
from training.running import sound


def keep(asked: Sitting, name: str, figures: dict[str, Any]) -> None:
    """The figures as JSON, beside the code; those of a quick sitting beside its runs."""
    here = asked.folder if asked.quick else Path(__file__).parent
    tree = sound({"machine": results.machine(), "command": asked.command, **figures})
    (here / f"{name}.json").write_text(json.dumps(tree, indent=1) + "\n")


def section(asked: Sitting, title: str, rows: list[results.Row], notes: list[str], plot: Path) -> None:
    """The section of RESULTS.md; a quick sitting has a RESULTS.md of its own."""
    path = asked.folder / "RESULTS.md" if asked.quick else results.RESULTS
    shown = str(plot) if asked.quick else f"[docs/{plot.name}](../docs/{plot.name})"
    print(results.record(title, asked.command, rows, [*notes, f"plot: {shown}"], path))


def plot_path(asked: Sitting, name: str) -> Path:
    """The PNG's place."""
    return (asked.folder if asked.quick else ROOT / "docs") / f"{'' if name == 'sweep' else 'ablation-'}{name}.png"
