"""Pictures in words and back. The grammar is the vocabulary: nothing outside it can be said or read.

::

    caption   = things [" with " ground] [" in " light]  |  ground [" in " light] [" with " things]
    things    = thing {", " thing} [" and " thing]           thing  = a [size] colour shape [place]
    ground    = "a " scene " background"                     light  = LIGHT " light"
    place     = "on the left" | "on the right" | "at the top" | "at the bottom" | "in the middle"
              | "in the " ("top" | "bottom") " " ("left" | "right") " corner"
    phrase    = part {", " part} [" and " part]
    part      = "the " ([size] [colour] shape | scene " background" | LIGHT " light" | colour " colour") | "nothing"
    relation  = phrase (" is " | " are ") ("from" | "consistent with") " image_" NUMBER
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from toyworld.world import CLEAR, COLOURS, LIGHTS, PLACES, PLAIN, SCENES, SHAPES, SIZES, Picture, Thing

MAX_IMAGES = 16
"""The highest image number a relation can name."""


class CaptionError(ValueError):
    """Text that the grammar of this world does not hold. The message says what was not understood."""


@dataclass(frozen=True)
class Wording:
    """What a caption says and in which order.

    Attributes:
        sizes, places: whether it tells them.
        light: whether it tells the light; `None` tells it unless it is clear.
        ground_first: the scene before the things.
        backwards: the things in the opposite order.
    """

    sizes: bool = True
    places: bool = True
    light: bool | None = None
    ground_first: bool = False
    backwards: bool = False


@dataclass(frozen=True)
class Relation:
    """`phrase` is scorable on its own; `kept` says "consistent with" (stays as it is) rather than "from"."""

    phrase: str
    image: int
    kept: bool = False

    def __str__(self) -> str:
        plural = " and " in self.phrase
        return (
            f"{self.phrase} {'are' if plural else 'is'} {'consistent with' if self.kept else 'from'} image_{self.image}"
        )


def said(picture: Picture, wording: Wording) -> Picture:
    """What a caption in `wording` tells of `picture`: `parse(caption(p, w)) == said(p, w)`."""
    things = [
        Thing(t.shape, t.colour, t.size if wording.sizes else "", t.place if wording.places else "")
        for t in (reversed(picture.things) if wording.backwards else picture.things)
    ]
    tells_light = wording.light if wording.light is not None else picture.light not in ("", CLEAR)
    return Picture(tuple(things), picture.scene, picture.light if tells_light else "")


def caption(picture: Picture, wording: Wording | None = None) -> str:
    """One sentence, without a full stop, that tells `picture` in `wording`.

    Raises:
        CaptionError: when nothing is left to say.
    """
    wording = wording or Wording()
    told = said(picture, wording)
    things = listed([_thing(t) for t in told.things])
    ground = f"a {told.scene} background" if told.scene else ""
    if not things and not ground:
        raise CaptionError("a caption needs a thing or a scene")
    light = f" in {told.light} light" if told.light else ""
    if things and ground:
        return f"{ground}{light} with {things}" if wording.ground_first else f"{things} with {ground}{light}"
    return f"{things or ground}{light}"


def parse(text: str) -> Picture:
    """Read a caption or a phrase ("the red star and the snow background") back.

    Raises:
        CaptionError: when the text is not in the grammar.
    """
    whole = _normal(text)
    told = _part(whole)
    if told is not None:
        return told
    things: list[Thing] = []
    scene = light = ""
    for piece in re.split(r",? and (?:with )?|, | with | in (?=(?:clear|warm|cool|dim) light)", whole):
        found = _part(piece)
        if found is None or (found.scene and scene) or (found.light and light):
            raise CaptionError(f"{piece!r} in {text!r} is not a thing, a background or a light of the toy world")
        things += found.things
        scene, light = scene or found.scene, light or found.light
    return Picture(tuple(things), scene, light)


def parse_relation(text: str) -> Relation:
    """Read "the red star is from image_2".

    Raises:
        CaptionError: when the text is no relation of the grammar.
    """
    found = _RELATION.fullmatch(_normal(text))
    if not found or not 1 <= int(found["image"]) <= MAX_IMAGES:
        raise CaptionError(f"{text!r} is not a relation such as 'the red star is from image_2'")
    phrase = found["phrase"]
    for part in re.split(r",? and |, ", phrase):
        if _PHRASE_PART.fullmatch(part) is None:
            raise CaptionError(f"{part!r} in {text!r} is not a thing, a background, a light or a colour")
    return Relation(phrase, int(found["image"]), found["verb"] == "consistent with")


def the_thing(thing: Thing, *, size: bool = False) -> str:
    """`the red star`, with its size `the small red star`; `the star` where its colour is unsaid."""
    return " ".join(w for w in ("the", thing.size if size else "", thing.colour, thing.shape) if w)


def the_scene(scene: str) -> str:
    return f"the {scene} background"


def the_light(light: str) -> str:
    return f"the {light} light"


def the_colour(colour: str) -> str:
    return f"the {colour} colour"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for nothing."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def place_phrase(place: str) -> str:
    """`on the left`, `at the top`, `in the middle`, `in the top left corner`; empty where the place is unsaid."""
    if not place:
        return ""
    if " " in place:
        return f"in the {place} corner"
    return {"middle": "in the middle", "top": "at the top", "bottom": "at the bottom"}.get(place, f"on the {place}")


def words() -> list[str]:
    """Every word of the grammar, in a fixed order."""
    glue = ["a", "an", "the", "and", "with", "in", "on", "at", "is", "are", "from", "consistent", "nothing"]
    glue += ["background", "light", "colour", "corner"]
    places = [word for place in PLACES for word in place.split()]
    images = [f"image_{i}" for i in range(1, MAX_IMAGES + 1)]
    return list(dict.fromkeys([*glue, *SIZES, *COLOURS, *SHAPES, PLAIN, *SCENES, *LIGHTS, *places, *images]))


def _thing(thing: Thing) -> str:
    name = " ".join(w for w in (thing.size, thing.colour, thing.shape, place_phrase(thing.place)) if w)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _any(names: Sequence[str] | dict[str, object]) -> str:
    return "|".join(names)


_PLACE_OF = {place_phrase(place): place for place in PLACES}
_THING = re.compile(
    rf"(?:an?|the) (?:(?P<size>{_any(list(SIZES))}) )?(?:(?P<colour>{_any(list(COLOURS))}) )?(?P<shape>{_any(SHAPES)})"
    rf"(?: (?P<place>{_any(list(_PLACE_OF))}))?"
)
_GROUND = re.compile(rf"(?:a|the) (?P<scene>{_any((PLAIN, *SCENES))}) background")
_LIGHT = re.compile(rf"(?:the )?(?P<light>{_any(list(LIGHTS))}) light")
_PHRASE_PART = re.compile(
    rf"nothing|the (?:{_any(list(COLOURS))}) colour|{_GROUND.pattern}|the (?:{_any(list(LIGHTS))}) light|"
    + _THING.pattern.replace("(?:an?|the)", "the").replace("?P<", "?P<phrase_")
)
_RELATION = re.compile(r"(?P<phrase>.+?) (?:is|are) (?P<verb>from|consistent with) image_(?P<image>\d+)")


@lru_cache(maxsize=4096)
def _part(piece: str) -> Picture | None:
    """A single thing, ground or light; None where `piece` is none of them."""
    if found := _THING.fullmatch(piece):
        return Picture(
            (
                Thing(
                    found["shape"], found["colour"] or "", found["size"] or "", _PLACE_OF.get(found["place"] or "", "")
                ),
            )
        )
    if found := _GROUND.fullmatch(piece):
        return Picture(scene=found["scene"])
    if found := _LIGHT.fullmatch(piece):
        return Picture(light=found["light"])
    return None


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().rstrip(".").lower())
