"""Read a picture of the drawn world from its pixels alone: scene, light, and each thing's colour, shape, size, place.

No truth is looked up. The ground is told from the frame, which things leave free; a thing is found by its closed ink
line with the white edge around it, named by its outline and inner lines, and coloured by a vote of its pixels after
the light is taken out again. Works from about 96 pixels, on JPEGs, and on cut-outs laid over other scenes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from toyworld.render import palette, render
from toyworld.scenes import draw_scene
from toyworld.world import CLEAR, COLOURS, LIGHTS, PLACES, PLAIN, SCENES, SHAPES, SIZES, Picture, Thing

Pixels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

_SIDE = 384
_FRAME = 64
_PATCH = 36
_VARIATIONS = 14
_FRAME_LIKE = 13
_VOTERS = 2000


class Sighting(NamedTuple):
    """A thing as it is seen.

    Attributes:
        mask: where it is, its ink line included; the whole picture's size, 0 or 1.
        box: x, y, width, height of the mask in pixels.
        patch: [2, 36, 36]: outline and inner lines, brought to one size.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    patch: Pixels


class _Template(NamedTuple):
    shape: str
    patch: Pixels
    extent: float
    """The longer side of its box, in radii."""
    offset: tuple[float, float]
    """From the middle of its box to the thing's middle, in radii."""


