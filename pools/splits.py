"""What belongs together stays in one split: groups of inputs that share something, and each group's place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pools.draws import units, words

if TYPE_CHECKING:
    import numpy as np

    Codes = np.ndarray[Any, np.dtype[np.int64]]


def same_text(text: str) -> str:
    """What texts have in common that differ only in case and white space; they count as one."""
    return " ".join(text.split()).casefold()


def planned_per_split(samples: int, splits: Mapping[str, float]) -> dict[str, int]:
    """How many samples each split plans, divided by largest remainder; they add up to `samples`."""
    whole = sum(splits.values())
    exact = {split: samples * share / whole for split, share in splits.items()}
    counts = {split: int(value) for split, value in exact.items()}
    by_remainder = sorted(exact, key=lambda split: (counts[split] - exact[split], split))
    for split in by_remainder[: samples - sum(counts.values())]:
        counts[split] += 1
    return counts


def groups(connected: Iterable[Sequence[int]], count: int) -> list[int]:
    """For each of `count` things the least one that it is connected with, where each of `connected` names some.

    Union-find with path halving; the lesser root always wins, so that the answer depends on no order.
    """
    root = list(range(count))

    def find(thing: int) -> int:
        while root[thing] != thing:
            root[thing] = thing = root[root[thing]]
        return thing

    for first, *others in connected:
        for other in others:
            one, two = find(first), find(other)
            if one < two:
                root[two] = one
            else:
                root[one] = two
    return [find(thing) for thing in range(count)]


def split_numbers(subjects: Sequence[str], seed: int, shares: Sequence[float]) -> Codes:
    """The number of each subject's split: its point in [0, 1), a hash of seed and subject, against the shares."""
    import numpy as np

    if len(shares) == 1:
        return np.zeros(len(subjects), dtype=np.int64)
    ends = np.cumsum(shares)
    points = units(words([f"{seed}/{subject}" for subject in subjects], 1)[:, 0])
    numbers: Codes = np.minimum(np.searchsorted(ends, points * ends[-1], side="right"), len(ends) - 1)
    return numbers
