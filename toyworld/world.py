"""What a drawn picture holds: things of a shape, colour, size and place, on a scene, in a light.

A `Picture` is both what is drawn and what a text says of it. An attribute that a text leaves unsaid is `""`; only a
picture with nothing left unsaid can be drawn (`complete` fills the gaps). `variation` numbers choose the details that
no caption tells (a slight tilt, where the clouds are), so one caption has many drawings and each is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

CHARACTERS = ("robot", "cat", "owl", "rabbit", "fish", "snail")
OBJECTS = ("star", "heart", "house", "tree", "ball", "car", "moon", "umbrella")
SHAPES = CHARACTERS + OBJECTS

RGB = tuple[int, int, int]
COLOURS: dict[str, RGB] = {
    "red": (222, 44, 48),
    "orange": (247, 134, 26),
    "yellow": (250, 212, 46),
    "green": (42, 165, 74),
    "blue": (44, 98, 224),
    "purple": (142, 64, 196),
    "pink": (250, 142, 190),
    "white": (243, 243, 240),
    "black": (58, 58, 66),
}
SCENES = ("sky", "grass", "sand", "night", "sea", "snow", "forest", "city", "brick")
PLAIN = "plain"
"""The white ground behind a cut-out; a scene of its own in captions, but not one of the scene pool."""

CLEAR = "clear"
LIGHTS: dict[str, tuple[float, float, float]] = {
    CLEAR: (1.0, 1.0, 1.0),
    "warm": (1.0, 0.85, 0.63),
    "cool": (0.66, 0.86, 1.0),
    "dim": (0.55, 0.54, 0.62),
}
"""What each light multiplies red, green and blue by."""

SIZES: dict[str, float] = {"small": 0.135, "big": 0.21}
"""Half a thing's extent, as a share of the picture's shorter side."""

PLACES: dict[str, tuple[int, int]] = {
    "middle": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
"""Steps from the middle, to the right and down."""

_STEP = {"small": 0.305, "big": 0.245}
"""How far from the middle a step goes: a big thing must stay inside the frame."""


@dataclass(frozen=True)
class Thing:
    """One thing; whatever of it is unsaid is `""`. `variation` is what no caption tells."""

    shape: str
    colour: str
    size: str = ""
    place: str = ""
    variation: int = 0

    def __post_init__(self) -> None:
        _check("shape", self.shape, ("", *SHAPES))
        _check("colour", self.colour, ("", *COLOURS))
        _check("size", self.size, ("", *SIZES))
        _check("place", self.place, ("", *PLACES))

    @property
    def character(self) -> bool:
        return self.shape in CHARACTERS

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, each in [0, 1] of the picture's width and height, y down."""
        dx, dy = PLACES[self.place or "middle"]
        step = _STEP[self.size or "big"]
        return 0.5 + step * dx, 0.5 + step * dy

    @property
    def radius(self) -> float:
        """Half its extent as a share of the picture's shorter side."""
        return SIZES[self.size or "big"]

    def touches(self, other: Thing) -> bool:
        """Whether the two would overlap or all but touch where they are."""
        (ax, ay), (bx, by) = self.centre, other.centre
        return math.hypot(ax - bx, ay - by) < (self.radius + other.radius) * 1.04


@dataclass(frozen=True)
class Picture:
    """Things on a scene in a light; `scene` and `light` may be unsaid (`""`)."""

    things: tuple[Thing, ...] = ()
    scene: str = ""
    light: str = ""
    variation: int = 0

    def __post_init__(self) -> None:
        _check("scene", self.scene, ("", PLAIN, *SCENES))
        _check("light", self.light, ("", *LIGHTS))

    def with_things(self, things: Iterable[Thing]) -> Picture:
        return replace(self, things=tuple(things))

    @property
    def undrawable(self) -> list[str]:
        """Plain words for each thing left unsaid or impossible; empty where the picture can be drawn."""
        found = [f"the {t.colour} {t.shape or 'thing'} has no {name}" for t in self.things for name in _gaps(t)]
        found += [name for name in ("scene", "light") if not getattr(self, name)]
        if not found:
            pairs = [(a, b) for i, a in enumerate(self.things) for b in self.things[:i] if a.touches(b)]
            found = [f"the {a.colour} {a.shape} and the {b.colour} {b.shape} overlap" for a, b in pairs]
        return found


def complete(picture: Picture) -> Picture:
    """What a reference's caption means: unsaid scene is plain, light clear, one thing big and in the middle.

    Raises:
        ValueError: when several things leave their places unsaid, so that they would overlap.
    """
    things = tuple(replace(t, size=t.size or "big", place=t.place or "middle") for t in picture.things)
    whole = replace(picture, things=things, scene=picture.scene or PLAIN, light=picture.light or CLEAR)
    if whole.undrawable:
        raise ValueError("; ".join(whole.undrawable))
    return whole


def variation_of(picture: Picture, number: int) -> Picture:
    """`picture` with every free detail (tilt, clouds) set by `number`."""
    return replace(picture, variation=number, things=tuple(replace(t, variation=number) for t in picture.things))


def free_places(things: Sequence[Thing], size: str) -> list[str]:
    """The places where a thing of `size` can be put beside `things` without touching one."""
    return [p for p in PLACES if not any(Thing("star", "red", size, p).touches(t) for t in things)]


LAYOUTS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("middle",), ("left",), ("right",), ("top",), ("bottom",)),
    2: (("left", "right"), ("top", "bottom"), ("top left", "bottom right"), ("bottom left", "top right")),
    3: (("left", "middle", "right"), ("top", "bottom left", "bottom right"), ("top left", "top right", "bottom")),
    4: (("top left", "top right", "bottom left", "bottom right"), ("top", "left", "right", "bottom")),
}
"""Places for N new things; three and more are always small."""


def layouts(count: int) -> tuple[tuple[str, ...], ...]:
    """The arrangements of `count` new things.

    Raises:
        ValueError: for none, or for more things than there are places (9).
    """
    if not 1 <= count <= len(PLACES):
        raise ValueError(f"{count} things: a picture holds 1 to {len(PLACES)}")
    return LAYOUTS.get(count, (tuple(PLACES)[:count],))


def _gaps(thing: Thing) -> list[str]:
    return [name for name in ("shape", "colour", "size", "place") if not getattr(thing, name)]


def _check(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(k for k in known if k)}")
