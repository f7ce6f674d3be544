"""Which thing of the drawn world stands for which noun of a prompt, and which of its colours, scenes and lights.

The drawn world has fourteen things, nine colours and nine scenes. A noun that it lacks is played by one of its things:
a near one where the lexicon knows it (a dog by the cat), else one by the noun's digest. Within one prompt no two nouns
are played by the same thing while there is another. The painter and the judge both read this, so they agree.
"""

from __future__ import annotations

import re
from functools import lru_cache

from annotators.offline.chance import shuffled
from annotators.offline.lexicon import listed_words
from annotators.offline.prompt_reading import Asking, Subject
from toyworld.world import SHAPES


def cast(ask: Asking) -> dict[str, str]:
    """{noun: shape} for every thing of a prompt that is no scene, in the order of the prompt."""
    found: dict[str, str] = {}
    nouns = [s.noun for s in things_of(ask)]
    known = listed_words("drawn_as")
    # Things that the drawn world has itself come first: a cat is played by the cat, though a dog was named before it.
    for noun in sorted(nouns, key=lambda n: n.split()[-1] not in SHAPES):
        own = known.get(noun.split()[-1], "")
        order = [*([own] if own else []), *shuffled(SHAPES, 0, "played by", noun)]
        found[noun] = next((s for s in order if s not in found.values()), order[0])
    return found


def part_of(noun: str, cast_of_prompt: dict[str, str]) -> str:
    """What plays `noun`, also where a question names it otherwise than the prompt did."""
    if noun in cast_of_prompt:
        return cast_of_prompt[noun]
    head = noun.split()[-1]
    alike = (shape for other, shape in cast_of_prompt.items() if head in other.split())
    return next(alike, "") or listed_words("drawn_as").get(head, "") or shuffled(SHAPES, 0, "played by", noun)[0]


def things_of(ask: Asking) -> list[Subject]:
    """The subjects that are things rather than the scene."""
    return [s for s in ask.subjects if not is_scene(s.noun) and not is_light(s.noun)]


def is_scene(noun: str) -> bool:
    return bool(_ground(noun))


def _ground(noun: str) -> str:
    """The scene of the drawn world that a noun names: `sea` for `water` and for `ocean background`; else ""."""
    *front, head = noun.split()
    if front and head in ("background", "backdrop"):
        *front, head = front
    if head == "wall" and front not in ([], ["brick"]):
        return ""
    return listed_words("drawn_scenes").get(head, "")


def is_light(noun: str) -> bool:
    return noun.split()[-1] in listed_words("drawn_lights")


def colour_of(word: str) -> str:
    """The drawn world's colour nearest to a named one; "" for a word that is none, such as `colourful`."""
    return listed_words("drawn_colours").get(word.split("-")[-1].split()[-1], "")


def scene_of(ask: Asking) -> str:
    """The scene of the drawn world that a prompt names first; "" where it names none."""
    found = next((ground for s in ask.subjects if (ground := _ground(s.noun))), "")
    named = "" if found else _first(ask.text, "drawn_scenes", r"\b({})\b(?= background| backdrop)|"
                                      r"\b(?:background|backdrop) (?:is|of)(?: an?| the)? ({})\b")  # fmt: skip
    return found or _ground(named or "-")


def light_of(ask: Asking) -> str:
    """The light of the drawn world that a prompt names; "" where it names none."""
    named = _first(ask.text, "drawn_lights", r"\b({})\b(?: \w+)?(?= light(?:ing)?\b)|\b(?:at|during) ({})\b|"
                   r"\b(sunset|sunrise|moonlight|moonlit|candlelight|candlelit|gloomy|twilight|dusk)\b")  # fmt: skip
    return listed_words("drawn_lights").get(named, "")


@lru_cache(maxsize=8)
def _pattern(section: str, shape: str) -> re.Pattern[str]:
    return re.compile(shape.replace("{}", "|".join(map(re.escape, listed_words(section)))))


def _first(text: str, section: str, shape: str) -> str:
    match = _pattern(section, shape).search(text)
    return next(filter(None, match.groups()), "") if match else ""
