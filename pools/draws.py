"""Random draws that depend on a key and on nothing else, so that any plan can be made anywhere."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")
_WORDS = struct.Struct("<8Q")


class Draws:
    """A stream of 64-bit numbers: block i is BLAKE2b of the key, salted with i. Nothing is shared between streams."""

    __slots__ = ("_block", "_key", "_words")

    def __init__(self, key: str) -> None:
        self._key, self._block, self._words = key.encode(), 0, list[int]()

    def word(self) -> int:
        """A number from 0 to 2^64 - 1."""
        if not self._words:
            self._words = list(_WORDS.unpack(blake2b(self._key, salt=struct.pack("<Q", self._block)).digest()))
            self._block += 1
        return self._words.pop()

    def below(self, n: int) -> int:
        """A number from 0 to n - 1 (its bias, n / 2^64, is nothing at the size of any pool)."""
        return self.word() * n >> 64

    def unit(self) -> float:
        """A number in [0, 1)."""
        return (self.word() >> 11) / (1 << 53)


class Weighted(Generic[Item]):
    """One of several things, by weight; those of weight 0 are never drawn.

    `weights` must have one above 0.
    """

    def __init__(self, weights: Mapping[Item, float]) -> None:
        self.items = [item for item, weight in weights.items() if weight > 0]
        self._ends = list(accumulate(weights[item] for item in self.items))

    def draw(self, draws: Draws) -> Item:
        if len(self.items) == 1:
            return self.items[0]
        return self.items[min(bisect_right(self._ends, draws.unit() * self._ends[-1]), len(self.items) - 1)]
