"""Drawing a picture: sticker-like things with an ink line, a white edge and a soft shadow, on their scene.

Everything is drawn large and reduced, so edges are smooth; the same picture at the same size gives the same pixels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from toyworld.scenes import draw_scene
from toyworld.shapes import Part, parts
from toyworld.world import COLOURS, LIGHTS, PLAIN, RGB, Picture, Thing

INK: RGB = (36, 30, 44)
GLASS: RGB = (250, 250, 252)
EDGE: RGB = (255, 255, 255)

_SCALE = 3
_LAYERS = ("body", "dark", "pale", "glass", "ink", "edge", "clear")
"""What a pixel of a sprite is painted in; from `ink` on it is not shaded."""
_INK_WIDTH, _EDGE_WIDTH = 0.062, 0.088
"""Widths of the outer line and of the white edge beyond it, as shares of a thing's radius."""


def render(picture: Picture, width: int = 256, height: int = 0) -> Image.Image:
    """Draw `picture` as RGB, `width` x `height` pixels (`height` 0: square).

    Raises:
        ValueError: when something is unsaid that a drawing needs, or two things overlap.
    """
    if picture.undrawable:
        raise ValueError("cannot draw this picture: " + "; ".join(picture.undrawable))
    height = height or width
    image = draw_scene(picture.scene, picture.variation, width, height)
    for thing in picture.things:
        sprite, corner = _placed(thing, width, height)
        if picture.scene != PLAIN:
            _cast_shadow(image, sprite, corner, max(1.0, thing.radius * min(width, height) * 0.06))
        image.paste(sprite, corner, sprite)
    return _lit(image, picture.light)


def render_cutout(thing: Thing, size: int = 256) -> Image.Image:
    """Draw `thing` alone in clear light as RGBA, `size` pixels square, transparent around its white edge.

    Laid over white it is what `render` gives for the same thing on a plain scene.
    """
    image = Image.new("RGBA", (size, size), (255, 255, 255, 0))
    sprite, corner = _placed(thing, size, size)
    image.paste(sprite, corner)
    return image


def _placed(thing: Thing, width: int, height: int) -> tuple[Image.Image, tuple[int, int]]:
    """The thing's sprite (RGBA) and where its top left corner goes, to a third of a pixel."""
    side = min(width, height)
    rng = random.Random(f"place {thing.shape} {thing.variation}")
    x = thing.centre[0] * width + rng.uniform(-0.008, 0.008) * side
    y = thing.centre[1] * height + rng.uniform(-0.008, 0.008) * side
    radius = thing.radius * side
    half = int(radius * 1.22) + 2
    left, top = int(x) - half, int(y) - half
    sub = (int((x % 1) * _SCALE), int((y % 1) * _SCALE))
    return sprite(thing.shape, thing.colour, thing.variation, radius, half, sub), (left, top)


