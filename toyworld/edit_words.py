"""What is asked for, in plain English: instructions for edits and prompts for pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence

from toyworld.captions import Wording, caption, listed, place_phrase
from toyworld.edit_truth import Demand, Edited
from toyworld.world import Picture, Thing

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SAID: dict[str, tuple[str, ...]] = {
    "add": ("add {new}", "draw {new}", "insert {new}"),
    "remove": ("remove {old}", "take {old} away", "erase {old}"),
    "recolour": ("turn {old} {colour}", "make {old} {colour}", "change the colour of {old} to {colour}"),
    "move": ("move {old} {to}", "shift {old} {to}"),
}


def instruction(demands: Sequence[Demand], picture: Picture, rng: random.Random) -> str:
    """The demands on a picture as one sentence, each in one of several wordings."""
    clauses = [_clause(demand, picture, rng) for demand in demands]
    if len(clauses) > 1:
        clauses[-1] = f"and {clauses[-1]}"
    text = (", " if len(clauses) > 2 else " ").join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def inverse(demands: Sequence[Demand], source: Picture, edited: Edited, rng: random.Random) -> str:
    """What would lead from the edited picture back to the source, where every demand was carried out in full."""
    clauses: list[Demand] = []
    now = Picture(tuple(edited.kept.get(i, thing) for i, thing in enumerate(source.things)) + edited.new, edited.scene)
    for demand in demands:
        before = source.things[demand.things[0]] if demand.things else demand.new
        if demand.verb == "add":
            came = [i for i, thing in enumerate(now.things) if thing.shape == demand.new.shape]
            clauses.append(Demand("remove", tuple(came)))
        elif demand.verb == "remove":
            alone = len(demand.things) == 1
            new = Thing(before.shape, before.colour, before.size, before.place if alone else "")
            clauses.append(Demand("add", (), new, len(demand.things)))
        elif demand.verb == "recolour":
            clauses.append(Demand("recolour", demand.things, Thing("", before.colour)))
        else:
            clauses.append(Demand("move", demand.things, Thing("", "", "", before.place)))
    return instruction(clauses, now, rng)


def prompt(picture: Picture, wording: Wording) -> str:
    """A picture in words; alike things that no place tells apart are counted: `three red stars`."""
    if len({thing.shape for thing in picture.things}) == len(picture.things):
        return caption(picture, wording)
    groups: dict[str, list[Thing]] = {}
    for thing in picture.things:
        groups.setdefault(thing.shape, []).append(thing)
    things = listed([_some(Thing(shape, group[0].colour), len(group)) for shape, group in groups.items()])
    return f"{things} with a {picture.scene} background"


def _clause(demand: Demand, picture: Picture, rng: random.Random) -> str:
    things = [picture.things[i] for i in demand.things]
    old = ""
    if things:
        number = f"{_NUMBERS[len(things)]} " if len(things) > 1 else ""
        old = f"the {number}{things[0].colour} {_plural(things[0].shape, len(things))}"
    where = place_phrase(demand.new.place)
    # "To the right" alone would be met by any step to the right.
    side = " side" if where.startswith("on the") else ""
    to = where.replace("in the", "into the").replace("on the", "to the").replace("at the", "to the") + side
    new = _some(demand.new, demand.count) + (f" {where}" if where else "") if demand.verb == "add" else ""
    return rng.choice(_SAID[demand.verb]).format(old=old, new=new, colour=demand.new.colour, to=to)


def _some(thing: Thing, count: int) -> str:
    words = " ".join(word for word in (thing.size, thing.colour, _plural(thing.shape, count)) if word)
    if count > 1:
        return f"{_NUMBERS[count]} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(shape: str, count: int) -> str:
    return shape if count == 1 or shape == "fish" else f"{shape}s"
