"""Near-duplicates over a whole dataset, by perceptual hash or by embedding: who is one of whom, and whom to leave out.

A selection over what is stored: it returns ids. Of pictures that are near one another the first is kept, and each that
is near a kept one goes; so no chain of small steps joins what is unlike, and two that are kept are never near.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.near_hashes import Pairs, as_hashes, near_pairs

_ROWS = 2048


def near_by_hash(hashes: Sequence[str], distance: int) -> dict[int, int]:
    """Which pictures go: by number, the kept one that each is near to.

    Args:
        hashes: 16 hex digits each, in the order in which pictures are preferred; empty ones are near nothing.
        distance: at most so many of the 64 bits differ, 0 to 15.
    """
    numbers = np.array([n for n, text in enumerate(hashes) if text], dtype=np.int64)
    values = as_hashes([hashes[n] for n in numbers])
    distinct, first, which = np.unique(values, return_index=True, return_inverse=True)
    # Distinct hashes in the order of their first picture: all of one hash share its fate.
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    gone = _kept_first(len(distinct), near_pairs(distinct[order], distance))
    found: dict[int, int] = {}
    for number, position in enumerate(place[which].tolist()):
        leader = int(first[order[gone.get(position, position)]])
        if leader != number:
            found[int(numbers[number])] = int(numbers[leader])
    return found


def near_by_embedding(vectors: NDArray[np.float32], cosine: float) -> dict[int, int]:
    """The same for unit vectors [n, d] whose cosine is at least `cosine`.

    Every pair is looked at, block by block: n * n * d / 2 multiplications, a minute for 100,000 vectors of 768.
    """
    return _kept_first(len(vectors), _alike(vectors, cosine))


def alike(vectors: NDArray[np.float32], others: NDArray[np.float32], cosine: float) -> Iterator[tuple[int, int, float]]:
    """(number, the nearest of `others`, their cosine) of each vector that has one at least as near as `cosine`."""
    if not len(others):
        return
    for start in range(0, len(vectors), _ROWS):
        products = vectors[start : start + _ROWS] @ others.T
        nearest = products.argmax(axis=1)
        for row, column in enumerate(nearest.tolist()):
            if products[row, column] >= cosine:
                yield start + row, column, float(products[row, column])


def _alike(vectors: NDArray[np.float32], cosine: float) -> Iterator[Pairs]:
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        for other in range(start, len(vectors), _ROWS):
            rows, columns = np.nonzero(block @ vectors[other : other + _ROWS].T >= cosine)
            mine, theirs = rows.astype(np.int64) + start, columns.astype(np.int64) + other
            once = mine < theirs
            yield mine[once], theirs[once], np.zeros(int(once.sum()), np.uint8)


def _kept_first(count: int, pairs: Iterable[Any]) -> dict[int, int]:
    """By number, the kept one that each is near to; numbers are in the order of preference."""
    chunks = [(mine.copy(), theirs.copy()) for mine, theirs, _ in pairs]
    if not chunks:
        return {}
    earlier, later = (np.concatenate([chunk[side] for chunk in chunks]) for side in (0, 1))
    order = np.lexsort((earlier, later))
    gone: dict[int, int] = {}
    for one, other in zip(earlier[order].tolist(), later[order].tolist(), strict=True):
        if one not in gone and other not in gone:
            gone[other] = one
    return gone
