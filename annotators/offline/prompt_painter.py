"""The offline painter of prompts: draws what a prompt names in the drawn world, and errs on purpose, as its note says.

So that judges have something to find, `ERRORS` says how many of its draws hold how many errors. Each error concerns
something that the prompt names: a thing forgotten, another thing or colour, a wrong number or place, another scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from annotators.offline.casting import cast, colour_of, light_of, scene_of, things_of
from annotators.offline.chance import number, pick, share, shuffled
from annotators.offline.prompt_reading import asking
from toyworld.world import CLEAR, COLOURS, PLACES, PLAIN, SCENES, SHAPES, Picture, Thing

if TYPE_CHECKING:
    from PIL import Image

ERRORS = ((0, 0.36), (1, 0.26), (2, 0.18), (3, 0.10), (9, 0.10))
"""(how many errors, the share of draws with so many); 9 draws another prompt's picture. Where a prompt names too
little to err in, a draw has fewer."""
SIDE = 384
"""Pixels of a painting where no size is asked for."""
_MOST_THINGS = 9
_MOST_SUBJECTS = 5
_TRIES = 160


@dataclass(frozen=True)
class Cast:
    """One noun of the prompt as it is drawn.

    Attributes:
        colour: of the drawn world; one by chance where the prompt names none (`coloured` is False).
        count: how many; `counted` where the prompt says so.
        place: where the prompt says so.
    """

    noun: str
    shape: str
    colour: str
    count: int = 1
    coloured: bool = False
    counted: bool = False
    place: str = ""
    big: bool = False


@dataclass(frozen=True)
class Staged:
    """What is to be drawn: the things, how they stand to each other, and the ground."""

    cast: tuple[Cast, ...]
    relations: tuple[tuple[str, str, str], ...]
    scene: str
    light: str
    named_scene: bool
    misplaced: bool = False


def painted(prompt: str, size: tuple[int, int] | None = None, draw: int = 0) -> tuple[Image.Image, str]:
    """The drawing as RGB, and the note that names its errors, parted by `; `; empty where it has none.

    Args:
        size: (width, height) in pixels; `SIDE` squared where None.
        draw: another number draws anew, with errors of its own.
    """
    from toyworld.render import render

    picture, note = drawn(prompt, draw)
    width, height = size or (SIDE, SIDE)
    return render(picture, width, height), note


def drawn(prompt: str, draw: int = 0) -> tuple[Picture, str]:
    """What `painted` draws, and its note: the truth about the painting."""
    seed = number(0, "prompt", prompt, draw)
    staged = staged_for(prompt, seed)
    errors = _how_many(seed)
    if errors == 9:
        others = [s for s in SHAPES if s not in {c.shape for c in staged.cast}]
        things = [Cast(s, s, pick(tuple(COLOURS), seed, "other", s)) for s in shuffled(others, seed, "others")[:2]]
        scene = pick([s for s in SCENES if s != staged.scene], seed, "other scene")
        staged = Staged(tuple(things), (), scene, CLEAR, named_scene=False)
        return _arranged(staged, seed), "another: a picture of something else"
    notes: list[str] = []
    for n in range(errors):
        kinds = [k for k in shuffled(tuple(_KINDS), seed, "errors", n) if k not in {m.split(":")[0] for m in notes}]
        for kind in kinds:
            spoilt = _KINDS[kind](staged, seed)
            if spoilt is not None:
                staged, told = spoilt
                notes.append(f"{kind}: {told}")
                break
    return _arranged(staged, seed), "; ".join(notes)


def staged_for(prompt: str, seed: int) -> Staged:
    """What a faithful painting of `prompt` holds: at most five nouns and nine things in all."""
    ask = asking(prompt)
    parts = cast(ask)
    found: list[Cast] = []
    room = _MOST_THINGS
    things = things_of(ask)[:_MOST_SUBJECTS]
    for left, subject in enumerate(things, 1 - len(things)):
        colours = [c for c in map(colour_of, subject.colours) if c]
        count = max(1, min(subject.count or (2 if subject.plural else 1), room + left))
        room -= count
        found.append(
            Cast(
                subject.noun,
                parts[subject.noun],
                colours[0] if colours else pick(tuple(COLOURS), seed, "colour", subject.noun),
                count,
                bool(colours),
                bool(subject.count),
                subject.place,
                bool({"big", "large", "larger", "huge", "giant"} & set(subject.details)),
            )
        )
    names = {c.noun for c in found}
    relations = tuple(r for r in ask.relations if r[0] in names and r[2] in names)
    scene = scene_of(ask) or (PLAIN if "white background" in ask.text else "")
    if not found and not scene:
        found = [Cast("", pick(SHAPES, seed, "unread"), pick(tuple(COLOURS), seed, "unread colour"))]
    return Staged(
        tuple(found), relations, scene or pick(SCENES, seed, "scene"), light_of(ask) or CLEAR, bool(scene_of(ask))
    )


def _how_many(seed: int) -> int:
    drawn_share = share(seed, "how many errors")
    for count, part in ERRORS:
        drawn_share -= part
        if drawn_share < 0:
            return count
    return 0


Spoilt = tuple[Staged, str]


def _forgotten(staged: Staged, seed: int) -> Spoilt | None:
    if not any(c.noun for c in staged.cast):
        return None
    lost = pick(staged.cast, seed, "forgotten")
    kept = tuple(c for c in staged.cast if c is not lost)
    relations = tuple(r for r in staged.relations if lost.noun not in r)
    return replace(staged, cast=kept, relations=relations), f"the {lost.noun}"


def _shape(staged: Staged, seed: int) -> Spoilt | None:
    others = [s for s in SHAPES if s not in {c.shape for c in staged.cast}]
    if not any(c.noun for c in staged.cast):
        return None
    one = pick(staged.cast, seed, "other shape")
    wrong = pick(others, seed, "shape")
    return _recast(staged, one, replace(one, shape=wrong)), f"{wrong} instead of the {one.noun}"


def _colour(staged: Staged, seed: int) -> Spoilt | None:
    named = [c for c in staged.cast if c.coloured]
    if not named:
        return None
    one = pick(named, seed, "other colour")
    wrong = pick([c for c in COLOURS if c != one.colour], seed, "colour")
    return _recast(staged, one, replace(one, colour=wrong)), f"{wrong} instead of {one.colour}, at the {one.noun}"


def _count(staged: Staged, seed: int) -> Spoilt | None:
    named = [c for c in staged.cast if c.counted and c.count < _MOST_THINGS]
    if not named:
        return None
    one = pick(named, seed, "other count")
    room = _MOST_THINGS - sum(c.count for c in staged.cast)
    steps = [s for s in (-2, -1, 1) if one.count + s >= 1 and s <= room]
    if not steps:
        return None
    wrong = one.count + pick(steps, seed, "count")
    return _recast(staged, one, replace(one, count=wrong)), f"{wrong} instead of {one.count}, of the {one.noun}"


def _place(staged: Staged, seed: int) -> Spoilt | None:
    if not staged.relations and not any(c.place for c in staged.cast):
        return None
    told = [f"the {a} not {how} the {b}" for a, how, b in staged.relations]
    told += [f"the {c.noun} not at the {c.place}" for c in staged.cast if c.place]
    return replace(staged, misplaced=True), told[0]


def _scene(staged: Staged, seed: int) -> Spoilt | None:
    if not staged.named_scene:
        return None
    wrong = pick([s for s in SCENES if s != staged.scene], seed, "other scene")
    return replace(staged, scene=wrong), f"{wrong} instead of {staged.scene}"


_KINDS: dict[str, Callable[[Staged, int], Spoilt | None]] = {
    "forgotten": _forgotten,
    "shape": _shape,
    "colour": _colour,
    "count": _count,
    "place": _place,
    "scene": _scene,
}


def _recast(staged: Staged, old: Cast, new: Cast) -> Staged:
    return replace(staged, cast=tuple(new if c is old else c for c in staged.cast))


def _arranged(staged: Staged, seed: int) -> Picture:
    """The things in the places where most of what is said of places holds, or least where they are misplaced."""
    units = [c for c in staged.cast for _ in range(c.count)]
    size = "big" if len(units) == 1 and (units[0].big or share(seed, "size") < 0.5) else "small"
    tries = (shuffled(tuple(PLACES), seed, "places", n)[: len(units)] for n in range(_TRIES))
    best: list[str] = []
    most = -1.0
    for places in tries:
        right = _holds(units, places, staged)
        right = 1 - right if staged.misplaced else right
        if right > most:
            best, most = places, right
        if most >= 1:
            break
    things = [
        Thing(c.shape, c.colour, size, place, number(seed, "drawn", i) % 2**31)
        for i, (c, place) in enumerate(zip(units, best, strict=True))
    ]
    return Picture(tuple(things), staged.scene, staged.light, number(seed, "ground") % 2**31)


def _holds(units: list[Cast], places: list[str], staged: Staged) -> float:
    """The share of what is said of places that holds, 0 to 1; 1 where nothing is said."""
    held = [at_place(PLACES[place], c.place) for c, place in zip(units, places, strict=True) if c.place]
    for one, how, other in staged.relations:
        steps = [
            [PLACES[place] for c, place in zip(units, places, strict=True) if c.noun == noun] for noun in (one, other)
        ]
        (ax, ay), (bx, by) = ((sum(s[0] for s in g) / len(g), sum(s[1] for s in g) / len(g)) for g in steps)
        held.append(stands(bx - ax, by - ay, how, 0.9))
    return sum(held) / len(held) if held else 1.0


def at_place(step: tuple[int, int], place: str) -> bool:
    """Whether a step from the middle (-1 to 1 to the right and down) lies at a place: `left` is the left third."""
    wanted = PLACES[place]
    if 0 not in wanted or place == "middle":
        return step == wanted
    return step[0] == wanted[0] if wanted[0] else step[1] == wanted[1]


def stands(dx: float, dy: float, how: str, unit: float) -> bool:
    """Whether a thing stands to another as `how` says, which lies `dx` to its right and `dy` below it.

    Behind is drawn as above, in front of as below; beside is within one and a half steps of `unit`.
    """
    if how == "beside":
        return bool(max(abs(dx), abs(dy)) <= 1.5 * unit)
    along = {"left of": dx, "right of": -dx, "above": dy, "behind": dy, "below": -dy, "in front of": -dy}[how]
    return bool(along >= 0.5 * unit)
