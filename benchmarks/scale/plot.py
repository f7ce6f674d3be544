"""The picture beside the table: what a sample costs in runs of each size, and what a worker holds while they last."""

from __future__ import annotations

from pathlib import Path

from benchmarks.scale.measured import BASE, Measured

PLOT = Path(__file__).with_name("scale.png")
GOAL = 1.1
_COLOURS = ("#9aa7b1", "#3b7ea1", "#1d3557", "#b5533c")


def draw(measured: Measured, path: Path = PLOT) -> None:
    """Write the plot: left CPU milliseconds per sample by the run's size, right the larger worker's memory by time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (cost, memory) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
    sizes = sorted(measured.sizes, key=lambda one: one.samples)
    cost.plot([s.samples for s in sizes], [measured.own_ms(s) for s in sizes], color=_COLOURS[2], marker="o")
    base = measured.size(BASE)
    if base is not None:
        goal = GOAL * measured.own_ms(base)
        cost.axhline(goal, color=_COLOURS[3], linestyle="--", linewidth=1)
        cost.text(sizes[0].samples, goal, f" goal: {GOAL} x that at {BASE:,}", va="top", fontsize=8, color=_COLOURS[3])
    cost.set_xscale("log")
    cost.set_xlabel("samples of the run")
    cost.set_title("own CPU, ms per sample", fontsize=10, loc="left")
    for size, colour in zip(sizes, _COLOURS, strict=False):
        last = len(size.curve) - 1
        through = [100 * i / max(last, 1) for i in range(last + 1)]
        memory.plot(
            through, [resident for _, _, resident in size.curve], color=colour, label=f"{size.samples:,} samples"
        )
    memory.set_xlabel("% of the run's time")
    memory.set_title("resident memory of the larger worker, MB", fontsize=10, loc="left")
    memory.legend(frameon=False, fontsize=8, loc="lower right")
    cost.set_ylim(top=1.3 * max(measured.own_ms(s) for s in sizes))
    for axes in (cost, memory):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
