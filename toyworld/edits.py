"""Edits of drawn pictures, made to be worth given scores of Execution and Consistency."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from toyworld.edit_truth import Demand, Edited, consistency, execution, fits, near
from toyworld.edit_words import instruction, inverse
from toyworld.world import CLEAR, COLOURS, PLACES, SCENES, SHAPES, Picture, Thing, free_places

_TRIES = 500
_CHANGES = {5: (0, 0), 4: (1, 1), 3: (2, 3), 2: (4, 4), 1: (9, 9)}
"""How many unasked-for changes give each score of Consistency; at 9, all is another."""


@dataclass(frozen=True)
class MadeEdit:
    """A source, what was asked for, what was done, and what would ask for the way back."""

    source: Picture
    demands: tuple[Demand, ...]
    edited: Edited
    instruction: str
    inverse: str

    @property
    def shown(self) -> Picture:
        """The edited picture."""
        return self.edited.picture(self.source.variation)


def edit_of(failure: str, executed: int, kept: int, rng: random.Random) -> MadeEdit:
    """An edit with this failure in it, of Execution `executed` and Consistency `kept` by the rules of `truth`.

    Raises:
        RuntimeError: none was found: the pair of scores cannot be had.
    """
    least, most = _CHANGES[kept]
    for _ in range(_TRIES):
        changes = rng.randint(least, most)
        asked = _ASKED[failure](rng, executed, min(changes, 4))
        if asked is None:
            continue
        source, demands, edited = asked
        if kept == 1:
            edited = _another(source, demands, rng)
        elif changes:
            edited = _disturbed(source, demands, edited, changes, rng)
        if source.undrawable or edited.picture(0).undrawable:
            continue
        if (execution(source, demands, edited), consistency(source, demands, edited)) != (executed, kept):
            continue
        said = instruction(demands, source, rng)
        # An identical pair can be exchanged as it is; others need the opposite instruction.
        back = said if failure == "identical" else inverse(demands, source, edited, rng) if executed == 5 else ""
        return MadeEdit(source, demands, edited, said, back)
    raise RuntimeError(f"no {failure} edit of Execution {executed} and Consistency {kept} was found")


Asked = tuple[Picture, tuple[Demand, ...], Edited]


def _identical(rng: random.Random, executed: int, changes: int) -> Asked | None:
    source = _picture(rng, rng.randint(2, 5))
    demands = (_demand(rng, source, rng.choice(("add", "remove", "recolour", "move")), ()),)
    return source, demands, _unedited(source)


def _neglect(rng: random.Random, executed: int, changes: int) -> Asked | None:
    """Two or three demands, of which some or all are left undone."""
    number = {5: 2, 3: 2, 2: 3, 1: 2}[executed]
    source = _picture(rng, min(6, number + changes))
    demands: list[Demand] = []
    for verb in rng.sample(("add", "remove", "recolour", "move"), number):
        if len(_free(source, demands)) == 0 and verb != "add":
            return None
        demands.append(_demand(rng, source, verb, demands))
    done = {5: number, 3: number - 1, 2: 1, 1: 0}[executed]
    edited = _unedited(source)
    for demand in rng.sample(demands, done):
        edited = _carried_out(demand, source, edited, rng)
    return source, tuple(demands), edited


def _spatial(rng: random.Random, executed: int, changes: int) -> Asked | None:
    """A thing that is to move or to come, and where it ends up."""
    source = _picture(rng, min(6, 2 + changes))
    verb = "add" if executed == 3 or (executed >= 4 and rng.random() < 0.5) else "move"
    demand = _demand(rng, source, verb, ())
    free = [place for place in free_places(source.things, "small") if place != demand.new.place]
    if executed == 4:
        free = [place for place in free if near(demand.new.place, place)]
    place = demand.new.place if executed == 5 else rng.choice(free) if free else ""
    if not place:
        return None
    done = replace(demand, new=replace(demand.new, place=place))
    return source, (demand,), _carried_out(done, source, _unedited(source), rng)


def _count(rng: random.Random, executed: int, changes: int) -> Asked | None:
    """Several alike things that are to come or to go, all, most, few or none of them."""
    number = rng.randint(3, 4) if changes < 2 else 3
    comes = {5: number, 3: number - 1, 2: 1, 1: 0}[executed]
    if rng.random() < 0.5:
        source = _picture(rng, 2 if changes < 2 else 4)
        shape = _new_shape(rng, source)
        demand = Demand("add", (), Thing(shape, rng.choice(list(COLOURS))), number)
        done = replace(demand, count=comes)
        return source, (demand,), _carried_out(done, source, _unedited(source), rng) if comes else _unedited(source)
    source = _picture(rng, number + max(1, changes), alike=number)
    things = tuple(range(number))
    gone = Demand("remove", tuple(rng.sample(things, comes)))
    return source, (Demand("remove", things),), _carried_out(gone, source, _unedited(source), rng)


def _attribute(rng: random.Random, executed: int, changes: int) -> Asked | None:
    """A colour or a size that is to be given."""
    adds = executed in (3, 4) or (executed == 5 and rng.random() < 0.4)
    # With a size of its own a thing needs room: there is little else then.
    source = _picture(rng, rng.randint(1, 2) if adds and changes < 2 else min(6, 2 + changes))
    demand = _demand(rng, source, "add" if adds else "recolour", ())
    done = demand
    if executed == 4:
        size, other = rng.sample(("small", "big"), 2)
        demand = replace(demand, new=replace(demand.new, size=size))
        done = replace(demand, new=replace(demand.new, size=other))
    elif executed in (2, 3):
        taken = {demand.new.colour, *(source.things[i].colour for i in demand.things)}
        colour = rng.choice([colour for colour in COLOURS if colour not in taken])
        done = replace(demand, new=replace(demand.new, colour=colour))
    edited = _unedited(source)
    return source, (demand,), edited if executed == 1 else _carried_out(done, source, edited, rng)


_ASKED: dict[str, Callable[[random.Random, int, int], Asked | None]] = {
    "identical": _identical,
    "neglect": _neglect,
    "spatial": _spatial,
    "count": _count,
    "attribute": _attribute,
}


def _picture(rng: random.Random, number: int, alike: int = 0) -> Picture:
    """`number` small things of different shapes, the first `alike` of them of one shape and colour."""
    places = rng.sample(list(PLACES), number)
    shapes = rng.sample(SHAPES, number)
    colours = [rng.choice(list(COLOURS)) for _ in places]
    variation = rng.randrange(1000)
    things = [
        Thing(*((shapes[0], colours[0]) if i < alike else (shapes[i], colours[i])), "small", place, variation + i)
        for i, place in enumerate(places)
    ]
    return Picture(tuple(things), rng.choice(SCENES), CLEAR, variation)


def _unedited(source: Picture) -> Edited:
    return Edited(dict(enumerate(source.things)), (), source.scene, source.light)


def _free(source: Picture, demands: Sequence[Demand]) -> list[int]:
    """Things that no demand is about."""
    return [i for i in range(len(source.things)) if all(i not in demand.things for demand in demands)]


def _demand(rng: random.Random, source: Picture, verb: str, others: Sequence[Demand]) -> Demand:
    """A demand on a thing that no other is about, that changes something."""
    taken = [demand.new.place for demand in others]
    free = [place for place in free_places(source.things, "small") if place not in taken] or ["middle"]
    if verb == "add":
        shape = _new_shape(rng, source, [demand.new.shape for demand in others])
        return Demand("add", (), Thing(shape, rng.choice(list(COLOURS)), "", rng.choice(free)))
    i = rng.choice(_free(source, others))
    if verb == "remove":
        return Demand("remove", (i,))
    if verb == "recolour":
        return Demand("recolour", (i,), Thing("", _other(rng, COLOURS, source.things[i].colour)))
    there = [place for place in free if not fits(place, source.things[i].place)] or ["middle"]
    return Demand("move", (i,), Thing("", "", "", rng.choice(there)))


def _carried_out(demand: Demand, source: Picture, edited: Edited, rng: random.Random) -> Edited:
    """The picture with one demand done as it says; places left unsaid are chosen."""
    kept, new = dict(edited.kept), list(edited.new)
    if demand.verb == "remove":
        return replace(edited, kept={i: thing for i, thing in kept.items() if i not in demand.things})
    if demand.verb == "add":
        for _ in range(demand.count):
            # Nothing comes to where something went: that would read as one thing that became another.
            free = free_places([*source.things, *kept.values(), *new], "small") or ["middle"]
            place = demand.new.place or rng.choice(free)
            size = demand.new.size or "small"
            new.append(replace(demand.new, size=size, place=place, variation=rng.randrange(1000)))
        return replace(edited, new=tuple(new))
    for i in demand.things:
        now = kept[i]
        kept[i] = (
            _recoloured(now, demand.new.colour) if demand.verb == "recolour" else replace(now, place=demand.new.place)
        )
    return replace(edited, kept=kept)


@lru_cache(maxsize=4096)
def _recoloured(thing: Thing, colour: str) -> Thing:
    """The thing in another colour, standing as it stood.

    The free details of a drawing follow from its variation and its colour; the variation is chosen that tilts, sizes
    and places the thing most nearly as before, so that nothing but the colour is seen to change.
    """
    before = stance(thing.shape, thing.colour, thing.variation)

    def apart(variation: int) -> float:
        return sum(abs(a - b) for a, b in zip(before, stance(thing.shape, colour, variation), strict=True))

    return replace(thing, colour=colour, variation=min(range(1000), key=apart))


def stance(shape: str, colour: str, variation: int) -> tuple[float, ...]:
    """Tilt, size and place as `toyworld.render` draws them by lot, each from 0 to 1."""
    drawn, placed = random.Random(f"{shape} {colour} {variation}"), random.Random(f"place {shape} {variation}")
    return drawn.random(), drawn.random(), placed.random(), placed.random()


def _disturbed(source: Picture, demands: Sequence[Demand], edited: Edited, changes: int, rng: random.Random) -> Edited:
    """The picture with that many changes that nobody asked for, each to another thing; fewer where there is no room."""
    others = _free(source, demands)
    rng.shuffle(others)
    asked_places = {demand.new.place for demand in demands}
    ways = ["scene", "come", *rng.choices(("gone", "colour", "move"), k=changes)]
    rng.shuffle(ways)
    for way in ways[:changes]:
        kept, new = dict(edited.kept), edited.new
        free = free_places([*source.things, *kept.values(), *new], "small")
        free = [place for place in free if place not in asked_places]
        if way == "scene":
            edited = replace(edited, scene=_other(rng, SCENES, source.scene))
        elif way == "come" and free:
            shape = _new_shape(rng, source, [demand.new.shape for demand in demands])
            come = Thing(shape, rng.choice(list(COLOURS)), "small", rng.choice(free), rng.randrange(1000))
            edited = replace(edited, new=(*new, come))
        elif others and way == "gone":
            del kept[others.pop()]
            edited = replace(edited, kept=kept)
        elif others and (way == "colour" or not free):
            i = others.pop()
            kept[i] = _recoloured(kept[i], _other(rng, COLOURS, kept[i].colour))
            edited = replace(edited, kept=kept)
        elif others:
            i = others.pop()
            kept[i] = replace(kept[i], place=rng.choice(free))
            edited = replace(edited, kept=kept)
    return edited


def _another(source: Picture, demands: Sequence[Demand], rng: random.Random) -> Edited:
    """An entirely different picture: no thing of the source's shapes or of the demands', and another scene."""
    avoided = [*(thing.shape for thing in source.things), *(demand.new.shape for demand in demands)]
    shapes = [shape for shape in SHAPES if shape not in avoided]
    places = [place for place in PLACES if all(place != demand.new.place for demand in demands)]
    number = rng.randint(2, 4)
    things = [
        Thing(shape, rng.choice(list(COLOURS)), "small", place, rng.randrange(1000))
        for shape, place in zip(rng.sample(shapes, number), rng.sample(places, number), strict=True)
    ]
    return Edited({}, tuple(things), _other(rng, SCENES, source.scene), source.light)


def _new_shape(rng: random.Random, source: Picture, avoided: Sequence[str] = ()) -> str:
    known = {*(thing.shape for thing in source.things), *avoided}
    return rng.choice([shape for shape in SHAPES if shape not in known])


def _other(rng: random.Random, known: Sequence[str] | dict[str, tuple[int, int, int]], one: str) -> str:
    return rng.choice([name for name in known if name != one])
