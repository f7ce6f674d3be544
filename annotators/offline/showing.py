"""What each image of a plan is called: noun phrases told apart, with the colour and the small things to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from annotators.offline.lexicon import kind_of_word, parts, preposition_of_word, surface
from annotators.offline.looks import Look
from annotators.offline.nouns import NounPhrase, noun_phrase
from annotators.offline.stature import Stature, stature
from schemas.plan import Plan
from schemas.references import Kind, Reference
from schemas.tasks import Role

_FURRY = ("animal", "hoofed", "bird")
_FUR_COLOURS = {"orange": "golden", "beige": "cream", "pale grey": "pale grey", "yellow": "golden"}
_FUR_PLAIN = ("black", "white", "grey", "dark grey", "brown")
# Things with a colour of their own, or of many: a colour word before them misleads.
_UNCOLOURED = ("planet", "food", "person", "circuit", "spice", "plant", "landscape", "interior", "building", "water")
_PLACES = ("building", "landscape", "interior", "water")
_LIGHT = {"dark": "low", "dim": "dim", "even": "even", "bright": "bright"}
_PREPOSITION = re.compile(
    r"(?:^|\s)((?:by|on|under|over|at|near|beside|against|below|above|between|inside|in|among) .+)$"
)


@dataclass(frozen=True)
class Showing:
    """One image of a plan and the words for it.

    Attributes:
        image: its number, from 1.
        phrase: what it shows; no other image of the plan has the same, unless it shows the same subject.
        thing: the kind of thing as the lexicon has it (`animal`, `vehicle`, `landscape`, ...).
        stature: how large it looks and whether it hangs in the air.
        cut_out: whether the file is a cut-out, so that it has no surroundings.
    """

    image: int
    role: Role
    kind: Kind
    phrase: NounPhrase
    thing: str
    look: Look
    stature: Stature
    cut_out: bool

    @property
    def surface(self) -> str:
        return surface(self.thing)

    @property
    def parts(self) -> list[str]:
        return parts(self.thing)

    @property
    def its(self) -> str:
        """`its`, or `their` for several and for a person."""
        return "their" if self.thing == "person" else self.phrase.its

    @property
    def it(self) -> str:
        return "them" if self.thing == "person" else self.phrase.it

    @property
    def light(self) -> str:
        """Its light as an adjective group: `low, warm`, `even`, `bright, cool`."""
        words = [_LIGHT[self.look.brightness]]
        if self.look.temperature != "neutral":
            words.append(self.look.temperature)
        return ", ".join(words)


def showings(plan: Plan, looks: Sequence[Look]) -> list[Showing]:
    """One Showing per image, in order.

    Raises:
        ValueError: where there is not one look per image.
    """
    if len(looks) != len(plan.references):
        raise ValueError(f"{len(plan.references)} references, but {len(looks)} looks")
    found = []
    for i, (planned, seen) in enumerate(zip(plan.references, looks, strict=True), 1):
        phrase = noun_phrase(planned.reference)
        thing = _thing(phrase, planned.reference, seen)
        colour = _colour(thing, seen, planned.reference.alpha)
        phrase = phrase.coloured(colour) if planned.reference.kind is not Kind.SCENE else phrase
        found.append(
            Showing(
                image=i,
                role=planned.role,
                kind=planned.reference.kind,
                phrase=phrase,
                thing=thing,
                look=seen,
                stature=stature(planned.reference),
                cut_out=planned.reference.alpha,
            )
        )
    return _told_apart(plan, found)


def _thing(phrase: NounPhrase, reference: Reference, seen: Look) -> str:
    """The lexicon's kind of thing; of a scene only kinds of places count, of a toy what it is a toy of comes first."""
    scene = reference.kind is Kind.SCENE
    text = f"{phrase.noun} {phrase.detail}" if scene else phrase.noun
    kinds = [
        kind_of_word()[word]
        for word in (phrase.head, *reversed(text.lower().split()), reference.category.lower())
        if word in kind_of_word()
    ]
    if scene:
        return next((kind for kind in kinds if kind in _PLACES), "landscape")
    kinds.sort(key=lambda kind: kind == "toy")
    if kinds:
        return kinds[0]
    return "drawing" if reference.kind is Kind.CHARACTER and seen.flat else "thing"


