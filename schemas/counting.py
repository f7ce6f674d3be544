"""Counts as they are said."""

from __future__ import annotations


def many(count: int, word: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`; `plural` where it is not the word with an s: `3 entries`."""
    return f"{count:,} {word if count == 1 else plural or f'{word}s'}"
