"""What the tiny CLIP learns from: pictures, what can be said of them, and what is nearly true."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from toyworld.captions import Wording, caption, listed, said, the_colour, the_light, the_scene, the_thing
from toyworld.world import (
    CLEAR,
    COLOURS,
    LIGHTS,
    PLACES,
    PLAIN,
    SCENES,
    SHAPES,
    SIZES,
    Picture,
    Thing,
    free_places,
    layouts,
)

SCENE_VARIATIONS, THING_VARIATIONS = 80, 4
"""How many drawings of each scene and thing training sees; held-out pictures use numbers above these."""

ATTRIBUTES = ("colour", "shape", "scene", "light", "size", "place", "binding")
_WEIGHTS = (0.16, 0.26, 0.07, 0.07, 0.09, 0.13, 0.22)


@dataclass(frozen=True)
class Text:
    """A text and what it tells, so that it can be judged against any picture.

    Attributes:
        whole: a caption, which tells every thing there is; a phrase may leave things out.
    """

    words: str
    told: Picture
    whole: bool


def draw_picture(rng: random.Random, first_variation: int = 0) -> Picture:
    """A picture as pools and targets hold them: cut-outs, empty scenes, things on scenes."""
    numbers = (rng.randrange(SCENE_VARIATIONS), rng.randrange(SCENE_VARIATIONS))
    light = rng.choices(list(LIGHTS), (0.55, 0.15, 0.15, 0.15))[0]
    count = rng.choices(range(5), (0.09, 0.42, 0.31, 0.1, 0.08))[0]
    if count == 1 and rng.random() < 0.34:
        thing = Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(list(SIZES)), "middle")
        things: list[Thing] = [thing]
        scene, light = PLAIN, light if rng.random() < 0.25 else CLEAR
    else:
        things = _things(rng, count)
        scene = PLAIN if rng.random() < 0.06 and things else rng.choice(SCENES)
    things = [replace(t, variation=first_variation + rng.randrange(THING_VARIATIONS)) for t in things]
    return Picture(tuple(things), scene, light, first_variation + numbers[0])


def draw_wording(rng: random.Random) -> Wording:
    return Wording(
        sizes=rng.random() < 0.6,
        places=rng.random() < 0.65,
        light=None if rng.random() < 0.85 else True,
        ground_first=rng.random() < 0.25,
        backwards=rng.random() < 0.4,
    )


def draw_texts(picture: Picture, rng: random.Random, negatives: int) -> list[Text]:
    """One true text, then `negatives` texts that differ from it in one attribute and are not true."""
    if rng.random() < 0.3:
        return _phrases(picture, rng, negatives)
    wording = draw_wording(rng)
    texts = [_captioned(picture, wording)]
    for _ in range(negatives):
        kinds = [k for k in ATTRIBUTES if _applies(k, picture, wording)]
        kind = rng.choices(kinds, [_WEIGHTS[ATTRIBUTES.index(k)] for k in kinds])[0]
        texts.append(_captioned(swapped(picture, kind, rng), wording))
    return texts


def swapped(picture: Picture, attribute: str, rng: random.Random) -> Picture:
    """`picture` with one attribute changed; the caller sees to it that it applies (`applies_to`)."""
    if attribute in ("scene", "light"):
        known = SCENES if attribute == "scene" else tuple(LIGHTS)
        value = _other(known, getattr(picture, attribute), rng)
        return replace(picture, scene=value) if attribute == "scene" else replace(picture, light=value)
    things = list(picture.things)
    if attribute == "binding":
        pairs = _bindable(picture)
        i, j = rng.choice(pairs)
        things[i], things[j] = (
            replace(things[i], colour=things[j].colour),
            replace(things[j], colour=things[i].colour),
        )
        return picture.with_things(things)
    i = rng.randrange(len(things))
    if attribute == "place" and len(things) > 1 and rng.random() < 0.6:
        j = rng.choice([k for k in range(len(things)) if k != i])
        if (things[i].shape, things[i].colour, things[i].size) != (things[j].shape, things[j].colour, things[j].size):
            things[i], things[j] = replace(things[i], place=things[j].place), replace(things[j], place=things[i].place)
            return picture.with_things(things)
    known_of = {"colour": tuple(COLOURS), "shape": SHAPES, "size": tuple(SIZES), "place": tuple(PLACES)}
    taken = {t.place for t in things} if attribute == "place" else {getattr(things[i], attribute)}
    value = rng.choice([v for v in known_of[attribute] if v not in taken])
    changed: dict[str, Any] = {attribute: value}
    things[i] = replace(things[i], **changed)
    return picture.with_things(things)


def applies_to(attribute: str, picture: Picture) -> bool:
    """Whether `picture` has this attribute to swap."""
    if attribute == "binding":
        return bool(_bindable(picture))
    return attribute in ("scene", "light") or bool(picture.things)


def _applies(attribute: str, picture: Picture, wording: Wording) -> bool:
    told = said(picture, wording)
    needed = {"size": wording.sizes, "place": wording.places, "light": bool(told.light)}
    return needed.get(attribute, True) and applies_to(attribute, picture)


def _things(rng: random.Random, count: int) -> list[Thing]:
    if not count:
        return []
    if count == 1:
        places: Sequence[str] = (rng.choice(list(PLACES)),)
    else:
        places = rng.choice(layouts(count))
    sizes = [rng.choice(list(SIZES)) if count < 3 else "small" for _ in places]
    made: list[Thing] = []
    for place, size in zip(places, sizes, strict=True):
        fits = place in free_places(made, size)
        made.append(Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), size if fits else "small", place))
    return rng.sample(made, len(made))


def _captioned(picture: Picture, wording: Wording) -> Text:
    return Text(caption(picture, wording), said(picture, wording), True)


def _phrases(picture: Picture, rng: random.Random, negatives: int) -> list[Text]:
    """A phrase that a relation could hold, and phrases that differ from it in one attribute."""
    kinds = ["scene"] * 2 + ["light"] * (picture.light != CLEAR)
    if picture.things:
        kinds += ["thing"] * 5 + ["both"] * 2 + ["shape", "colour"]
    kind = rng.choice(kinds)
    chosen = [rng.choice(picture.things)] if picture.things else []
    if kind != "thing" or rng.random() < 0.6:
        chosen = [replace(t, size="") for t in chosen]
    subject = replace(picture, things=tuple(chosen))
    swaps = [a for a in _PHRASE_SWAPS[kind] if a != "size" or chosen[0].size]
    return [
        _phrase(kind, subject),
        *(_phrase(kind, swapped(subject, rng.choice(swaps), rng)) for _ in range(negatives)),
    ]


_PHRASE_SWAPS = {
    "scene": ("scene",),
    "light": ("light",),
    "colour": ("colour",),
    "shape": ("shape",),
    "thing": ("colour", "shape", "shape", "size"),
    "both": ("colour", "shape", "shape", "scene"),
}


def _phrase(kind: str, about: Picture) -> Text:
    if kind == "scene":
        return Text(the_scene(about.scene), Picture((), about.scene), False)
    if kind == "light":
        return Text(the_light(about.light), Picture((), "", about.light), False)
    thing = about.things[0]
    if kind == "colour":
        return Text(the_colour(thing.colour), Picture((Thing("", thing.colour),)), False)
    if kind == "shape":
        return Text(the_thing(Thing(thing.shape, "")), Picture((Thing(thing.shape, ""),)), False)
    thing = Thing(thing.shape, thing.colour, thing.size)
    if kind == "both":
        return Text(listed([the_thing(thing), the_scene(about.scene)]), Picture((thing,), about.scene), False)
    return Text(the_thing(thing, size=True), Picture((thing,)), False)


def _bindable(picture: Picture) -> list[tuple[int, int]]:
    things = picture.things
    return [
        (i, j)
        for i in range(len(things))
        for j in range(i)
        if things[i].colour != things[j].colour and things[i].shape != things[j].shape
    ]


def _other(known: Sequence[str], value: str, rng: random.Random) -> str:
    return rng.choice([v for v in known if v != value])
