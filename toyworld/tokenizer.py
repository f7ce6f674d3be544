"""Words to numbers for the tiny CLIP; text outside the vocabulary is refused, never guessed at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toyworld.captions import words

if TYPE_CHECKING:
    import torch

CONTEXT_LENGTH = 64
VOCABULARY_SIZE = 128
_PAD, _START, _FIRST_WORD = 0, 1, 2
_END = VOCABULARY_SIZE - 1
"""open_clip pools the text at its highest id, so the end mark has the highest."""


class OutOfVocabulary(ValueError):
    """Text with words that the toy world does not have. `words` names them, in order of appearance."""

    def __init__(self, words: Sequence[str]) -> None:
        named = ", ".join(repr(w) for w in words)
        super().__init__(f"outside the toy world's vocabulary: {named}")
        self.words = tuple(words)


class ToyTokenizer:
    """Called as open_clip's tokenizers are: texts in, a LongTensor [len(texts), context_length] out.

    Example:
        >>> ToyTokenizer()(["a red star"]).shape
        torch.Size([1, 64])
    """

    context_length = CONTEXT_LENGTH

    def __init__(self) -> None:
        self._ids = {word: i for i, word in enumerate(words(), _FIRST_WORD)}
        if len(self._ids) + _FIRST_WORD > _END:
            raise ValueError(f"{len(self._ids)} words do not fit a vocabulary of {VOCABULARY_SIZE}")

    def ids(self, text: str) -> list[int]:
        """The ids of `text` with its start and end marks, uncut.

        Raises:
            OutOfVocabulary: naming every unknown word.
        """
        found = re.findall(r"[^\s,.;]+", text.lower())
        unknown = list(dict.fromkeys(w for w in found if w not in self._ids))
        if unknown or not found:
            raise OutOfVocabulary(unknown or [text])
        return [_START, *(self._ids[w] for w in found), _END]

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> torch.Tensor:
        """Encode `texts`; a text beyond `context_length` tokens is cut and keeps its end mark.

        Raises:
            OutOfVocabulary: naming every unknown word of the first text that has any.
        """
        import torch

        length = context_length or self.context_length
        batch = [texts] if isinstance(texts, str) else list(texts)
        out = torch.full((len(batch), length), _PAD, dtype=torch.long)
        for row, text in enumerate(batch):
            found = self.ids(text)
            if len(found) > length:
                found = [*found[: length - 1], _END]
            out[row, : len(found)] = torch.tensor(found)
        return out
