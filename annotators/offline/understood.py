"""Whether rules can read a text at all: what they cannot read they must not score.

A text is read where both hold. First, it holds a word that tells what is to be seen: of an instruction a known verb of
change, colour, number, place, style, look or thing; of a prompt a known thing, colour, scene, light, style, look or
deed, a number of things, or lettering. Second, it is in a language whose words are known: of its words in Latin script
at least half of an instruction's and a third of a prompt's, and of its letters at least half in ASCII or, for
instructions, Chinese.
"""

from __future__ import annotations

import re
from functools import lru_cache

from annotators.errors import FinalError
from annotators.offline.edit_request import asked, of_the_picture
from annotators.offline.lexicon import kind_of_word, listed_words, preposition_of_word, words
from annotators.offline.prompt_reading import asking, singular

_LEAST_INSTRUCTION, _LEAST_PROMPT = 1 / 2, 1 / 3
"""The share of known words; prompts name more things than any list holds."""
_LONGEST = 2000
_FUNCTION = ("determiners", "pronouns", "joints", "prepositions", "forbidding", "abstract", "collectives", "media")
_TELLING = ("verbs", "adjectives", "styles", "either", "ing_nouns", "ly_nouns", "ed_nouns")
_SAID = frozenset(
    """add insert put place include draw attach hang give remove delete erase rid eliminate take away hide replace
    substitute exchange swap switch change turn transform convert move shift relocate slide drag position rotate flip
    tilt spin push resize enlarge shrink paint dye colored coloured recolor recolour tint let make have there please
    bigger smaller brighter darker warmer cooler anime sketch style font text words letters positions places left right
    top bottom corner centre center middle upper lower image picture photo repaint carry use bring keep show compose
    relight bathe wear wears sepia greyscale grayscale monochrome desaturate""".split()  # noqa: SIM905
)


def refuse_unread_instruction(text: str) -> None:
    """Raise where an edit instruction cannot be read.

    Raises:
        FinalError: `not_understood`.
    """
    if not reads_instruction(text):
        raise FinalError("not_understood", f"the rules cannot read the instruction {_short(text)}")


def refuse_unread_prompt(text: str) -> None:
    """Raise where a prompt of an image cannot be read.

    Raises:
        FinalError: `not_understood`.
    """
    if not reads_prompt(text):
        raise FinalError("not_understood", f"the rules cannot read the prompt {_short(text)}")


def reads_instruction(text: str) -> bool:
    text = of_the_picture(text)[:_LONGEST]
    return _known_language(text, _LEAST_INSTRUCTION, chinese=True) and (
        any(
            c.action != "change" or c.colours or c.old_colours or c.shapes or c.place or c.old_place or c.count
            for c in asked(text)
        )
        or any(_thing(word) or word in words("prompts", "adjectives") for word in _latin(text))
    )


def reads_prompt(text: str) -> bool:
    text = of_the_picture(text)[:_LONGEST]
    found = asking(text)
    return _known_language(text, _LEAST_PROMPT, chinese=False) and bool(
        found.lettering
        or found.styles
        or any(s.count for s in found.subjects)
        or any(_thing(w) or w in _lists(_TELLING) for w in _latin(text))
    )


def _known_language(text: str, least: float, *, chinese: bool) -> bool:
    letters = [c for c in text if c.isalpha()]
    known = sum(c.isascii() or (chinese and "\u4e00" <= c <= "\u9fff") for c in letters)
    if not letters or 2 * known < len(letters):
        return False
    latin = _latin(text)
    return not latin or sum(map(_known, latin)) >= least * len(latin) or any("\u4e00" <= c <= "\u9fff" for c in text)


def _latin(text: str) -> list[str]:
    return re.findall(r"[a-zà-ÿœß]+", text.lower())


@lru_cache(maxsize=4096)
def _known(word: str) -> bool:
    return len(word) < 30 and (word in _SAID or word in _lists((*_FUNCTION, *_TELLING, "numbers")) or _thing(word))


@lru_cache(maxsize=4096)
def _thing(word: str) -> bool:
    """Whether the lexicon has a word, or its singular, for a thing, a scene, a light or a colour."""
    if len(word) > 30:
        return False
    lists = (kind_of_word(), preposition_of_word(), *map(listed_words, _DRAWN), words("nouns", "colours"))
    return any(one in known for known in lists for one in (word, singular(word)))


_DRAWN = ("drawn_as", "drawn_scenes", "drawn_lights", "drawn_colours")


@lru_cache(maxsize=4)
def _lists(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(words("prompts", name) for name in names))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
