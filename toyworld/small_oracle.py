"""Read small, soft and noisy pictures of the drawn world, as small generators draw them: 48 pixels a side and up.

`toyworld.oracle` follows ink lines, which blur away below about 96 pixels. Here nothing is followed: every thing that
could be at a place is drawn, brought to the picture's size, laid over the one even ground that suits it best, and the
drawing nearest to the pixels is what is seen (analysis by synthesis). Colour, shape and size are so forced choices;
whether there is a thing at all is not: the best drawing must explain `_SEEN` of what varies at its place.

Measured on 500 held-out pictures of 1 to 4 things on any scene in any light, drawn at 384 pixels and reduced by area:
the share of the things, or pictures, that are read right. Worn: blurred by 0.7 pixels, then Gaussian noise of a tenth
of the range. Blurred: by 2 pixels, a tenth greyer, moved by up to 1.5 pixels, noise of a twentieth. A truth with one
attribute swapped (500 each; 329 for places) was agreed to by none, drawn or worn, at either size.

    ==================  ======  =====  =====  =====  =====  =====
    pictures            colour  shape  size   place  scene  light
    ==================  ======  =====  =====  =====  =====  =====
    64 pixels, drawn    1.000   1.000  1.000  0.999  1.000  1.000
    64 pixels, worn     0.997   0.996  0.998  0.997  1.000  1.000
    64 pixels, blurred  0.979   0.930  0.983  0.987  1.000  1.000
    48 pixels, drawn    1.000   0.999  1.000  0.998  1.000  1.000
    48 pixels, worn     0.995   0.990  0.996  0.994  1.000  1.000
    48 pixels, blurred  0.831   0.613  0.889  0.909  1.000  1.000
    ==================  ======  =====  =====  =====  =====  =====

Where it fails, a person is in doubt, too: white things before white ground or in noise, and at times a cloud that has
something of a thing. 2 to 3 ms of one CPU an image in batches of 10 or more; the drawings take 3 s once for each size
of picture. (With several BLAS threads on cores that others keep busy, small batches take many times that.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toyworld.edits import stance
from toyworld.oracle import frame, grounds
from toyworld.render import render_cutout
from toyworld.world import COLOURS, LIGHTS, PLACES, SHAPES, SIZES, Picture, Thing

Image = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]

TRUTH = ("colour", "shape", "place", "scene")
"""The groups of attributes that `truth` is the mean of."""

_SEEN = 0.25
"""Share of the variance at a place that a drawing must explain. Of the pictures measured, 1 empty place in 500 explains
0.19 or more; of the things, 1 in 200 explains 0.43 or less, of the worn ones at 48 pixels 0.28."""
_GRID = 24
_REACH = 1.28
"""A place is looked at in `_GRID` x `_GRID` points, of which those within `_REACH` radii count: a thing's white edge
ends at 1.17."""
_BLUR = 0.8
"""Softens pictures and drawings alike, in pixels: noise and the lot of a line between two pixels then matter less."""
_STEPS = ((0.0, 0.0), (0.012, 0.0), (-0.012, 0.0), (0.0, 0.012), (0.0, -0.012))
"""Where a thing that was found is looked at again, as shares of the picture: things are not exactly at their places."""
_SOFTER = (0.0, 0.028)
"""Each drawing is held against the picture as it is and softer by this share of the side, as an early generator's are:
without the softer one, a thing blurred by 2 pixels of 64 is often not seen at all."""
_DRAWN = 128
_TILTS = (0.25, 0.75)
"""From the one end of what `toyworld.edits.stance` gives to the other."""
_TRIED = 150
_FRAME = 64
_FAR = 100.0
"""A piece of the frame counts as no farther off than this: a thing may reach into it."""


def read(images: Sequence[Image]) -> list[Picture]:
    """What each image (uint8 [H, W, 3]; all of one size) shows, the most certain thing first.

    A scene is always named, as the nearest known; a thing only where one is seen.
    """
    if not len(images):
        return []
    grounds = [_ground(image) for image in images]
    seen = [soft(_unlit(image, light)) for image, (_, light) in zip(images, grounds, strict=True)]
    found = [(i, thing) for i, things in enumerate(_found(seen)) for thing in things]
    things: list[list[Thing]] = [[] for _ in images]
    for (i, _), thing in zip(found, _named(seen, found), strict=True):
        things[i].append(thing)
    return [Picture(tuple(t), scene, light) for t, (scene, light) in zip(things, grounds, strict=True)]


def attributes(images: Sequence[Image], meant: Sequence[Picture]) -> list[dict[str, float]]:
    """How much of what is meant each image shows, from 0 to 1 by attribute, and `truth`: the mean of `TRUTH`.

    `colour`, `shape` and `size`: the share of the meant things of which it is so. `place`: how many things are where
    one is meant, by the number meant or seen, whichever is more (so a thing too many counts, too). `scene` and `light`:
    0 or 1. What `meant` leaves unsaid has no entry, as have colour, shape and size where no thing is meant. Each
    meant thing is held against the thing seen at its place, else against the most alike one that is left over.
    """
    return [compare(seen, picture) for seen, picture in zip(read(images), meant, strict=True)]


def compare(seen: Picture, meant: Picture) -> dict[str, float]:
    """`attributes` of one image that was read before."""
    pairs = list(zip(meant.things, paired(meant, seen), strict=True))
    shares: dict[str, float] = {}
    for name in ("colour", "shape", "size"):
        right = [
            other is not None and getattr(other, name) == getattr(t, name) for t, other in pairs if getattr(t, name)
        ]
        if right:
            shares[name] = sum(right) / len(right)
    if all(thing.place for thing in meant.things):
        there = sum(other is not None and other.place == thing.place for thing, other in pairs)
        most = max(len(pairs), len(seen.things))
        shares["place"] = there / most if most else 1.0
    for name in ("scene", "light"):
        if getattr(meant, name):
            shares[name] = float(getattr(seen, name) == getattr(meant, name))
    told = [shares[name] for name in TRUTH if name in shares]
    return {**shares, "truth": sum(told) / len(told) if told else 1.0}


def paired(meant: Picture, seen: Picture) -> list[Thing | None]:
    """For each meant thing the one seen at its place, else the most alike one that is left over, else None."""
    left = {thing.place: thing for thing in seen.things}
    of = [left.pop(thing.place, None) for thing in meant.things]
    free = [(i, place) for i, known in enumerate(of) if known is None for place in left]
    for i, place in sorted(free, key=lambda pair: -alike(meant.things[pair[0]], left[pair[1]])):
        if of[i] is None and left[place] not in of:
            of[i] = left[place]
    return of


def alike(a: Thing, b: Thing) -> int:
    """How many of shape, colour, size and place two things share."""
    return sum(getattr(a, name) == getattr(b, name) for name in ("shape", "colour", "size", "place"))


def soft(pixels: npt.ArrayLike) -> Pixels:
    """A slightly blurred copy of [H, W, channels]."""
    import cv2

    return np.asarray(cv2.GaussianBlur(np.asarray(pixels, dtype=np.float32), (0, 0), _BLUR), dtype=np.float32)


def _unlit(image: Image, light: str) -> Pixels:
    return (image / np.array(LIGHTS[light], dtype=np.float32)).clip(0, 255).astype(np.float32)


def _found(seen: Sequence[Pixels]) -> list[list[Thing]]:
    """Of each picture the places and sizes of things; of two that would overlap, the better explained."""
    evidence: list[list[tuple[float, Thing]]] = [[] for _ in seen]
    for size in SIZES:
        places = [Thing("star", "red", size, place) for place in PLACES]
        windows = np.stack([_window(pixels, thing) for pixels in seen for thing in places])
        explained, _ = _best(windows, _templates(_side(seen[0]), size))
        for n in np.flatnonzero(explained > _SEEN).tolist():
            i, place = divmod(n, len(places))
            evidence[i].append((float(explained[n]), places[place]))
    chosen: list[list[Thing]] = []
    for candidates in evidence:
        kept: list[Thing] = []
        for _, thing in sorted(candidates, key=lambda c: -c[0]):
            if not any(thing.touches(other) for other in kept):
                kept.append(thing)
        chosen.append(kept)
    return chosen


def _named(seen: Sequence[Pixels], found: Sequence[tuple[int, Thing]]) -> list[Thing]:
    """The things found, (picture, place and size) each, with their shapes and colours."""
    named = [thing for _, thing in found]
    for size in SIZES:
        of_size = [n for n, (_, thing) in enumerate(found) if thing.size == size]
        if not of_size:
            continue
        templates = _templates(_side(seen[0]), size)
        windows = np.stack([_window(seen[found[n][0]], found[n][1], *step) for n in of_size for step in _STEPS])
        explained, which = _best(windows, templates)
        steps = explained.reshape(-1, len(_STEPS)).argmax(axis=1).tolist()
        for n, row, step in zip(of_size, which.reshape(-1, len(_STEPS)).tolist(), steps, strict=True):
            shape, colour = templates.names[row[step]]
            named[n] = Thing(shape, colour, size, found[n][1].place)
    return named


class _Templates(NamedTuple):
    """Things of one size, drawn, cut out at `values` points, over nothing; the sums that comparing needs, beside."""

    names: tuple[tuple[str, str], ...]
    """(shape, colour)."""
    painted: Pixels
    """[n, 3 * values]: colours, by how much the thing covers."""
    ground: Pixels
    """[n, values]: how much of the ground is left."""
    painted_on_ground: Pixels
    """[3, n]"""
    painted_square: Pixels
    ground_square: Pixels


def _best(windows: Pixels, templates: _Templates) -> tuple[Pixels, npt.NDArray[np.intp]]:
    """(share of the variance explained, index) of the best template for each of `windows` [n, 3, values].

    The error of a template P + G g, ground colour g fitted, is |w - P|^2 - ((w - P) G)^2 / G^2, summed over channels.
    """
    n, _, values = windows.shape
    flat, channels = windows.reshape(n, -1), windows.reshape(n * 3, values)
    behind = (channels @ templates.ground.T).reshape(n, 3, -1) - templates.painted_on_ground
    error = templates.painted_square - 2 * (flat @ templates.painted.T)
    error -= np.einsum("nck,nck->nk", behind, behind) / templates.ground_square
    index = error.argmin(axis=1)
    square = np.einsum("nv,nv->n", flat, flat)
    variance = square - np.square(channels.mean(axis=1)).reshape(n, 3).sum(axis=1) * values
    least = error[np.arange(n), index] + square
    return 1 - least / np.maximum(variance, 1.0), index


def _window(pixels: Pixels, thing: Thing, dx: float = 0.0, dy: float = 0.0) -> Pixels:
    """[channels, values] around where `thing` would be, or that far off."""
    import cv2

    (x, y), (height, width) = thing.centre, pixels.shape[:2]
    reach = thing.radius * _REACH * min(height, width)
    step = 2 * reach / _GRID
    first = step / 2 - reach - 0.5
    warp = np.array([[step, 0, (x + dx) * width + first], [0, step, (y + dy) * height + first]], dtype=np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(pixels, warp, (_GRID, _GRID), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut.reshape(_GRID * _GRID, -1)[_inside()].T, dtype=np.float32)


@lru_cache(maxsize=1)
def _inside() -> npt.NDArray[np.intp]:
    """The points of the grid that lie in the circle in it."""
    at = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    return np.flatnonzero(np.hypot(at[:, None], at[None, :]) <= 1)


def _side(pixels: Pixels) -> int:
    return int(min(pixels.shape[:2]))


@lru_cache(maxsize=8)
def _templates(side: int, size: str) -> _Templates:
    """Every shape in every colour in a few tilts, sharp and soft, as they are seen in a picture of `side` pixels."""
    import cv2

    # Drawn big once for both sizes: a small one is the same with more around it.
    border = round(_DRAWN * (SIZES["big"] / SIZES[size] - 1) / 2)
    names, cuts = [], []
    for shape in SHAPES:
        for colour in COLOURS:
            for variation in _variations(shape, colour):
                drawn = np.pad(_drawn(shape, colour, variation), ((border, border), (border, border), (0, 0)))
                small = np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
                for more in _SOFTER:
                    softer = cv2.GaussianBlur(small, (0, 0), more * side) if more else small
                    cuts.append(_window(soft(softer), Thing(shape, colour, size, "middle")))
                    names.append((shape, colour))
    every = np.stack(cuts)
    painted, ground = every[:, :3], 1 - every[:, 3]
    squares = np.square(painted).sum(axis=(1, 2)), np.square(ground).sum(axis=1)
    on_ground = np.einsum("ncv,nv->cn", painted, ground)
    return _Templates(tuple(names), painted.reshape(len(names), -1), ground, on_ground, *squares)


@lru_cache(maxsize=len(SHAPES) * len(COLOURS) * len(_TILTS))
def _drawn(shape: str, colour: str, variation: int) -> Pixels:
    """[side, side, 4]: colours by how much they cover, and how much that is."""
    thing = Thing(shape, colour, "big", "middle", variation)
    rgba = np.asarray(render_cutout(thing, _DRAWN)).astype(np.float32)
    cover = rgba[..., 3:] / 255
    return np.concatenate([rgba[..., :3] * cover, cover], axis=2)


def _variations(shape: str, colour: str) -> list[int]:
    """The variations that draw a thing most nearly in `_TILTS`, of middle size and in the middle.

    With tilts of their own, colours would be told by how a thing stands.
    """
    stances = [stance(shape, colour, variation) for variation in range(_TRIED)]

    def off(variation: int, tilt: float) -> float:
        turned, *others = stances[variation]
        return 2 * abs(turned - tilt) + sum(abs(other - 0.5) for other in others)

    return [min(range(_TRIED), key=lambda variation: off(variation, tilt)) for tilt in _TILTS]


def _ground(image: Image) -> tuple[str, str]:
    """(scene, light) by the outermost pixels, as `oracle.read_ground` does it, but for noise.

    There the worst third of the frame is left out, which makes white ground in noise snow; here it counts in bounds.
    """
    import cv2

    flags = cv2.INTER_AREA if min(image.shape[:2]) > _FRAME else cv2.INTER_LINEAR
    names, known = grounds()
    seen = frame(cv2.resize(image, (_FRAME, _FRAME), interpolation=flags).astype(np.float32))
    distances = np.abs(known - seen).sum(axis=2)
    return names[int(np.minimum(distances, _FAR).sum(axis=1).argmin())]
