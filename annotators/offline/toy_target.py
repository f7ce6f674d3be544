"""What a plan over drawn references comes to: the target picture, and what each reference gives to it.

Captions of drawn references are the truth about them, so nothing is guessed: the target follows from the plan alone,
and writer, reasoner and painter each derive it for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from annotators.offline.chance import number, pick, share
from schemas.plan import Plan
from schemas.references import Reference
from schemas.tasks import Role
from toyworld.captions import the_colour, the_light, the_scene, the_thing
from toyworld.pool import picture_of
from toyworld.world import CLEAR, PLAIN, SCENES, SIZES, Picture, Thing, free_places, layouts

LIGHT_SUBTYPES = ("light", "tone", "style")
COLOUR_SUBTYPES = ("material", "pattern", "texture", "design")


class Infeasible(Exception):
    """The references allow no such sample. The message is the writer's reason, one sentence."""


@dataclass(frozen=True)
class Gift:
    """What one reference gives.

    Attributes:
        parts: phrases of the toy world's grammar, each naming something in that reference; empty where nothing is
            taken that the grammar can name.
        kept: it stays as it is in the reference (the base's), rather than being brought from it.
        remark: what is said instead of `parts` where those are empty.
    """

    parts: tuple[str, ...]
    kept: bool = False
    remark: str = ""


@dataclass(frozen=True)
class Target:
    """The picture a plan asks for.

    Attributes:
        base: the image to edit as it is, or None.
        gifts: one per reference, in order.
        shown: per reference, the number of its thing among the picture's things, or None.
        change: what happens, for the words: `add`, `replace`, `colour`, `light`, `scene`, `compose`.
    """

    picture: Picture
    base: Picture | None
    gifts: tuple[Gift, ...]
    shown: tuple[int | None, ...]
    change: str


def target_of(plan: Plan) -> Target:
    """The target of `plan`, decided by its roles, sub-type and seed.

    Raises:
        Infeasible: when the references allow no such sample.
    """
    seen = [_seen(i, r.reference) for i, r in enumerate(plan.references, 1)]
    roles = [r.role if str(r.stress) != "distractor" else None for r in plan.references]
    if roles[0] is not Role.BASE:
        return _composed(plan, seen, roles)
    rest = [role for role in roles[1:] if role is not None]
    if plan.subtype:
        return _with_attribute(plan, seen)
    if Role.SCENE in rest:
        return _moved(plan, seen, roles.index(Role.SCENE))
    if Role.SUBJECT in rest:
        return _added(plan, seen, [i for i, role in enumerate(roles) if role is Role.SUBJECT])
    if Role.DONOR in rest:
        return _replaced(plan, seen, roles.index(Role.DONOR))
    raise Infeasible("Nothing but the image to edit is given.")


def _seen(image: int, reference: Reference) -> Picture:
    try:
        return picture_of(reference)
    except ValueError as error:
        raise Infeasible(f"Image {image} is no drawing of the toy world: {error}.") from error


def _thing_of(image: int, picture: Picture) -> Thing:
    if not picture.things:
        raise Infeasible(f"Image {image} shows a scene and no thing that could be taken from it.")
    return picture.things[0]


def _added(plan: Plan, seen: Sequence[Picture], subjects: Sequence[int]) -> Target:
    base = seen[0]
    picture, shown = base, _unshown(seen)
    for i in subjects:
        given = _thing_of(i + 1, seen[i])
        for size in _sizes(plan, i, len(picture.things) + len(subjects)):
            places = free_places(picture.things, size)
            if places:
                break
        else:
            raise Infeasible(f"Image 1 has no room left for {_a(given)}.")
        thing = replace(given, size=size, place=pick(places, plan.seed, "place", i))
        shown[i] = len(picture.things)
        picture = picture.with_things([*picture.things, thing])
    gifts = [_ground_gift(base, kept=True, things=True)]
    gifts += [_thing_gift(seen[i]) if i in subjects else _unused(i + 1, seen[i]) for i in range(1, len(seen))]
    return Target(picture, base, tuple(gifts), tuple(shown), "add")


def _replaced(plan: Plan, seen: Sequence[Picture], donor: int) -> Target:
    base, shown = seen[0], _unshown(seen)
    old, new = _thing_of(1, base), _thing_of(donor + 1, seen[donor])
    if (old.shape, old.colour) == (new.shape, new.colour):
        raise Infeasible(f"Image 1 already shows {_a(old)}, which is what image {donor + 1} would put there.")
    put = replace(old, shape=new.shape, colour=new.colour, variation=new.variation)
    shown[donor] = 0
    remark = f"the place of {the_thing(old)} is consistent with image_1"
    ground = Gift((), True, remark) if base.scene == PLAIN else _ground_gift(base, kept=True)
    gifts = _others(seen, {0: ground, donor: _thing_gift(seen[donor])})
    return Target(base.with_things([put, *base.things[1:]]), base, gifts, tuple(shown), "replace")


def _moved(plan: Plan, seen: Sequence[Picture], scene: int) -> Target:
    base, ground = seen[0], seen[scene]
    _thing_of(1, base)
    if ground.things:
        raise Infeasible(f"Image {scene + 1} shows {_a(ground.things[0])}, not an empty place.")
    if (base.scene, base.light) == (ground.scene, ground.light):
        raise Infeasible(f"Image 1 already stands before the {ground.scene} of image {scene + 1}.")
    shown = _unshown(seen)
    shown[0] = 0
    things = Gift(tuple(the_thing(t) for t in base.things), True)
    gifts = _others(seen, {0: things, scene: _ground_gift(ground)})
    return Target(ground.with_things(base.things), base, gifts, tuple(shown), "scene")