def read(image: Image.Image) -> Picture:
    """What `image` shows; things from top to bottom, then from left to right.

    Anything that is no thing of the drawn world is not seen; a scene is always named, as the nearest known.
    """
    scale = _SIDE / min(image.size)
    # The shorter side is brought to one length; beyond 5:2 things are narrowed rather than all enlarged.
    size = tuple(min(round(scale * side), _SIDE * 5 // 2) for side in image.size)
    even = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
    scene, light = read_ground(even)
    pixels: Pixels = np.asarray(even).astype(np.float32)
    pixels = (pixels / np.array(LIGHTS[light], dtype=np.float32)).clip(0, 255)
    things = [_named(seen, pixels) for seen in sightings(pixels, scene)]
    return Picture(tuple(sorted(things, key=lambda t: (round(t.centre[1], 2), t.centre[0]))), scene, light)


def agrees(seen: Picture, meant: Picture, attribute: str) -> bool:
    """Whether what is seen is what is meant in one attribute: scene, light, count, or colour, shape, size, place.

    Things are paired by nothing but the attribute and, beyond it, colour and shape: the order does not matter.
    """
    if attribute in ("scene", "light"):
        return bool(getattr(seen, attribute) == getattr(meant, attribute))
    if attribute == "count":
        return len(seen.things) == len(meant.things)
    values = [sorted(str(getattr(t, attribute)) for t in p.things) for p in (seen, meant)]
    return values[0] == values[1]


def same(seen: Picture, meant: Picture) -> bool:
    """Whether every scene, light and thing with all its attributes is as meant, in whatever order and drawing."""
    keys = [Counter((t.shape, t.colour, t.size, t.place) for t in p.things) for p in (seen, meant)]
    return keys[0] == keys[1] and (seen.scene, seen.light) == (meant.scene, meant.light)


def read_ground(image: Image.Image) -> tuple[str, str]:
    """(scene, light), judged by the outermost pixels alone."""
    return _nearest_ground(image)[0]


def is_drawn(image: Image.Image) -> bool:
    """Whether a picture's frame is one that this world draws; photographs are at least twice as far from any.

    White borders are in both worlds: whoever asks should see a thing, too.
    """
    return _nearest_ground(image)[1] < _FRAME_LIKE


def _nearest_ground(image: Image.Image) -> tuple[tuple[str, str], float]:
    """((scene, light), how far its frame is from the picture's: 2 to 11 for drawn ones)."""
    names, known = grounds()
    seen = frame(np.asarray(image.convert("RGB").resize((_FRAME, _FRAME), Image.Resampling.BOX)).astype(np.float32))
    distances = np.sort(np.abs(known - seen).sum(axis=2), axis=1)
    # A big thing may reach into some of the frame: the worst third of it is not counted.
    means = distances[:, : distances.shape[1] * 2 // 3].mean(axis=1)
    best = int(means.argmin())
    return names[best], float(means[best])


def sightings(pixels: Pixels, scene: str) -> list[Sighting]:
    """The things in `pixels` ([H, W, 3], 0 to 255, clear light) before `scene`."""
    import cv2

    side = min(pixels.shape[:2])
    ink = _ink(pixels, scene)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    # Dark ground that reaches across the picture would enclose things; no thing is that large.
    for label in range(1, count):
        if max(boxes[label][2:4]) >= 0.62 * side:
            ink[labels == label] = 0
    contours, _ = cv2.findContours(ink, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        box = (x, y, w, h)
        if not 0.1 * side < max(box[2:]) < 0.62 * side or min(box[2:]) < 0.05 * side:
            continue
        mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
        cv2.drawContours(mask, [contour], -1, 1, cv2.FILLED)
        if _has_white_edge(mask, pixels):
            found.append(Sighting(mask, box, _patch(mask, ink, box)))
    return found


def _ink(pixels: Pixels, scene: str) -> Mask:
    """1 where a pixel is as dark as the outline, small gaps closed; on dark scenes it must also differ from those."""
    import cv2

    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    dark = pixels.max(axis=2) < 104
    if scene == "night":
        dark &= blue - red < 40
    if scene == "forest":
        dark &= blue > green
    return cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.uint8)


def _has_white_edge(mask: Mask, pixels: Pixels) -> bool:
    """Whether one of the lines of pixels just outside the ink is mostly white."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    grown = [mask]
    for _ in range(4):
        grown.append(cv2.dilate(grown[-1], kernel).astype(np.uint8))
    lines = [(outer > 0) & (inner == 0) for inner, outer in itertools.pairwise(grown)]
    return max(float((pixels[line].min(axis=1) > 185).mean()) for line in lines) > 0.6


def _patch(mask: Mask, ink: Mask, box: tuple[int, int, int, int]) -> Pixels:
    """Outline and inner lines in a square of one size, centred on the box."""
    import cv2

    x, y, w, h = box
    side = max(w, h)
    out = np.zeros((2, _PATCH, _PATCH), dtype=np.float32)
    for i, layer in enumerate((mask, ink)):
        square = np.zeros((side, side), dtype=np.float32)
        top, left = (side - h) // 2, (side - w) // 2
        square[top : top + h, left : left + w] = layer[y : y + h, x : x + w]
        out[i] = cv2.resize(square, (_PATCH, _PATCH), interpolation=cv2.INTER_AREA)
    out[1] *= 0.7
    return out


def _named(seen: Sighting, pixels: Pixels) -> Thing:
    match = min(_templates(), key=lambda t: float(np.abs(t.patch - seen.patch).sum()))
    height, width = pixels.shape[:2]
    x, y, w, h = seen.box
    side = min(width, height)
    radius = max(w, h) / match.extent / side
    size = min(SIZES, key=lambda s: abs(SIZES[s] - radius))
    middle = (
        (x + w / 2) / width + match.offset[0] * radius * side / width,
        (y + h / 2) / height + match.offset[1] * radius * side / height,
    )
    place = min(PLACES, key=lambda p: _distance(Thing(match.shape, "red", size, p).centre, middle))
    return Thing(match.shape, _colour(seen.mask, pixels), size, place)


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _colour(mask: Mask, pixels: Pixels) -> str:
    """The colour most pixels vote for; ink does not vote."""
    import cv2

    inside = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
    names, known = _shades()
    voters = pixels[inside]
    voters = voters[:: max(1, len(voters) // _VOTERS)]
    # The nearest by |v - k|^2, less the |v|^2 that is the same for every k.
    nearest = (np.square(known).sum(axis=1) - 2 * voters @ known.T).argmin(axis=1)
    votes = Counter(names[i] for i in nearest.tolist())
    del votes["ink"]
    return max(COLOURS, key=lambda c: votes[c])


@lru_cache(maxsize=1)
def _shades() -> tuple[list[str], Pixels]:
    found = [(name, rgb) for name in COLOURS for part, rgb in palette(name).items() if part in ("body", "dark", "pale")]
    found += [("white", palette("white")["glass"]), ("ink", palette("white")["ink"])]
    # Shading moves a colour by up to a sixth towards white or black.
    shaded = [(name, np.array(rgb, dtype=np.float32)) for name, rgb in found]
    lighter = [(name, rgb + (255 - rgb) * 0.12) for name, rgb in shaded if name not in ("ink", "black")]
    darker = [(name, rgb * 0.9) for name, rgb in shaded if name != "ink"]
    every = shaded + lighter + darker
    return [name for name, _ in every], np.stack([rgb for _, rgb in every]).astype(np.float32)


@lru_cache(maxsize=1)
def _templates() -> list[_Template]:
    """Every shape as it is seen on plain ground, in a few tilts."""
    found = []
    for shape in SHAPES:
        for variation in range(3):
            thing = Thing(shape, "yellow", "big", "middle", variation)
            pixels = np.asarray(render(Picture((thing,), PLAIN, CLEAR), _SIDE)).astype(np.float32)
            (seen,) = sightings(pixels, PLAIN)
            x, y, w, h = seen.box
            radius = thing.radius * _SIDE
            offset = ((_SIDE / 2 - x - w / 2) / radius, (_SIDE / 2 - y - h / 2) / radius)
            found.append(_Template(shape, seen.patch, max(w, h) / radius, offset))
    return found


@lru_cache(maxsize=1)
def grounds() -> tuple[list[tuple[str, str]], Pixels]:
    """(scene, light) and the frame of each known ground: a tint multiplies a frame's means as it does its pixels."""
    names, frames = [], []
    for scene in (PLAIN, *SCENES):
        for variation in range(1 if scene == PLAIN else _VARIATIONS):
            clear = frame(np.asarray(draw_scene(scene, 10_000 + variation, _FRAME, _FRAME)).astype(np.float32))
            for light, tint in LIGHTS.items():
                names.append((scene, light))
                frames.append(clear * np.array(tint, dtype=np.float32))
    return names, np.stack(frames)


def frame(pixels: Pixels) -> Pixels:
    """[32, 3] of [H, W, 3]: mean colours of eight pieces of each side's outermost two pixels."""
    sides = [pixels[:2].transpose(1, 0, 2), pixels[-2:].transpose(1, 0, 2), pixels[:, :2], pixels[:, -2:]]
    means: Pixels = np.concatenate([s.reshape(8, -1, 3).mean(axis=1) for s in sides])
    return means
