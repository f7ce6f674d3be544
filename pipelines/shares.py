"""Which shards a process makes: every N-th, on N processes or N machines alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from schemas.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """One of `of` equal shares; `index` counts from 0. It takes every `of`-th shard and 1/`of` of each limit."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str, option: str) -> Share:
        """Read `i/n`, i from 1.

        Raises:
            InputError: naming the option and the form.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"{option} {text}: write it as I/N with I from 1 to N, as in 2/3")
        return cls(int(match[1]) - 1, int(match[2]))

    def divided(self, index: int, of: int) -> Share:
        """The `index`-th of `of` equal parts of this share."""
        return Share(self.index + self.of * index, self.of * of)

    def of_items(self, items: Sequence[T]) -> list[T]:
        """Every `of`-th item, beginning at `index`."""
        return list(items[self.index :: self.of])

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.of}"
