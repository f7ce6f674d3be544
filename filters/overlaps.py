"""Texts that a benchmark has as well: the same words, or a run of n words in common.

Runs of 13 words are what GPT-3's authors looked for (arXiv 2005.14165, appendix C); what is shorter than a run is
compared whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

# Scripts without spaces between words: each letter is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_IMAGE = re.compile(r"<image_\d+>|<image>", re.IGNORECASE)


def words(text: str) -> list[str]:
    """Its words in lower case, without punctuation, accents of width or placeholders of images."""
    return _WORD.findall(unicodedata.normalize("NFKC", _IMAGE.sub(" ", text)).lower())


@dataclass(frozen=True)
class Overlap:
    """How a text overlaps: `text` where all its words are those of a known one, else `ngram`.

    Attributes:
        shared: the words in common.
        where: the known text's name.
    """

    kind: str
    shared: str
    where: str


class KnownTexts:
    """The texts of benchmarks, to be asked about others.

    Args:
        length: n, the words of a run.
        shortest: texts of fewer words are not compared: "make it snowy" is nobody's.
    """

    def __init__(self, length: int = 13, shortest: int = 5) -> None:
        self._length, self._shortest = length, shortest
        self._whole: dict[str, str] = {}
        self._runs: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, texts: Iterable[str], where: str) -> None:
        """Remember texts; `where` is what they are called in an overlap."""
        for text in texts:
            found = words(text)
            if len(found) < self._shortest:
                continue
            self._whole.setdefault(" ".join(found), where)
            for run in self._runs_of(found):
                # The run's hash alone: a benchmark's caption may be long, and there may be millions.
                self._runs.setdefault(hash(run), where)

    def overlap(self, text: str) -> Overlap | None:
        """How `text` overlaps with what is known; None where it does not."""
        found = words(text)
        if len(found) < self._shortest:
            return None
        whole = " ".join(found)
        if whole in self._whole:
            return Overlap("text", whole, self._whole[whole])
        for run in self._runs_of(found):
            if hash(run) in self._runs:
                return Overlap("ngram", " ".join(run), self._runs[hash(run)])
        return None

    def _runs_of(self, found: list[str]) -> Iterable[tuple[str, ...]]:
        for start in range(len(found) - self._length + 1):
            yield tuple(found[start : start + self._length])
