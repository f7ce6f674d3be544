"""What was measured, kept as JSON beside the plot: docs/scale.md takes the pipeline's own time from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MEASURED = Path(__file__).with_name("measured.json")
BASE = 1_000
"""The size that others are compared with."""


@dataclass(frozen=True)
class Size:
    """A run of so many samples.

    Attributes:
        planned: more than `samples` where the run was stopped; `samples` are then those of its finished shards.
        cpu: user and system seconds of all its processes.
        parent_peak, worker_peak: the most resident memory, MB; of the largest worker.
        growth: a worker's highest memory late in the run / early in it.
        curve: [share of the shards finished, CPU seconds so far, a worker's memory in MB], some sixty points.
    """

    samples: int
    planned: int
    wall: float
    cpu: float
    parent_peak: float
    worker_peak: float
    growth: float
    curve: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Measured:
    """Runs of several sizes on one machine.

    Attributes:
        start: a run of next to nothing: what three processes take to begin and to end.
        image_side: pixels of references and targets.
    """

    date: str
    machine: str
    workers: int
    image_side: int
    start: Size
    sizes: tuple[Size, ...]

    def size(self, samples: int) -> Size | None:
        """The run of so many samples, where there was one."""
        return next((one for one in self.sizes if one.samples == samples), None)

    @property
    def largest(self) -> Size:
        return max(self.sizes, key=lambda one: one.samples)

    def own_ms(self, size: Size) -> float:
        """CPU milliseconds per sample beyond what the processes take to start."""
        return (size.cpu - self.start.cpu) / (size.samples - self.start.samples) * 1e3

    def times_base(self, size: Size) -> float | None:
        """`own_ms` of a size to that of `BASE` samples."""
        base = self.size(BASE)
        return self.own_ms(size) / self.own_ms(base) if base else None


def save(measured: Measured, path: Path = MEASURED) -> None:
    """Write it."""
    path.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")


def load(path: Path = MEASURED) -> Measured:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: nothing was measured yet.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    sizes = tuple(_size(one) for one in found.pop("sizes"))
    return Measured(**{**found, "start": _size(found["start"]), "sizes": sizes})


def _size(found: dict[str, object]) -> Size:
    points: Sequence[Sequence[float]] = found.pop("curve")  # type: ignore[assignment]
    return Size(**found, curve=tuple((p[0], p[1], p[2]) for p in points))  # type: ignore[arg-type]
