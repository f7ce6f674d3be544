"""Counts of what was found, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from benchmarks.results import Row

GOAL_RECALL, GOAL_FALSE = 0.90, 0.05
_Z = 1.959964
NOT_RUN = "not run"


@dataclass(frozen=True)
class Share:
    """`found` of `of`."""

    found: int
    of: int

    @property
    def rate(self) -> float:
        return self.found / self.of if self.of else 0.0

    def __str__(self) -> str:
        """`18/20 = 0.90 (0.70-0.97)`; `-` of nothing."""
        if not self.of:
            return "-"
        low, high = wilson(self.found, self.of)
        return f"{self.found}/{self.of} = {self.rate:.2f} ({low:.2f}-{high:.2f})"


@dataclass(frozen=True)
class Outcome:
    """What became of one defect in one world.

    Attributes:
        check: what is meant to find it; empty where nothing of ours is.
        recall: planted ones that `check` found.
        anything: planted ones that any check found.
        false: clean ones, of those it could have been planted in, that `check` rejects.
        missing: why `check` could not run here; empty where it ran.
    """

    world: str
    defect: str
    check: str
    recall: Share
    anything: Share
    false: Share
    missing: str = ""
    peer: str = NOT_RUN

    @property
    def met(self) -> str:
        """Whether the goal is met, in a word."""
        if not self.recall.of:
            return "not planted"
        if self.missing or not self.check:
            return "nothing finds it" if not self.check else "not computed"
        good = self.recall.rate >= GOAL_RECALL and self.false.rate <= GOAL_FALSE
        return "met" if good else "missed"

    def row(self) -> Row:
        none = self.missing or not self.check
        return {
            "world": self.world,
            "defect": self.defect,
            "check": self.missing or self.check or "none",
            "found by it (95 %)": "-" if none else str(self.recall),
            "found by any": str(self.anything),
            "clean rejected by it (95 %)": "-" if none else str(self.false),
            "goal": self.met,
            "data-juicer: found, clean dropped": self.peer,
        }


def wilson(found: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which holds for shares near 0 and 1 and for few samples."""
    rate, z2 = found / of, _Z * _Z
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    # At either end the bound is the rate itself, whatever floating point makes of it.
    return (0.0 if found == 0 else max(0.0, middle - half)), (1.0 if found == of else min(1.0, middle + half))