def _colour(thing: str, seen: Look, cut_out: bool) -> str:
    """The colour word that may stand before the noun, or nothing where the pixels are not clear about it."""
    first = seen.colours[0]
    if thing in _UNCOLOURED or not seen.certain or (not cut_out and first == seen.scene_colours[0]):
        return ""
    if thing in _FURRY:
        return first if first in _FUR_PLAIN else _FUR_COLOURS.get(first, "")
    return first


def _told_apart(plan: Plan, found: list[Showing]) -> list[Showing]:
    """`the dog` and `the dog` become `the dog` and `the other dog`, unless both are the same dog."""
    owners: dict[str, str] = {}
    out: list[Showing] = []
    for shown in found:
        subject = plan.references[shown.image - 1].reference.subject
        phrase = shown.phrase
        same = next((s.phrase for s in out if plan.references[s.image - 1].reference.subject == subject), None)
        if same is not None and shown.role is not Role.BASE:
            phrase = same
        elif owners.get(phrase.definite, subject) != subject and not phrase.proper:
            word = "other" if f"the other {phrase.noun}" not in owners else "third"
            article = "" if phrase.plural else "another" if word == "other" else "a"
            noun = f"{word} {phrase.noun}" if article != "another" else phrase.noun
            phrase = replace(phrase, article=article, noun=noun, renamed=f"the {word} {phrase.noun}")
        owners.setdefault(phrase.definite, subject)
        out.append(replace(shown, phrase=phrase))
    return out


def where(shown: Showing, *, definite: bool, citing: str = "") -> str:
    """Where something stands that is put into a scene: `in the small bathroom`, `in front of Big Ben`.

    Args:
        definite: `on the beach` rather than `on a beach`.
        citing: what names the image behind the noun, such as ` of image 2`.
    """
    phrase = shown.phrase
    named = phrase.whole_definite if definite else phrase.whole
    if phrase.noun.startswith("inside of "):
        place = phrase.noun.removeprefix("inside of ")
        return ("inside " + (re.sub(r"^an? ", "the ", place) if definite else place)) + citing
    words = re.split(r" (?:of|in|with) ", phrase.noun)[0].split()
    known = preposition_of_word()
    preposition = known.get(words[-1].lower()) or (known.get(words[0].lower()) if phrase.proper else None)
    if shown.kind is not Kind.SCENE:
        preposition = "beside"
    return f"{preposition or 'in front of'} {named}{citing}"


def setting(shown: Showing, *, definite: bool) -> str:
    """Where a photo's own subject is, in words that outlive the subject: `on a branch`, `on a pale grey background`."""
    match = _PREPOSITION.search(shown.phrase.detail)
    if match:
        return re.sub(r"^(\w+) an? ", r"\1 the ", match[1]) if definite else match[1]
    if shown.cut_out:
        return f"{'against the' if definite else 'against a'} plain white background"
    return f"{'against the' if definite else 'against a'} {backdrop_colours(shown)} background"


def surroundings(shown: Showing) -> str:
    """The same as a noun: `the branch`, `the pale grey background`."""
    place = setting(shown, definite=True).split(" ", 1)[1]
    return place if place.startswith("the ") else f"the {place}"


def backdrop_colours(shown: Showing) -> str:
    """The colours around the subject: `black and brown`; white where a cut-out has no surroundings."""
    if shown.cut_out:
        return "white"
    around = [c for c in shown.look.scene_colours if c not in shown.look.colours[:1]] or [shown.look.scene_colours[0]]
    return " and ".join(around[:2])