def _with_attribute(plan: Plan, seen: Sequence[Picture]) -> Target:
    base, donor = seen[0], seen[1]
    if plan.subtype not in LIGHT_SUBTYPES + COLOUR_SUBTYPES:
        raise Infeasible(f"Drawings of the toy world have no {plan.subtype} that could be carried over.")
    lit = donor.light != base.light
    coloured = bool(base.things and donor.things) and donor.things[0].colour != base.things[0].colour
    wants_light = plan.subtype in LIGHT_SUBTYPES
    if lit and (wants_light or not coloured):
        # Things that stay are named with the ground: either may be what tells the base from the donor.
        gifts = _others(seen, {0: _kept_things(base), 1: Gift((the_light(donor.light),))})
        return Target(replace(base, light=donor.light), base, gifts, tuple(_unshown(seen)), "light")
    if not coloured:
        raise Infeasible(f"Images 1 and 2 have the same {plan.subtype}; carrying it over would change nothing.")
    colour = donor.things[0].colour
    things = [replace(base.things[0], colour=colour), *base.things[1:]]
    kept = [the_thing(replace(base.things[0], colour="")), *_ground_parts(base)]
    gifts = _others(seen, {0: Gift(tuple(kept), True), 1: Gift((the_colour(colour),))})
    return Target(base.with_things(things), base, gifts, tuple(_unshown(seen)), "colour")


def _composed(plan: Plan, seen: Sequence[Picture], roles: Sequence[Role | None]) -> Target:
    subjects = [i for i, role in enumerate(roles) if role in (Role.SUBJECT, Role.DONOR)]
    scenes = [i for i, role in enumerate(roles) if role is Role.SCENE]
    if not subjects:
        raise Infeasible("No image shows a thing that the new picture could hold.")
    # Photos of one subject are one thing in the picture.
    groups: dict[str, list[int]] = {}
    for i in subjects:
        _thing_of(i + 1, seen[i])
        groups.setdefault(plan.references[i].reference.subject, []).append(i)
    try:
        places = pick(layouts(len(groups)), plan.seed, "layout")
    except ValueError as error:
        raise Infeasible(f"A picture of the toy world cannot hold that many things: {error}.") from error
    things: list[Thing] = []
    shown = _unshown(seen)
    for n, members in enumerate(groups.values()):
        given = seen[members[0]].things[0]
        size = pick(tuple(SIZES), plan.seed, "size", n) if len(groups) < 3 else "small"
        size = size if places[n] in free_places(things, size) else "small"
        things.append(replace(given, size=size, place=places[n]))
        for i in members:
            shown[i] = n
    ground = seen[scenes[0]] if scenes else _invented(plan)
    if ground.things:
        raise Infeasible(f"Image {scenes[0] + 1} shows {_a(ground.things[0])}, not an empty place.")
    known = {i: _thing_gift(seen[i]) for i in subjects}
    known |= {i: _ground_gift(seen[i]) for i in scenes[:1]}
    return Target(ground.with_things(things), None, _others(seen, known), tuple(shown), "compose")


def _invented(plan: Plan) -> Picture:
    """A scene for a picture that no reference gives one."""
    light = pick(("warm", "cool", "dim"), plan.seed, "light") if share(plan.seed, "lit") < 0.25 else CLEAR
    return Picture((), pick(SCENES, plan.seed, "scene"), light, number(plan.seed, "ground") % 2**31)


def _sizes(plan: Plan, i: int, crowd: int) -> tuple[str, ...]:
    if crowd > 2 or share(plan.seed, "size", i) < 0.5:
        return ("small",)
    return ("big", "small")


def _unshown(seen: Sequence[Picture]) -> list[int | None]:
    return [None] * len(seen)


def _thing_gift(picture: Picture) -> Gift:
    return Gift((the_thing(picture.things[0]),))


def _ground_parts(picture: Picture) -> list[str]:
    scene = [the_scene(picture.scene)] if picture.scene != PLAIN else []
    return scene + ([the_light(picture.light)] if picture.light != CLEAR else [])


def _ground_gift(picture: Picture, kept: bool = False, things: bool = False) -> Gift:
    parts = [the_thing(t) for t in picture.things] if things else []
    return Gift((*parts, *_ground_parts(picture)) or (the_scene(picture.scene),), kept)


def _kept_things(base: Picture) -> Gift:
    scene = [the_scene(base.scene)] if base.scene != PLAIN or not base.things else []
    return Gift((*(the_thing(t) for t in base.things), *scene), True)


def _others(seen: Sequence[Picture], known: dict[int, Gift]) -> tuple[Gift, ...]:
    return tuple(known.get(i) or _unused(i + 1, picture) for i, picture in enumerate(seen))


def _unused(image: int, picture: Picture) -> Gift:
    what = the_thing(picture.things[0]) if picture.things else the_scene(picture.scene)
    return Gift((), False, f"{what} of image_{image} is left out")


def _a(thing: Thing) -> str:
    return f"{'an' if thing.colour == 'orange' else 'a'} {thing.colour} {thing.shape}"
