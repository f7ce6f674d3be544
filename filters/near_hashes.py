"""Perceptual hashes that lie near one another, among millions: exact, and in memory that does not grow with the pairs.

Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): 64 bits are cut into four parts of 16; two hashes within
distance d agree in one of the parts but for d // 4 bits. So each part is a table, and each hash looks at the places
within that radius of its own: seventeen for d = 7, and not at the other 65,519.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Pairs = tuple[Numbers, Numbers, NDArray[np.uint8]]

FARTHEST = 15
"""Beyond it unlike pictures are near one another, and the tables no longer save any work."""
_PARTS, _BITS = 4, 16
_AT_ONCE = 1 << 18
"""Candidates looked at together: a few megabytes, which stay near the processor."""


def as_hashes(texts: Sequence[str]) -> Hashes:
    """Hashes of 16 hex digits as numbers.

    Raises:
        ValueError: one is no hash.
    """
    return np.array([int(text, 16) for text in texts], dtype=np.uint64)


def near_pairs(hashes: Hashes, distance: int) -> Iterator[Pairs]:
    """Each pair i < j within `distance` bits, once, in chunks of (i, j, how far). Equal hashes are pairs, too.

    Where many hashes are equal there are many pairs: pass distinct ones (`numpy.unique`).
    """
    for mine, theirs, far in _found(hashes, hashes, distance, within=True):
        yield np.minimum(mine, theirs), np.maximum(mine, theirs), far


def near_matches(hashes: Hashes, others: Hashes, distance: int) -> Iterator[Pairs]:
    """Each pair (i of `hashes`, j of `others`) within `distance` bits, once, in chunks of (i, j, how far)."""
    yield from _found(hashes, others, distance, within=False)


def _found(hashes: Hashes, others: Hashes, distance: int, within: bool) -> Iterator[Pairs]:
    """Pairs of both; of one and the same set (`within`) each pair once, in either order."""
    if not 0 <= distance <= FARTHEST:
        raise ValueError(f"distance must be from 0 to {FARTHEST}, not {distance}")
    if not len(hashes) or not len(others):
        return
    radius = distance // _PARTS
    for part in range(_PARTS):
        # In the order of the table both sides are read from front to back.
        rank, order = (np.argsort(_part(side, part), kind="stable") for side in (hashes, others))
        left, right = hashes[rank], others[order]
        own = _part(left, part)
        starts = np.searchsorted(_part(right, part), np.arange((1 << _BITS) + 1))
        for flip in _flips(radius):
            places = own ^ flip
            rows = np.flatnonzero(own < places) if within and flip else np.arange(len(own))
            for mine, theirs in _candidates(rows, starts[places[rows]], starts[places[rows] + 1]):
                away = left[mine] ^ right[theirs]
                near = np.bitwise_count(away) <= distance
                if within and not flip:
                    near &= mine < theirs
                near = np.flatnonzero(near)
                # A pair that an earlier part has led to is not told again.
                near = near[~_seen(away[near], part, radius)]
                if len(near):
                    yield rank[mine[near]], order[theirs[near]], np.bitwise_count(away[near])


def _candidates(rows: Numbers, first: Numbers, after: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """(row, j) for every j between a row's two places in the table, so many at once that memory is bounded."""
    counts = after - first
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        part = counts[begin:end]
        total = int(part.sum())
        if total:
            skip = first[begin:end] - (ends[begin:end] - part - done)
            yield np.repeat(rows[begin:end], part), np.arange(total, dtype=np.int64) + np.repeat(skip, part)
        begin = end


def _seen(away: Hashes, part: int, radius: int) -> NDArray[np.bool_]:
    found = np.zeros(len(away), bool)
    for earlier in range(part):
        found |= np.bitwise_count(_part(away, earlier)) <= radius
    return found


def _part(hashes: Hashes, part: int) -> Any:
    return ((hashes >> np.uint64(part * _BITS)) & np.uint64((1 << _BITS) - 1)).astype(np.int64)


def _flips(radius: int) -> list[int]:
    """Every way to change at most so many of a part's bits."""
    return [sum(1 << bit for bit in bits) for count in range(radius + 1) for bits in combinations(range(_BITS), count)]
