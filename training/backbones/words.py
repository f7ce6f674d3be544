"""Words to numbers for the toy backbone: the vocabulary is that of the texts it was made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, END, UNKNOWN = 0, 1, 2
_SPECIAL = ("<pad>", "<end>", "<unk>")
_TOKEN = re.compile(r"</?[a-z]\w*>|[^\W_]+(?:[_'’-]\w+)*|[^\w\s]")
_OPENING, _CLOSING = re.compile(r"(<[a-z]\w*>) "), re.compile(r" (</\w+>|[.,;:!?)])")
_BETWEEN_TAGS = re.compile(r"(</\w+>) (?=<)")


def tokens(text: str) -> list[str]:
    """Tags, words and single signs, in lower case."""
    return _TOKEN.findall(text.lower())


class Words:
    """A closed vocabulary; a word outside it is `<unk>`.

    Args:
        words: in the order of their numbers, the special ones left out.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._all = (*_SPECIAL, *self.words)
        self._numbers = {word: number for number, word in enumerate(self._all)}

    @classmethod
    def of(cls, texts: Iterable[str], most: int = 4096) -> Words:
        """The vocabulary of some texts: their `most` frequent words, the frequent first."""
        counts = Counter(word for text in texts for word in tokens(text))
        return cls([word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]])

    def __len__(self) -> int:
        return len(self._all)

    def ids(self, text: str) -> list[int]:
        """One number per token, without an end mark."""
        return [self._numbers.get(word, UNKNOWN) for word in tokens(text)]

    def text(self, ids: Iterable[int]) -> str:
        """Numbers as text, up to the end mark; no space where a tag opens, closes, or a sign follows."""
        words = []
        for number in ids:
            if number == END:
                break
            if number != PAD:
                words.append(self._all[number])
        return _BETWEEN_TAGS.sub(r"\1", _CLOSING.sub(r"\1", _OPENING.sub(r"\1", " ".join(words))))
