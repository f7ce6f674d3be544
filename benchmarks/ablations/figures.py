"""Means over seeds and held-out samples with their intervals, tables of them, and plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.bootstrap import Bootstrap, Estimate

INK, LIGHT = "#222222", "#dddddd"
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")


def over(rows: Sequence[Sequence[float | None]], resamples: int = 2000) -> Estimate:
    """The mean of [seeds, samples] and its 95 % interval, seeds and samples both drawn anew.

    A crossed bootstrap: a resample takes as many seeds and as many columns, each with replacement, and a column means
    the same sample for every seed. None and NaN (no reward, say) are passed over. Of one seed the interval is that of
    the samples alone. With a few seeds it is too narrow rather than too wide: three know little of a spread.
    """
    return _estimate(_matrix(rows), resamples)


def difference(
    one: Sequence[Sequence[float | None]], other: Sequence[Sequence[float | None]], resamples: int = 2000
) -> Estimate:
    """The mean of one - other, paired by seed and sample; see `over`."""
    return _estimate(_matrix(one) - _matrix(other), resamples)


def _matrix(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    width = max(len(row) for row in rows)
    found = np.full((len(rows), width), np.nan)
    for number, row in enumerate(rows):
        found[number, : len(row)] = [math.nan if value is None else value for value in row]
    return found


def _estimate(values: np.ndarray, resamples: int) -> Estimate:
    there = np.isfinite(values)
    if not there.any():
        return Estimate(math.nan)
    rng = np.random.default_rng(0)
    seeds, samples = values.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).astype(np.float64)
    of_samples = rng.multinomial(samples, np.full(samples, 1 / samples), size=resamples).astype(np.float64)
    total = np.einsum("rs,sn,rn->r", of_seeds, np.where(there, values, 0), of_samples, optimize=True)
    count = np.einsum("rs,sn,rn->r", of_seeds, there.astype(np.float64), of_samples, optimize=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = total / count
    return Bootstrap(resamples).estimate(float(values[there].mean()), replicates)


def told(estimate: Estimate, digits: int = 3) -> str:
    """`0.812 (0.790 to 0.833)`; `-` where there is nothing."""
    if math.isnan(estimate.value):
        return "-"
    value = f"{estimate.value:.{digits}f}"
    if math.isnan(estimate.low):
        return value
    return f"{value} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def clear(estimate: Estimate) -> str:
    """What an interval of a difference says."""
    if math.isnan(estimate.low):
        return "no interval"
    return "rises" if estimate.low > 0 else "falls" if estimate.high < 0 else "not told apart"


def logged(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float | None]]:
    """The steps at which a run wrote a figure, and the figure."""
    lines = [line for line in metrics if key in line]
    return [line["step"] for line in lines], [line[key] for line in lines]


def bars(axis: Any, names: Sequence[str], estimates: Sequence[Estimate], title: str, first: int = 0) -> None:
    """One bar an arm, with its interval; an arm without a figure has none.

    Args:
        first: number of the first arm's colour.
    """
    at = np.arange(len(names))
    for place, one in zip(at, estimates, strict=True):
        if math.isnan(one.value):
            axis.text(place, 0, "none", ha="center", va="bottom", fontsize=7, color=INK)
            continue
        axis.bar(place, one.value, width=0.7, color=COLOURS[(first + place) % len(COLOURS)])
        if not math.isnan(one.low):
            axis.vlines(place, one.low, one.high, color=INK, linewidth=1.5)
    long = max(len(name) for name in names) > 8
    axis.set_xticks(at, names, rotation=35 if long else 0, ha="right" if long else "center", fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.set_xlim(-0.6, len(names) - 0.4)
    if not any(one.value or one.high > 0 for one in estimates):
        axis.set_ylim(0, 0.1)  # nothing but zeros
    _plain(axis)


def curves(
    axis: Any,
    lines: Mapping[str, tuple[Sequence[float], Sequence[Estimate]]],
    x: str,
    title: str,
    first: int = 0,
) -> None:
    """A line with its band for each arm."""
    for number, (name, (steps, estimates)) in enumerate(lines.items()):
        colour = COLOURS[(first + number) % len(COLOURS)]
        axis.plot(steps, [one.value for one in estimates], color=colour, label=name, marker="o", markersize=3)
        axis.fill_between(
            list(steps), [e.low for e in estimates], [e.high for e in estimates], color=colour, alpha=0.15, linewidth=0
        )
    axis.set_xlabel(x, fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    _plain(axis)


def sheet(rows: int, columns: int, title: str) -> tuple[Any, Any]:
    """(figure, axes [rows, columns]) on white."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.9 * rows), squeeze=False, facecolor="white")
    figure.suptitle(title, fontsize=11)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write the PNG, without a date in it."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _plain(axis: Any) -> None:
    axis.set_facecolor("white")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color=LIGHT, linewidth=0.6)
    axis.set_axisbelow(True)
