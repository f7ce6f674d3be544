"""Texts as CLIP can take them: in chunks that fit its context, and relations without the image they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# From the coarsest bound to the finest; each keeps its separator with the piece before it.
_BOUNDS = (
    re.compile(r".+?(?:[.!?…]+[\"')\]]*\s+|[。！？]+|\n+|$)", re.DOTALL),
    re.compile(r".+?(?:[,;:]\s+|[，；：、]|$)", re.DOTALL),
    re.compile(r".+?(?:\s+|$)", re.DOTALL),
    re.compile(r".", re.DOTALL),
)

_NAMED = r"(?:the\s+)?(?:image|picture|photo|reference)s?[ _#-]*\d+"
# "... is from image_2", "... are consistent with those in image_1": whatever verb, then the image, as a tail.
_TAIL = re.compile(
    r"[\s,]*\b(?:(?:is|are|was|were|comes?|stays?|remains?|kept|taken|drawn|borrowed|copied|transferred|directly|"
    r"fully|both|all|also)\s+)*(?:from|consistent\s+with|(?:the\s+)?same\s+as|identical\s+to|preserved\s+from|as\s+in|"
    rf"in)\s+(?:(?:that|those|the\s+(?:one|ones))\s+(?:of|in|from)\s+)?{_NAMED}",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(rf"\b{_NAMED}'s?\s+", re.IGNORECASE)
_NAME = re.compile(rf"(?:\b(?:of|in|from|with)\s+)?\b{_NAMED}\b|<image_\d+>", re.IGNORECASE)
_NOTHING = re.compile(r"(?:nothing|none|no (?:element|part)s?)\b", re.IGNORECASE)


def chunks(text: str, fits: Callable[[str], bool]) -> list[str]:
    """`text` in as few consecutive pieces as fit, cut at sentences, else clauses, else words, else anywhere.

    Nothing but white space at the cuts is lost. A single character is a piece even where it does not fit.
    """
    return [piece for piece in _split(text.strip(), fits, 0) if piece]


def _split(text: str, fits: Callable[[str], bool], bound: int) -> Iterator[str]:
    if fits(text) or bound == len(_BOUNDS):
        yield text
        return
    held = ""
    for match in _BOUNDS[bound].finditer(text):
        piece = match.group()
        if held and fits((held + piece).strip()):
            held += piece
            continue
        if held:
            yield from _split(held.strip(), fits, bound + 1)
        held = piece
    if held:
        yield from _split(held.strip(), fits, bound + 1)


def scorable(relation: str) -> str:
    """What a relation says of its image, without naming it: "The barn owl is from image_2." gives "The barn owl".

    Empty where nothing is left, or where the relation says that nothing comes from the image.
    """
    text = _TAIL.sub("", relation)
    text = _NAME.sub("", _POSSESSIVE.sub("the ", text))
    text = re.sub(r"\s+", " ", text).strip(" .,;:")
    return "" if _NOTHING.match(text) else text
