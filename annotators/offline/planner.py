"""The offline planner of FIRM-Gen: a prompt becomes a numbered checklist by rules of English (section 3.2).

A baseline: it asks for what word lists and word order let it find. A prompt of which nothing is understood, such as
one in another script, is asked about as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from annotators.offline.casting import is_light, is_scene, light_of, things_of
from annotators.offline.grammar import joined
from annotators.offline.lexicon import words
from annotators.offline.nouns import article_of
from annotators.offline.prompt_reading import Asking, Subject, asking, plural
from schemas.checklists import Checklist, Criterion

MOST_ITEMS = 12
_MOST_SUBJECTS = 5
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_PLACES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom",
           "middle": "in the middle"}  # fmt: skip
_RELATIONS = {"left of": "to the left of", "right of": "to the right of", "above": "on or above", "beside": "next to"}
Weighted = tuple[int, Criterion]


def plan_of(prompt: str) -> Checklist:
    """What an image of `prompt` must show: at most `MOST_ITEMS` criteria, the most important first, and what it
    forbids. Any text gives a checklist; equal texts give equal ones.
    """
    ask = asking(prompt)
    items = sorted(_criteria(ask), key=lambda weighted: weighted[0])[:MOST_ITEMS]
    criteria = tuple(item for _, item in items) or (_as_a_whole(prompt),)
    return Checklist(items=criteria, negative=tuple(_line(word) for word in ask.forbidden))


def _criteria(ask: Asking) -> Iterator[Weighted]:
    """Every criterion with its weight, the least first: things, their numbers and colours, how they stand, the rest."""
    things = [s for s in things_of(ask) if s.noun not in words("checklists", "no_things")][:_MOST_SUBJECTS]
    for number, subject in enumerate(things):
        name = "Main Subject" if number == 0 else f"Subject: {subject.noun}"
        yield 10 * (number > 0) + number, _one(name, _existence(subject))
        if subject.count:
            yield 20 + number, _one(f"Number of {plural(subject.noun)}", _number(subject))
        if subject.colours:
            question = f"{_be(subject)} the {_name(subject)} {joined(subject.colours[:3])}?"
            yield 30 + number, _one(f"Colour of the {_name(subject)}", question)
        if subject.place:
            where = _PLACES.get(subject.place, f"in the {subject.place} corner")
            yield 40 + number, _one(f"Place of the {_name(subject)}", f"{_be(subject)} the {_name(subject)} {where}?")
        if subject.details:
            question = f"{_be(subject)} the {_name(subject)} {joined(subject.details[:4])}?"
            yield 70 + number, _one(f"Look of the {_name(subject)}", question)
    names = {s.noun: s for s in things}
    for number, (one, relation, other) in enumerate(ask.relations):
        if one in names and other in names:
            yield 50 + number, _relation(names[one], relation, names[other])
    for number, text in enumerate(ask.lettering):
        yield 45 + number, _one("Lettering", f'Can "{text}" be read in the image, spelled as it is here?')
    yield from _surroundings(ask, bool(things))
    for number, (noun, deed) in enumerate(ask.deeds):
        if noun in names:
            subject = names[noun]
            yield 60 + number, _one(f"Action of the {_name(subject)}", f"{_be(subject)} the {_name(subject)} {deed}?")


def _surroundings(ask: Asking, things: bool) -> Iterator[Weighted]:
    """The setting, the light and the style."""
    scenes = [s for s in ask.subjects if is_scene(s.noun)]
    if scenes:
        said = " ".join([*scenes[0].colours, *scenes[0].details[:2], scenes[0].noun])
        name = "Setting" if things else "Main Subject"
        yield 55 if things else 0, _one(name, f"Does the scene show {_an(said, scenes[0])}?")
    if light_of(ask) or any(is_light(s.noun) for s in ask.subjects):
        said = light_of(ask) or next(s.noun for s in ask.subjects if is_light(s.noun))
        yield 58, _one("Light", f"Is the whole image in {said} light?")
    if ask.styles:
        yield (
            65,
            Criterion(
                name="Style",
                questions=tuple(_line(_style(style)) for style in ask.styles if "black white" not in style),
            ),
        )


def _existence(subject: Subject) -> str:
    if subject.plural:
        return f"Are there {plural(subject.noun)}?"
    return f"Is there {_an(subject.noun, subject)}?"


def _an(said: str, subject: Subject) -> str:
    """With its article, where it takes one: `a red car`, `snow`, `green hills`."""
    if subject.plural:
        return plural(said)
    mass = subject.noun.split()[-1] in words("checklists", "mass")
    return said if mass else f"{article_of(said)} {said}"


def _style(style: str) -> str:
    """`Is the image a photo?`, `Is the image photorealistic?`, `Is the image in anime style?`"""
    last = style.split()[-1]
    if style == "black and white":
        return "Is it a black and white image?"
    if last == "style":
        return f"Is the image in {style}?"
    return (
        f"Is the image {article_of(style)} {style}?" if last in words("prompts", "media") else f"Is the image {style}?"
    )


def _number(subject: Subject) -> str:
    number = _NUMBERS[subject.count] if subject.count < len(_NUMBERS) else str(subject.count)
    if subject.count == 1:
        return f"Is there exactly one {subject.noun}?"
    return f"Are there exactly {number} {plural(subject.noun)}?"


def _relation(one: Subject, relation: str, other: Subject) -> Criterion:
    question = f"{_be(one)} the {_name(one)} {_RELATIONS.get(relation, relation)} the {_name(other)}?"
    return _one(f"Position: {one.noun} and {other.noun}", question)


def _name(subject: Subject) -> str:
    return plural(subject.noun) if subject.plural else subject.noun


def _be(subject: Subject) -> str:
    return "Are" if subject.plural else "Is"


def _one(name: str, question: str) -> Criterion:
    return Criterion(name=re.sub(r"[\[\]]", "", _line(name)) or "Detail", questions=(_line(question),))


def _as_a_whole(prompt: str) -> Criterion:
    said = _line(prompt)
    asked = f'Does the image show what this asks for: "{said}"?' if said else "Does the image show anything at all?"
    return Criterion(name="Main Content", questions=(asked,))


def _line(text: str) -> str:
    """On one line, at most 160 characters."""
    return " ".join(text.split())[:160].strip()
