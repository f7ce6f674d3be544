"""In what order a split is read, and whose turn each sample is: pure functions of counts, seed and epoch.

An epoch is one sequence of sample numbers. Rank r of n takes every n-th of them, from the r-th on, so after k samples
on every rank exactly the first k * n of the sequence have been given out: a position is one number, whatever the
number of ranks and workers, and it stays good when they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Even = Literal["no", "drop", "repeat"]
BLOCK = 64
"""Samples that lie side by side in a tar and stay in one window."""


def epoch_order(counts: Sequence[int], seed: int | None, epoch: int, window: int | None) -> Numbers:
    """The sequence of one epoch: each number from 0 to sum(counts) - 1 once.

    Sorted by hashes of the numbers, which are arithmetic alone: no other NumPy, machine or version changes an order.

    Args:
        counts: samples of each shard, in order.
        seed: None: as they are stored, in every epoch.
        window: None: a permutation of the whole split. Else blocks of `BLOCK` neighbours are shuffled, and then the
            samples within each `window` of the sequence: what is read at about the same time lies in few places.
    """
    total = int(sum(counts))
    numbers = np.arange(total, dtype=np.int64)
    if seed is None:
        return numbers
    if window is None:
        return np.argsort(_hashed(numbers, seed, epoch, 1), kind="stable").astype(np.int64)
    starts = np.cumsum([0, *counts])[:-1]
    within = numbers - np.repeat(starts, counts)
    # A block is called by its first sample, so it is the same whatever the other shards hold.
    blocks = numbers - within % BLOCK
    sequence = numbers[np.lexsort((numbers, _hashed(blocks, seed, epoch, 2)))]
    return sequence[np.lexsort((_hashed(sequence, seed, epoch, 3), numbers // window))]


def share_of_rank(sequence: Numbers, rank: int, world: int, even: Even = "no") -> Numbers:
    """The samples of one rank, in order.

    Without `even` nothing is lost or repeated, and the first ranks have one more where `world` does not divide the
    count. `drop` leaves the remainder of the sequence out, `repeat` fills up from its beginning: then all have alike.
    """
    over = len(sequence) % world
    if even == "drop" and over:
        sequence = sequence[:-over]
    elif even == "repeat" and over:
        sequence = np.concatenate([sequence, np.resize(sequence, world - over)])
    return sequence[rank::world]


def _hashed(numbers: Numbers, seed: int, epoch: int, use: int) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood 2014) over each number, under a key of its own."""
    key = _mixed(np.array([seed & (2**64 - 1)], dtype=np.uint64))
    for part in (epoch, use):
        key = _mixed(key ^ np.uint64(part))
    with np.errstate(over="ignore"):
        spread = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return _mixed(_mixed(spread + key) ^ key)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
