"""Choices that depend on a plan's seed and on nothing else, whatever the Python version or the order of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def number(seed: int, *names: object) -> int:
    """A 63-bit number for (seed, names): the same wherever and whenever it is asked."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def share(seed: int, *names: object) -> float:
    """A number in [0, 1) for (seed, names)."""
    return number(seed, *names) / 2**63


def pick(options: Sequence[T], seed: int, *names: object) -> T:
    """One of `options`, each as likely as the others; repeat an option to make it likelier."""
    return options[number(seed, *names) % len(options)]


def shuffled(items: Sequence[T], seed: int, *names: object) -> list[T]:
    """The items in an order of (seed, names)."""
    return [item for _, _, item in sorted((number(seed, *names, i), i, item) for i, item in enumerate(items))]
