"""Random draws that depend on a key and on nothing else, so that any plan can be made anywhere."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np

    Words = np.ndarray[Any, np.dtype[np.uint64]]
    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

Item = TypeVar("Item")
_WORDS, _SALT = struct.Struct("<8Q"), struct.Struct("<Q")
_MASK = (1 << 64) - 1


def _block(key: bytes, number: int) -> bytes:
    """Eight words: BLAKE2b of the key, salted with the block's number. Streams share nothing."""
    return blake2b(key, salt=_SALT.pack(number)).digest()


class Draws:
    """The stream of one key, one number after the other."""

    __slots__ = ("_block", "_key", "_words")

    def __init__(self, key: str) -> None:
        self._key, self._block = key.encode(), 0
        self._words: list[int] = []

    def word(self) -> int:
        """A number from 0 to 2^64 - 1."""
        if not self._words:
            self._words += _WORDS.unpack(_block(self._key, self._block))
            self._block += 1
        return self._words.pop()

    def below(self, n: int) -> int:
        """A number from 0 to n - 1 (its bias, n / 2^64, is nothing at the size of any pool)."""
        return self.word() * n >> 64

    def split(self, n: int) -> tuple[int, int]:
        """(a number below n, what is left of the word): two draws from one word, for a small n."""
        product = self.word() * n
        return product >> 64, product & _MASK


def words(keys: Sequence[str], each: int) -> Words:
    """The first `each` words of every key's stream, one row per key."""
    import numpy as np

    blocks = -(-each // 8)
    data = b"".join([_block(key.encode(), number) for key in keys for number in range(blocks)])
    return np.frombuffer(data, dtype="<u8").reshape(len(keys), 8 * blocks)[:, :each]


def units(numbers: Words) -> Floats:
    """Each word as a number in [0, 1), of the 53 bits that a float holds."""
    import numpy as np

    return (numbers >> np.uint64(11)) * 2.0**-53


class Weighted(Generic[Item]):
    """Several things to draw from by weight; those of weight 0 are never drawn.

    `weights` must have one above 0.
    """

    def __init__(self, weights: Mapping[Item, float]) -> None:
        self.items = [item for item, weight in weights.items() if weight > 0]
        ends = list(accumulate(weights[item] for item in self.items))
        self._ends = [end / ends[-1] for end in ends[:-1]]

    def numbers(self, drawn: Floats) -> Integers:
        """For each number in [0, 1), the place in `items` of what it draws."""
        import numpy as np

        return np.searchsorted(self._ends, drawn, side="right")
