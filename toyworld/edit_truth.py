"""The true scores of drawn edits and prompts, from what was asked and what was drawn, by FIRM's rubrics.

The rubrics are those of `prompts/firm/parts.j2` (arXiv 2603.12247, appendices C and D). Nothing is read from pixels.
What a reader of the rubric could take in two ways, the cases avoid: see `docs/exam.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from toyworld.world import PLACES, Picture, Thing

Verb = Literal["add", "remove", "recolour", "move"]
UNSAID = Thing("", "")
_ATTRIBUTES = ("shape", "colour", "size", "place")


@dataclass(frozen=True)
class Demand:
    """One change that an instruction asks for.

    Attributes:
        things: which of the source's things it is about, by index; none for an addition.
        new: what is to be there, or what the things are to become; unsaid attributes are `""`.
        count: how many are to be added.
    """

    verb: Verb
    things: tuple[int, ...] = ()
    new: Thing = UNSAID
    count: int = 1


@dataclass(frozen=True)
class Edited:
    """What became of a source picture.

    Attributes:
        kept: the source's things that are still there, as they are now, by index.
        new: things that came.
    """

    kept: Mapping[int, Thing]
    new: tuple[Thing, ...] = ()
    scene: str = ""
    light: str = ""

    def picture(self, variation: int) -> Picture:
        """The picture to draw."""
        things = (*(self.kept[i] for i in sorted(self.kept)), *self.new)
        return Picture(things, self.scene, self.light, variation)


def execution(source: Picture, demands: Sequence[Demand], edited: Edited) -> int:
    """Execution, 1 to 5: the score of a single demand; of several, how many of them failed.

    A demand failed below 4. One failure among several is an important part that is missing (3), more leave little of
    what was asked for (2); where all failed, it is the best of what was attempted.
    """
    scores = [_executed(demand, source, edited) for demand in demands]
    failed = [score for score in scores if score < 4]
    if len(scores) == 1 or not failed:
        return min(scores)
    if len(failed) == 1:
        return 3
    return 2 if len(failed) < len(scores) else min(2, max(scores))


def consistency(source: Picture, demands: Sequence[Demand], edited: Edited) -> int:
    """Consistency, 1 to 5, from the number of significant changes that no demand asks for.

    5: none. 4: one. 3: two or three. 2: four or more. 1: no thing is kept and the scene is another. The drawn world
    has no minor changes; its light would count as image quality, which is excepted.
    """
    if source.things and not edited.kept and edited.scene != source.scene:
        return 1
    count = len(unasked(source, demands, edited))
    return 5 if count == 0 else 4 if count == 1 else 3 if count <= 3 else 2


def unasked(source: Picture, demands: Sequence[Demand], edited: Edited) -> list[str]:
    """The significant changes that no demand asks for, a line each.

    A thing that comes or goes, each attribute of a kept thing that is another, and another scene count once each. What
    a demand asks to change does not count, however it was changed: that is Execution's.
    """
    asked = {(i, _TOUCHES[demand.verb]) for demand in demands for i in demand.things}
    found = []
    for i, thing in enumerate(source.things):
        now = edited.kept.get(i)
        if now is None:
            found += [] if (i, "gone") in asked else [f"{_name(thing)} is gone"]
        else:
            changed = [name for name in _ATTRIBUTES if getattr(now, name) != getattr(thing, name)]
            found += [f"{name} of {_name(thing)}" for name in changed if (i, name) not in asked]
    wanted = {demand.new.shape: demand.count for demand in demands if demand.verb == "add"}
    for thing in edited.new:
        if wanted.get(thing.shape, 0) > 0:
            wanted[thing.shape] -= 1
        else:
            found.append(f"{_name(thing)} came")
    return found + (["the scene"] if edited.scene != source.scene else [])


_TOUCHES = {"add": "", "remove": "gone", "recolour": "colour", "move": "place"}


def following(wanted: Picture, shown: Picture) -> int:
    """Instruction Following, 1 to 5, of a picture for a prompt that says `wanted`.

    Subjects are told apart by shape. A colour, a number, a place and the scene are requirements; a size, the light and
    a place that is half right (`near`) are details. A number off by more than half is two requirements, and so is a
    subject that is missing: its presence and what is said of it.

    1: no subject and not the scene. 2: most subjects are missing. 5: nothing is off. 4: one or two things are off, at
    most one of them a requirement. 3: anything between.
    """
    subjects = list(dict.fromkeys(thing.shape for thing in wanted.things))
    missing = [shape for shape in subjects if not _of(shape, shown)]
    scene_off = bool(wanted.scene) and wanted.scene != shown.scene
    if len(missing) == len(subjects):
        return 1 if scene_off or not wanted.scene else 2
    if 2 * len(missing) > len(subjects):
        return 2
    off, details = 2 * len(missing) + scene_off, int(bool(wanted.light) and wanted.light != shown.light)
    for shape in subjects:
        if shape not in missing:
            more_off, more_details = _misses(_of(shape, wanted), _of(shape, shown))
            off, details = off + more_off, details + more_details
    if off + details == 0:
        return 5
    return 4 if off <= 1 and off + details <= 2 else 3


def fits(asked: str, made: str) -> bool:
    """Whether a place is as asked: a corner on the left is on the left."""
    return set(asked.split()) <= set(made.split())


def near(asked: str, made: str) -> bool:
    """Whether a place is half as asked: `top` or `left` for `top left`."""
    return set(made.split()) < set(asked.split())


def _executed(demand: Demand, source: Picture, edited: Edited) -> int:
    if demand.verb == "add":
        return _added(demand, edited)
    if demand.verb == "remove":
        return _share(sum(i not in edited.kept for i in demand.things), len(demand.things))
    if demand.verb == "recolour":
        now = [edited.kept.get(i, source.things[i]).colour for i in demand.things]
        done = _share(now.count(demand.new.colour), len(now))
        tried = any(colour != source.things[i].colour for colour, i in zip(now, demand.things, strict=True))
        return max(done, 2) if tried else done
    (i,) = demand.things
    return _moved(source.things[i].place, demand.new.place, edited.kept.get(i, source.things[i]).place)


def _share(done: int, of: int) -> int:
    """All: 5. At least half: 3. Fewer: 2. None: 1."""
    return 5 if done == of else 3 if 2 * done >= of else 2 if done else 1


def _added(demand: Demand, edited: Edited) -> int:
    """5: all said is right. 4: a size or half a place is off. 3: a number, colour or place is wrong. 2: more is."""
    new = demand.new
    came = [thing for thing in edited.new if thing.shape == new.shape]
    if not came:
        return 2 if new.place and any(thing.place == new.place for thing in edited.new) else 1
    number = 3 if len(came) > demand.count else _share(len(came), demand.count)
    wrong, details = _off(new, came)
    if wrong == 0:
        return 4 if number == 5 and details else number
    return 3 if number == 5 and wrong == 1 else 2


def _moved(before: str, asked: str, now: str) -> int:
    """5: there. 4: half there. 1: where it was, or the other way. 2: anywhere else."""
    if fits(asked, now) and now != before:
        return 5
    if near(asked, now) and now != before:
        return 4
    (x, y), (ax, ay), (nx, ny) = PLACES[before], PLACES[asked], PLACES[now]
    along = (nx - x) * (ax - x) + (ny - y) * (ay - y)
    return 1 if now == before or along < 0 else 2


def _misses(wanted: list[Thing], shown: list[Thing]) -> tuple[int, int]:
    """(requirements, details) of one subject that are off."""
    few, many = sorted((len(wanted), len(shown)))
    off, details = _off(wanted[0], shown)
    return off + (0 if few == many else 1 if 2 * few >= many else 2), details


def _off(said: Thing, things: Sequence[Thing]) -> tuple[int, int]:
    """(of colour and place how many are wrong, of size and place how many are a little off) in any of `things`."""
    colour = bool(said.colour) and any(thing.colour != said.colour for thing in things)
    size = bool(said.size) and any(thing.size != said.size for thing in things)
    half = any(near(said.place, thing.place) for thing in things)
    place = any(not fits(said.place, thing.place) and not near(said.place, thing.place) for thing in things)
    return colour + place, size + half


def _of(shape: str, picture: Picture) -> list[Thing]:
    return [thing for thing in picture.things if thing.shape == shape]


def _name(thing: Thing) -> str:
    return f"the {thing.colour} {thing.shape}"
