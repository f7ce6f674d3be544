"""Which images a text names: `image 2`, `image_2`, `the second image`, `<image_2>`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
PLACEHOLDER = re.compile(r"<image_(\d+)>")
"""Stands for an image in an interleaved prompt; in no other text."""

_NUMBERED = re.compile(r"\b(?:image|picture|photo|reference)s?[ _#-]*(\d+)", re.IGNORECASE)
_SERIES = re.compile(r"\b(?:images|pictures|photos|references)\s+(\d+(?:\s*(?:,|and|or|&|to)\s*\d+)+)", re.IGNORECASE)
_ORDINAL = re.compile(
    r"\b(" + "|".join(_ORDINALS) + r"|\d+(?:st|nd|rd|th))\s+(?:\w+\s+)?(?:image|picture|photo|reference)\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"(?:图|图片|图像)\s*(\d+)|第\s*(\d+|[一二三四五六七八九十])\s*[张幅个]")
_CHINESE_DIGITS = "一二三四五六七八九十"


def image_mentions(text: str) -> set[int]:
    """The 1-based numbers of every image that `text` names, in English or Chinese."""
    numbers = {int(m.group(1)) for m in _NUMBERED.finditer(text)}
    for series in _SERIES.finditer(text):
        numbers.update(int(n) for n in re.findall(r"\d+", series.group(1)))
    for m in _ORDINAL.finditer(text):
        word = m.group(1).lower()
        numbers.add(_ORDINALS.index(word) + 1 if word in _ORDINALS else int(re.sub(r"\D", "", word)))
    for m in _CHINESE.finditer(text):
        digits = m.group(1) or m.group(2)
        numbers.add(_CHINESE_DIGITS.index(digits) + 1 if digits in _CHINESE_DIGITS else int(digits))
    return numbers


def beyond(texts: Iterable[str], references: int) -> list[str]:
    """One plain sentence per image named that a sample of `references` images does not have."""
    numbers = sorted({n for text in texts for n in image_mentions(text) if not 1 <= n <= references})
    last = "only image 1" if references == 1 else f"only images 1 to {references}"
    return [f"Image {n} is named, but the sample has {last}." for n in numbers]
