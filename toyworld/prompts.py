"""Prompts and drawn pictures of them, made to be worth a given score of Instruction Following."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from toyworld.captions import Wording, said
from toyworld.edit_truth import following, near
from toyworld.edit_words import prompt
from toyworld.world import CLEAR, COLOURS, PLACES, SCENES, SHAPES, Picture, Thing, free_places

_TRIES = 500


def prompt_of(failure: str, followed: int, rng: random.Random) -> tuple[str, Picture]:
    """A prompt and a picture that follows it with this failure, worth `followed` by the rule of `truth`.

    Raises:
        RuntimeError: none was found: the score cannot be had.
    """
    for _ in range(_TRIES):
        wanted, wording = _wanted(failure, rng)
        shown = wanted if followed == 5 else _SHOWN[failure](wanted, followed, rng)
        asked = said(wanted, wording)
        if shown is None or shown.undrawable or following(asked, shown) != followed:
            continue
        return prompt(wanted, wording), shown
    raise RuntimeError(f"no {failure} picture of Instruction Following {followed} was found")


def _wanted(failure: str, rng: random.Random) -> tuple[Picture, Wording]:
    """A picture, and how it is told: places only where they are what is probed, or where all is."""
    if failure == "count":
        number = rng.randint(3, 5)
        groups = [(shape, rng.choice(list(COLOURS))) for shape in rng.sample(SHAPES, rng.randint(1, 2))]
        named = [groups[0]] * number + groups[1:]
        return _drawn(named, rng), Wording(sizes=False, places=False)
    number = {"identical": rng.randint(2, 4), "spatial": rng.randint(2, 3)}.get(failure, 3)
    named = [(shape, rng.choice(list(COLOURS))) for shape in rng.sample(SHAPES, number)]
    told = failure == "spatial" or (failure == "identical" and rng.random() < 0.5)
    return _drawn(named, rng), Wording(sizes=False, places=told, ground_first=rng.random() < 0.3)


def _drawn(named: list[tuple[str, str]], rng: random.Random) -> Picture:
    variation = rng.randrange(1000)
    places = rng.sample(list(PLACES), len(named))
    things = [
        Thing(shape, colour, "small", place, variation + i)
        for i, ((shape, colour), place) in enumerate(zip(named, places, strict=True))
    ]
    return Picture(tuple(things), rng.choice(SCENES), CLEAR, variation)


def _neglected(wanted: Picture, followed: int, rng: random.Random) -> Picture | None:
    """Things that are left out; at 1 it is a picture of something else."""
    if followed == 1:
        shapes = [shape for shape in SHAPES if all(shape != thing.shape for thing in wanted.things)]
        other = _drawn([(shape, rng.choice(list(COLOURS))) for shape in rng.sample(shapes, 2)], rng)
        return other if other.scene != wanted.scene else None
    return wanted.with_things(rng.sample(wanted.things, 2 if followed == 3 else 1))


def _misplaced(wanted: Picture, followed: int, rng: random.Random) -> Picture | None:
    """At 4 one thing is elsewhere, half of the time where it is half right; at 3 two have exchanged places."""
    things = list(wanted.things)
    i, j = rng.sample(range(len(things)), 2)
    if followed == 3:
        things[i], things[j] = replace(things[i], place=things[j].place), replace(things[j], place=things[i].place)
        return wanted.with_things(things)
    half = rng.random() < 0.5
    free = [place for place in free_places(things, "small") if near(things[i].place, place) == half]
    if not free:
        return None
    things[i] = replace(things[i], place=rng.choice(free))
    return wanted.with_things(things)


def _miscounted(wanted: Picture, followed: int, rng: random.Random) -> Picture | None:
    """At 4 there is one too few or too many; at 3 fewer than half are there."""
    many = [thing for thing in wanted.things if thing.shape == wanted.things[0].shape]
    rest = [thing for thing in wanted.things if thing.shape != wanted.things[0].shape]
    if followed == 3:
        return wanted.with_things([*many[:1], *rest])
    if rng.random() < 0.5:
        return wanted.with_things([*many[1:], *rest])
    free = free_places(wanted.things, "small")
    return wanted.with_things([*many, replace(many[0], place=rng.choice(free), variation=rng.randrange(1000)), *rest])


def _discoloured(wanted: Picture, followed: int, rng: random.Random) -> Picture | None:
    """At 4 one thing has another colour; at 3 two have."""
    things = list(wanted.things)
    for i in rng.sample(range(len(things)), 1 if followed == 4 else 2):
        things[i] = replace(things[i], colour=rng.choice([c for c in COLOURS if c != things[i].colour]))
    return wanted.with_things(things)


_SHOWN: dict[str, Callable[[Picture, int, random.Random], Picture | None]] = {
    "neglect": _neglected,
    "spatial": _misplaced,
    "count": _miscounted,
    "attribute": _discoloured,
}
