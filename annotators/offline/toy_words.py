"""How the toy world's writer speaks: instructions built from the target and the plan's wording choices.

An instruction is an opening (what happens), and for longer ones one or two sentences more on the plan's focus. Indexed
wording names images by number; index-free wording names things by what they are and never says a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from annotators.offline.chance import pick, shuffled
from annotators.offline.toy_target import Target
from schemas.plan import Length, Naming, Plan, Style
from toyworld.captions import listed, place_phrase, the_thing
from toyworld.world import CLEAR, PLAIN, Picture, Thing

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

GROUNDS: dict[str, tuple[str, ...]] = {
    "sky": ("the cloudy sky", "the blue sky with its clouds"),
    "grass": ("the flower meadow", "the green hills"),
    "sand": ("the sand dunes", "the desert"),
    "night": ("the starry night", "the night sky"),
    "sea": ("the open sea", "the waves"),
    "snow": ("the snowy hills", "the snow field"),
    "forest": ("the forest", "the woods"),
    "city": ("the city skyline", "the tower blocks"),
    "brick": ("the brick wall", "the wall of bricks"),
    PLAIN: ("the plain white ground", "the empty white page"),
}
LIGHTS = {
    CLEAR: "clear daylight",
    "warm": "warm evening light",
    "cool": "cool bluish light",
    "dim": "dim light",
}

_FOCUS: dict[str, tuple[str, ...]] = {
    "material": (
        "Keep the glossy sticker surface and its white edge.",
        "The smooth, shaded surface should stay as it is drawn.",
        "Mind the sheen: lighter at the top, darker at the foot.",
    ),
    "texture": (
        "Leave the small marks of the background visible around it.",
        "The fine drawing of the background must not blur.",
        "Keep the background's own grain right up to the white edge.",
    ),
    "pattern": (
        "Every inner line and patch stays where it is drawn.",
        "Keep the lighter and darker patches of the drawing apart.",
        "The marks on the drawing should be easy to tell.",
    ),
    "color": (
        "Match the colours exactly, neither paler nor darker than they are.",
        "Its colour must be the very one that is shown.",
        "Let no other colour creep in.",
    ),
    "light": (
        "Everything stands in {light}.",
        "The light is {light}, the same on all parts of the picture.",
        "Let {light} fall on things and background alike, with a soft shadow below.",
    ),
    "shape": (
        "Keep the outline crisp, with its dark line all around.",
        "The silhouette must be recognisable at a glance.",
        "Do not simplify the shape: ears, corners and points stay.",
    ),
    "position": (
        "Nothing may touch the frame or another thing.",
        "Leave clear space around each thing.",
        "Stick to the places named, to the very corner.",
    ),
    "background": (
        "Behind it all lies {ground}, free of anything else.",
        "{Ground} fills the picture to its edges.",
        "Add nothing else to {ground}.",
    ),
}


@dataclass(frozen=True)
class _Speaker:
    """Chooses words for one plan, each choice by its own name, so that they vary independently."""

    plan: Plan
    target: Target

    @property
    def indexed(self) -> bool:
        return self.plan.wording.naming is Naming.INDEXED

    def one(self, name: str, *options: str) -> str:
        return pick(options, self.plan.seed, "words", name)

    def image(self, index: int) -> str:
        """`image 2` or `the second image`; only for indexed wording."""
        styles = [f"image {index + 1}"]
        if index < len(_ORDINALS):
            styles.append(f"the {_ORDINALS[index]} image")
        return pick(styles, self.plan.seed, "image style")

    def of(self, index: int) -> str:
        """` from image 2`, or nothing."""
        return f" {self.one('of', 'from', 'of', 'shown in')} {self.image(index)}" if self.indexed else ""

    def thing(self, index: int) -> str:
        """The thing that reference `index` gives to the target: `the red star from image 2`."""
        number = self.target.shown[index]
        thing = self.target.picture.things[number or 0]
        return f"{the_thing(thing)}{self.of(index)}"

    def place(self, index: int) -> str:
        """` drawn small on the left` for the thing that reference `index` gives."""
        number = self.target.shown[index]
        thing = self.target.picture.things[number or 0]
        where = place_phrase(thing.place)
        return self.one(
            f"place {index}", f" drawn {thing.size} {where}", f" {where} at a {thing.size} size", f" {where}"
        )

    def things(self) -> list[int]:
        """One reference per thing of the target, and every photo of a subject where it is indexed."""
        seen: dict[int, int] = {}
        for i, number in enumerate(self.target.shown):
            if number is not None:
                seen.setdefault(number, i)
        return list(seen.values())

    def ground(self, picture: Picture, name: str = "ground") -> str:
        light = f" in {LIGHTS[picture.light]}" if picture.light != CLEAR else ""
        return self.one(name, *GROUNDS[picture.scene]) + light

    def base(self) -> str:
        """What the image to edit is called."""
        if self.indexed:
            return self.image(0)
        return self.one("base", "the picture", "this picture", "the scene at hand", "the given drawing")


def instruction_for(plan: Plan, target: Target) -> str:
    """One instruction: at least an opening sentence, and by its length up to two sentences on the focus."""
    speaker = _Speaker(plan, target)
    opening = _OPENINGS[target.change](speaker, plan.wording.style is Style.DESCRIPTIVE)
    more = {Length.SHORT: 0, Length.MEDIUM: 1, Length.LONG: 2}[plan.wording.length]
    tails = _tails(speaker)[:more]
    return " ".join([_sentence(opening), *tails])


def _tails(say: _Speaker) -> list[str]:
    focus = say.plan.wording.focus
    own = shuffled(_FOCUS.get(focus, _FOCUS["color"]), say.plan.seed, "tail")
    rest = [t for name, tails in _FOCUS.items() if name not in (focus, "light", "background") for t in tails]
    ground = say.ground(say.target.picture, "tail ground")
    values = {"light": LIGHTS[say.target.picture.light], "ground": ground, "Ground": ground[0].upper() + ground[1:]}
    return [t.format(**values) for t in (own[0], pick(rest, say.plan.seed, "second tail"))]


def _added(say: _Speaker, descriptive: bool) -> str:
    items = [f"{say.thing(i)}{say.place(i)}" for i in say.things()]
    base, what, verb = say.base(), listed(items), "stands" if len(items) == 1 else "stand"
    ground = say.ground(say.target.picture)
    if descriptive:
        return say.one(
            "add",
            f"{ground} of {base} is no longer empty: {what} {verb} there",
            f"in {base}, {what} {verb} before {ground}",
            f"{what} {verb} in {base}, and the rest is unchanged",
            f"{base} as it is, with {what}",
            f"before {ground} of {base} one now sees {what}",
        )
    return say.one(
        "add",
        f"add {what} to {base}",
        f"put {what} into {base}",
        f"place {what} in {base} and leave the rest of it alone",
        f"take {what} and set it into {base}" if len(items) == 1 else f"take {what} and set them into {base}",
        f"bring {what} into {base}, in front of {ground}",
        f"let {what} appear in {base}",
    )


def _replaced(say: _Speaker, descriptive: bool) -> str:
    donor = next(i for i, number in enumerate(say.target.shown) if number is not None)
    old, new, base = the_thing(_old(say)), say.thing(donor), say.base()
    spot = place_phrase(_old(say).place)
    if descriptive:
        return say.one(
            "replace",
            f"where {old} was in {base}, there is now {new}",
            f"{new} stands {spot} of {base} in place of {old}",
            f"{base} without {old}: {new} has its place and its size",
            f"{base} shows {new} {spot}; {old} is gone",
            f"instead of {old}, {base} holds {new}, exactly as large",
        )
    return say.one(
        "replace",
        f"replace {old} in {base} with {new}",
        f"swap {old} of {base} for {new}",
        f"exchange {old} in {base} for {new}, at the same place and size",
        f"take {old} out of {base} and put {new} there",
        f"turn {old} {spot} of {base} into {new}",
        f"let {new} stand {spot} of {base} where {old} is now",
    )


def _coloured(say: _Speaker, descriptive: bool) -> str:
    old, word = _old(say), {"material": "paint", "design": "colour scheme"}.get(say.plan.subtype, "colour")
    new = say.target.picture.things[0]
    donor = f"the {new.colour} {word}{say.of(1)}" if say.indexed else f"the other drawing's {new.colour} {word}"
    base = say.base()
    if descriptive:
        return say.one(
            "colour",
            f"{the_thing(old)} of {base} now has {donor}",
            f"{donor} covers {the_thing(old)} in {base}, and all else is as before",
            f"{base} with one difference: its {old.shape} wears {donor}",
            f"the {old.shape} in {base} is {new.colour}, in {donor}",
        )
    return say.one(
        "colour",
        f"give {the_thing(old)} in {base} {donor}",
        f"repaint {the_thing(old)} of {base} with {donor}",
        f"carry {donor} over to the {old.shape} in {base}",
        f"use {donor} for {the_thing(old)} in {base} and change nothing else",
        f"let the {old.shape} in {base} take on {donor}",
    )


def _lit(say: _Speaker, descriptive: bool) -> str:
    light, base, word = LIGHTS[say.target.picture.light], say.base(), say.plan.subtype or "light"
    donor = f"the {light}{say.of(1)}" if say.indexed else f"the {light} of the other picture"
    if descriptive:
        return say.one(
            "light",
            f"{base} lies in {donor}, with everything in its place",
            f"{donor} falls on all of {base}",
            f"the {word} of {base} has changed: {donor} lies over it",
            f"{base}, seen in {donor}",
        )
    return say.one(
        "light",
        f"bathe {base} in {donor}",
        f"give {base} {donor}",
        f"carry the {word} over to {base}: {donor}",
        f"relight {base} with {donor} and move nothing",
        f"let {donor} fall over all of {base}",
    )


def _moved(say: _Speaker, descriptive: bool) -> str:
    index = next(i for i, r in enumerate(say.plan.references) if i and str(r.role) == "scene")
    what = listed([the_thing(t) for t in say.target.picture.things])
    subject = f"{what} of {say.base()}" if say.indexed else what
    ground = f"{say.ground(say.target.picture)}{say.of(index)}"
    if descriptive:
        return say.one(
            "scene",
            f"{subject} is now before {ground}",
            f"behind {subject} lies {ground}",
            f"{subject}, unchanged, in front of {ground}",
            f"{ground} has become the background of {subject}",
        )
    return say.one(
        "scene",
        f"move {subject} to {ground}",
        f"put {ground} behind {subject}",
        f"change the background of {subject} to {ground}",
        f"keep {subject} and set it before {ground}",
        f"show {subject} in front of {ground}",
        f"take {subject} out of its surroundings and into {ground}",
    )


def _composed(say: _Speaker, descriptive: bool) -> str:
    items = [f"{_every_photo(say, i)}{say.place(i)}" for i in say.things()]
    scenes = [i for i, r in enumerate(say.plan.references) if str(r.role) == "scene"]
    ground = say.ground(say.target.picture) + (say.of(scenes[0]) if scenes else "")
    what = listed(shuffled(items, say.plan.seed, "order"))
    if descriptive:
        return say.one(
            "compose",
            f"{what} before {ground}",
            f"in front of {ground}: {what}",
            f"a picture of {what}, with {ground} behind",
            f"one sees {what}, and {ground} all around",
            f"{ground}, and before it {what}",
        )
    return say.one(
        "compose",
        f"draw {what} before {ground}",
        f"make a new picture of {what}, with {ground} behind",
        f"show {what}, in front of {ground}",
        f"compose a picture: {what}, before {ground}",
        f"place {what} in one picture, and let {ground} be the background",
        f"paint {ground} and put there {what}",
    )


def _every_photo(say: _Speaker, index: int) -> str:
    """The thing, and all images that show it where there are several."""
    number = say.target.shown[index]
    photos = [i for i, n in enumerate(say.target.shown) if n == number]
    if not say.indexed or len(photos) == 1:
        return say.thing(index)
    thing = the_thing(say.target.picture.things[number or 0])
    return f"{thing} that {listed([say.image(i) for i in photos])} show"


def _old(say: _Speaker) -> Thing:
    base = say.target.base
    if base is None or not base.things:
        raise ValueError("only an edit of a thing has an old one")
    return base.things[0]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


_OPENINGS: dict[str, Callable[[_Speaker, bool], str]] = {
    "add": _added,
    "replace": _replaced,
    "colour": _coloured,
    "light": _lit,
    "scene": _moved,
    "compose": _composed,
}
