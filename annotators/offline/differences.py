"""What differs between two pictures, by their pixels: a baseline report, not a model's.

It sees outlines, colours, places and counts; it knows no names of things in photographs, and cannot tell a hat from
a shadow of a hat's size. Pictures of the drawn world are read exactly instead (`toy_differences`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from annotators.offline.changes import Change, Differences
from annotators.offline.difference_words import detailed, obvious
from annotators.offline.looks import colour_shares, colour_words
from annotators.offline.merging import merged
from annotators.offline.region_looks import Region, Sight, box_of, correlation
from annotators.offline.regions import regions, sight
from annotators.offline.registration import Aligned, Tint, aligned, flat
from annotators.offline.toy_differences import toy_differences

__all__ = ["Change", "Differences", "detailed", "differences", "obvious"]

Array = NDArray[Any]

_PERVASIVE = 3.5
"""The common noise, in Lab, above which the whole picture is taken to be redrawn."""


def differences(before: Image.Image, after: Image.Image) -> Differences:
    """Compare two upright pictures of any sizes and modes; the second may be a crop of the first.

    A tint over the whole picture is taken out first and reported as light; a shift of the camera by a few pixels is
    no change. About 50 ms for 768 x 768 pixels.
    """
    if before.size == after.size and ImageChops.difference(flat(before), flat(after)).getbbox() is None:
        return Differences()
    drawn = toy_differences(before, after)
    if drawn is not None:
        return drawn
    if not lost_colour(before, after):
        return pixel_differences(before, after)
    # What else differs is told once neither has colours.
    found = pixel_differences(*(flat(image).convert("L").convert("RGB") for image in (before, after)))
    return replace(found, light=("colourless", *(word for word in found.light if word in ("brighter", "darker"))))


def lost_colour(before: Image.Image, after: Image.Image) -> bool:
    """Whether a picture in colour became one of greys alone."""
    import cv2

    chroma = []
    for image in (before, after):
        small = np.asarray(flat(image).resize((64, 64), Image.Resampling.BOX), np.float32) / 255
        chroma.append(np.hypot(*np.moveaxis(cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 1:], -1, 0)))
    return float(np.quantile(chroma[0], 0.9)) >= _COLOURED and float(np.quantile(chroma[1], 0.98)) < _GREY


_COLOURED, _GREY = 8.0, 4.0
"""Lab chroma that a tenth of a coloured picture has, and that hardly a pixel of a grey one has."""


def pixel_differences(before: Image.Image, after: Image.Image) -> Differences:
    """The same for any pictures, without asking whether they are drawn."""
    pair = aligned(before, after)
    seen = sight(pair)
    share = float(seen.changed.sum() / max(1, pair.valid.sum()))
    overall = _overall(seen, pair, share)
    if overall in ("relit", "another picture"):
        found: list[Change] = []
    else:
        places = regions(seen)
        found = merged([(change_of(r, pair), r) for r in places])
    scene = _scene(seen, pair)
    if scene is not None:
        found = [scene, *(c for c in found if c.share < 0.2)]
        overall = "" if overall == "another picture" else overall
    framing = pair.framing
    return Differences(
        changes=tuple(found),
        reframed=framing.changed,
        zoom=round(framing.scale, 2),
        covered=round(framing.covered, 2),
        light=_light(pair.tint),
        overall=overall,
        sharpness=_sharpness(seen, pair),
        drift=round(float(((seen.distance > 3) & ~seen.changed & pair.valid).sum() / max(1, pair.valid.sum())), 3),
    )


def change_of(region: Region, pair: Aligned) -> Change:
    """A region in words and shares."""
    height, width = region.mask.shape
    kind = kind_of(region)
    left, top, right, bottom = box_of(region.mask)
    inner = _inner(region.mask)
    pixels = [p[inner][:: max(1, int(inner.sum()) // 2000)] / 255 for p in (pair.bare, pair.after)]
    words = [colour_words(p) for p in pixels]
    return Change(
        kind=kind,
        box=(left / width, top / height, right / width, bottom / height),
        share=region.share,
        before=() if kind == "appeared" else words[0],
        after=() if kind == "disappeared" else words[1],
        growth=_growth(region) if kind == "reshaped" else 1.0,
        text=_lettered(pair, region),
        strength=region.strength,
        under=_under(pair, region) if kind == "appeared" else (),
    )


def _inner(mask: Array) -> Array:
    """The mask without its outermost pixels, which hold some ground; all of it where little would be left."""
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.asarray(inner if inner.sum() > 0.25 * mask.sum() else mask)


def _under(pair: Aligned, region: Region) -> tuple[tuple[str, float], ...]:
    """What lies just below a region's middle half; nothing where it reaches the lower edge."""
    left, _, right, bottom = region.box
    height = pair.after.shape[0]
    inset = (right - left) // 4
    strip = pair.after[
        bottom + 1 : bottom + 1 + max(3, height // 27), left + inset : max(left + inset + 1, right - inset)
    ]
    return colour_shares(strip.reshape(-1, 3) / 255) if strip.size else ()


def kind_of(region: Region) -> str:
    """Which of the kinds of `Change` a region is, but `moved` and `scene`, which take more than one region."""
    if region.side >= 0:
        return ("disappeared", "appeared")[region.side]
    stands = region.stands
    ratio = (stands[1] + 0.5) / (stands[0] + 0.5)
    if region.shade and max(stands) < 4:
        return "shaded"
    remains = region.left > 0.2 and region.same_colours > 0.6
    if min(stands) < 2.4 and not remains:
        if ratio > 1.55:
            return "appeared"
        if ratio < 1 / 1.55:
            return "disappeared"
    grown = remains and min(stands) < 1.5
    if grown or (region.same_colours > 0.5 and region.step < (17 if remains else 22)):
        return "reshaped"
    return "recoloured" if region.lines_kept > 0.25 or region.kept > 0.6 else "replaced"


def _growth(region: Region) -> float:
    """How much larger a thing of the same colours became: known only where one picture shows clearly less of it."""
    stands = region.stands
    if region.left > 0.7 or min(stands) > 2.4:
        return 1.0
    return round(region.left if stands[0] > stands[1] else 1 / region.left, 2)


def _overall(seen: Sight, pair: Aligned, share: float) -> str:
    if share < 0.55 and seen.noise < _PERVASIVE and pair.tint.explained > 0.34:
        return ""
    alike = structure(seen)
    if share > 0.55:
        return "relit" if alike > 0.5 else "restyled" if alike > 0.3 else "another picture"
    return "restyled" if seen.noise >= _PERVASIVE else ""


def structure(seen: Sight) -> float:
    """How far the two pictures have their lines in the same places, -1 to 1."""
    import cv2

    maps = []
    for picture in seen.labs:
        light = cv2.resize(picture[..., 0], (128, 128), interpolation=cv2.INTER_AREA)
        steps = cv2.magnitude(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
        maps.append(np.sqrt(cv2.GaussianBlur(steps, (0, 0), 1.2)))
    return correlation(maps[0], maps[1])


def _scene(seen: Sight, pair: Aligned) -> Change | None:
    """The background of the whole picture, where the frame changed nearly all around."""
    height, width = seen.changed.shape
    edge = max(3, round(0.05 * max(height, width)))
    strips = (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:])
    shares = sorted(float(seen.changed[s].mean()) for s in strips)
    if shares[1] < 0.85 or seen.changed.mean() < 0.45 or structure(seen) > 0.5:
        return None
    frame = np.zeros((height, width), bool)
    for strip in strips:
        frame[strip] = True
    frame &= seen.changed
    words = [colour_words(p[frame][::7] / 255) for p in (pair.bare, pair.after)]
    share = float(seen.changed.mean())
    return Change("scene", (0.0, 0.0, 1.0, 1.0), share, words[0], words[1], strength=float(seen.distance[frame].mean()))


def _light(tint: Tint) -> tuple[str, ...]:
    words = []
    if abs(tint.light) > 3:
        words.append("brighter" if tint.light > 0 else "darker")
    if abs(tint.yellow) > 3:
        words.append("warmer" if tint.yellow > 0 else "cooler")
    if abs(tint.red) > 3 and abs(tint.red) > abs(tint.yellow):
        words.append("tinted pink" if tint.red > 0 else "tinted green")
    return tuple(words)


def _sharpness(seen: Sight, pair: Aligned) -> str:
    """Whether what is unchanged lost or gained fine detail."""
    import cv2

    same = pair.valid & ~seen.changed
    if same.mean() < 0.3:
        return ""
    fine = [float(np.abs(cv2.Laplacian(np.ascontiguousarray(p[..., 0]), cv2.CV_32F))[same].mean()) for p in seen.labs]
    ratio = (fine[1] + 0.15) / (fine[0] + 0.15)
    return "softer" if ratio < 0.55 else "sharper" if ratio > 1.8 else ""


def _lettered(pair: Aligned, region: Region) -> bool:
    """Whether a region holds letters in either picture: a row of strokes of one colour on another, of one height."""
    import cv2

    left, top, right, bottom = region.box
    if right - left < 1.6 * (bottom - top) or bottom - top < 7 or region.share > 0.3:
        return False
    for picture in (pair.before, pair.after):
        grey = cv2.cvtColor(picture[top:bottom, left:right].astype(np.uint8), cv2.COLOR_RGB2GRAY)
        _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        inside = bright > 0
        if not 0.12 < inside.mean() < 0.88:
            continue
        between = (float(grey[inside].mean()) - float(grey[~inside].mean())) ** 2 * inside.mean() * (1 - inside.mean())
        if between < 0.72 * float(grey.var()) or grey.std() < 35:
            continue
        for strokes in (bright, 1 - bright):
            count, _, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8))
            heights, widths = stats[1:, cv2.CC_STAT_HEIGHT], stats[1:, cv2.CC_STAT_WIDTH]
            letters = (heights > 0.35 * (bottom - top)) & (widths < 1.3 * heights)
            if count > 3 and letters.sum() >= 3:
                return True
    return False