@lru_cache(maxsize=512)
def sprite(shape: str, colour: str, variation: int, radius: float, half: int, sub: tuple[int, int]) -> Image.Image:
    """One thing as RGBA, `2 * half` pixels square, its middle `sub` thirds of a pixel off the square's middle."""
    rng = random.Random(f"{shape} {colour} {variation}")
    turn, grow = np.radians(rng.uniform(-7, 7)), rng.uniform(0.95, 1.02)
    r = radius * _SCALE
    side = 2 * half * _SCALE
    spin = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))]) * r * 0.94 * grow
    middle = np.array((side / 2 + sub[0], side / 2 + sub[1]))
    outlines = [part._replace(points=part.points @ spin + middle) for part in parts(shape)]
    paint = palette(colour, _jittered(COLOURS[colour], rng))

    rows, columns = window = _window(outlines, r, side)
    premultiplied = _painted(_layers(outlines, r, side, window), paint, _slope(side, r)[:, rows, columns])
    small = (premultiplied.shape[1] // _SCALE, premultiplied.shape[0] // _SCALE)
    drawn = Image.frombuffer("RGBa", premultiplied.shape[1::-1], premultiplied.tobytes(), "raw", "RGBa", 0, 1)
    reduced = drawn.resize(small, Image.Resampling.BOX).convert("RGBA")
    whole = Image.new("RGBA", (2 * half, 2 * half), (0, 0, 0, 0))
    whole.paste(reduced, (columns.start // _SCALE, rows.start // _SCALE))
    return whole


def _window(outlines: Sequence[Part], r: float, side: int) -> tuple[slice, slice]:
    """Rows and columns that hold the thing with its edge, cut between the pixels that it is reduced to."""
    points = np.concatenate([part.points for part in outlines])
    beyond = r * (_INK_WIDTH + _EDGE_WIDTH) + 2
    first = np.floor((points.min(axis=0) - beyond) / _SCALE).astype(int) * _SCALE
    last = np.ceil((points.max(axis=0) + beyond) / _SCALE).astype(int) * _SCALE
    (left, top), (right, bottom) = first.clip(0, side).tolist(), last.clip(0, side).tolist()
    return slice(top, bottom), slice(left, right)


def _layers(outlines: Sequence[Part], r: float, side: int, window: tuple[slice, slice]) -> npt.NDArray[np.uint8]:
    """What each pixel of the window is painted in, as a place in `_LAYERS`: NumPy is slow on colours of three."""
    import cv2

    ink = _LAYERS.index("ink")
    inner, outer = Image.new("L", (side, side), ink), Image.new("L", (side, side), 255)
    brush, outer_brush = ImageDraw.Draw(inner), ImageDraw.Draw(outer)
    for part in outlines:
        points = [(x, y) for x, y in part.points.tolist()]
        brush.polygon(points, fill=_LAYERS.index(part.role))
        if part.line:
            brush.line([*points, points[0]], fill=ink, width=max(1, round(r * 0.042)), joint="curve")
        outer_brush.polygon(points, fill=0)
    outside = cv2.distanceTransform(np.asarray(outer)[window], cv2.DIST_L2, 5)
    layers = np.asarray(inner)[window].copy()
    layers[outside > 0] = ink
    layers[outside > r * _INK_WIDTH] = _LAYERS.index("edge")
    layers[outside > r * (_INK_WIDTH + _EDGE_WIDTH)] = _LAYERS.index("clear")
    return layers


def _painted(
    layers: npt.NDArray[np.uint8], paint: Mapping[str, RGB], slope: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """The layers as RGBA, multiplied by alpha: paint is shaded, ink and edge are the same all over.

    Args:
        slope: gain and lift of each pixel.
    """
    import cv2

    colours = np.zeros((3, 256), dtype=np.float32)
    for place, name in enumerate(_LAYERS):
        colours[:, place] = {**paint, "edge": EDGE, "clear": (0, 0, 0)}[name]
    flat = layers >= _LAYERS.index("ink")
    gain, lift = np.where(flat, np.float32(1), slope[0]), np.where(flat, np.float32(0), slope[1])
    red, green, blue = ((cv2.LUT(layers, table) * gain + lift).astype(np.uint8) for table in colours)
    alpha = np.where(layers == _LAYERS.index("clear"), np.uint8(0), np.uint8(255))
    return np.asarray(cv2.merge([red, green, blue, alpha]), dtype=np.uint8)


@lru_cache(maxsize=8)
def _slope(side: int, r: float) -> npt.NDArray[np.float32]:
    """Gain and lift, [2, side, side]: by up to a sixth lighter to the top left, darker to the bottom right."""
    steps = (np.arange(side, dtype=np.float32) - side / 2) / np.float32(-1.45 * r)
    slope = steps[:, None] + 0.45 * steps[None, :]
    lighter, darker = np.clip(slope, 0, 1) * 0.16, 1 - np.clip(-slope, 0, 1) * 0.15
    return np.stack([(1 - lighter) * darker, 255 * lighter * darker]).astype(np.float32)


def palette(name: str, body: RGB | None = None) -> dict[str, RGB]:
    """What each role of a part is painted in, for a thing of the colour `name`, slightly off it where `body` says."""
    body = body or COLOURS[name]
    dark, pale = {"white": (0.86, 0.4), "black": (0.72, 0.14)}.get(name, (0.74, 0.38))
    return {
        "body": body,
        "dark": _mixed(body, (20, 16, 40), 1 - dark),
        "pale": _mixed(body, (255, 255, 255), pale) if name != "white" else (222, 224, 230),
        "ink": INK,
        "glass": GLASS,
    }


def _mixed(a: RGB, b: RGB, share: float) -> RGB:
    r, g, bl = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, bl


def _jittered(colour: RGB, rng: random.Random) -> RGB:
    r, g, b = (max(0, min(255, v + rng.randint(-6, 6))) for v in colour)
    return r, g, b


def _cast_shadow(image: Image.Image, sprite: Image.Image, corner: tuple[int, int], blur: float) -> None:
    shadow = sprite.getchannel("A").filter(ImageFilter.GaussianBlur(blur)).point(lambda a: a * 0.34)
    offset = (corner[0] + round(blur * 0.8), corner[1] + round(blur * 1.5))
    image.paste(Image.new("RGB", sprite.size, (24, 22, 48)), offset, shadow)


def _lit(image: Image.Image, light: str) -> Image.Image:
    tint = LIGHTS[light]
    if tint == (1.0, 1.0, 1.0):
        return image
    return ImageChops.multiply(image, Image.new("RGB", image.size, _tint_bytes(tint)))


def _tint_bytes(tint: tuple[float, float, float]) -> RGB:
    r, g, b = (round(255 * t) for t in tint)
    return r, g, b
