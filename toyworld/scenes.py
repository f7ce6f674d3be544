"""The grounds that things stand before, each with its own palette, drawn at twice the size and reduced."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from toyworld.world import PLAIN, RGB

_SCALE = 2
Draw = ImageDraw.ImageDraw


def draw_scene(name: str, variation: int, width: int, height: int) -> Image.Image:
    """The scene `name` in clear light, RGB, `width` x `height` pixels; the same `variation` gives the same pixels."""
    if name == PLAIN:
        return Image.new("RGB", (width, height), (255, 255, 255))
    rng = random.Random(f"{name} {variation}")
    image = _SCENES[name](rng, width * _SCALE, height * _SCALE)
    return image.resize((width, height), Image.Resampling.BOX)


def _gradient(w: int, h: int, *stops: RGB) -> Image.Image:
    """Colours from top to bottom, evenly spaced."""
    at = np.linspace(0, len(stops) - 1, h)
    column = np.stack([np.interp(at, range(len(stops)), [s[c] for s in stops]) for c in range(3)], axis=1)
    return Image.fromarray(column[:, None].round().astype(np.uint8)).resize((w, h), Image.Resampling.NEAREST)


def _shift(colour: RGB, by: float) -> RGB:
    r, g, b = (max(0, min(255, round(v + by))) for v in colour)
    return r, g, b


def _ridge(rng: random.Random, w: int, h: int, y: float, swing: float, waves: float = 1.5) -> list[tuple[float, float]]:
    """A rolling line across the picture at height `y`, closed along the bottom."""
    terms = [(rng.uniform(0.6, 1.0) * waves * k, rng.uniform(0, math.tau), swing / k) for k in (1, 2)]
    line = []
    for i in range(65):
        u = i / 64
        line.append((u * w, (y + sum(a * math.sin(f * math.tau * u / 1.6 + p) for f, p, a in terms)) * h))
    return [*line, (w, h), (0, h)]


def _disc(draw: Draw, x: float, y: float, r: float, fill: RGB, squash: float = 1.0) -> None:
    draw.ellipse([x - r, y - r * squash, x + r, y + r * squash], fill=fill)


def _glow(image: Image.Image, x: float, y: float, r: float, colour: RGB, strength: float) -> Image.Image:
    """`image` with soft light of `colour` around (x, y); all in pixels, strength in [0, 1]."""
    w, h = image.size
    yy, xx = np.mgrid[0:h:4, 0:w:4]
    amount = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * r * r)) * strength * 255
    mask = Image.fromarray(amount.astype(np.uint8)).resize((w, h), Image.Resampling.BILINEAR)
    image.paste(Image.new("RGB", (w, h), colour), (0, 0), mask)
    return image


def _cloud(draw: Draw, rng: random.Random, x: float, y: float, r: float, top: RGB, under: RGB) -> None:
    shape = ((-1.1, 0.12, 0.55), (-0.4, -0.2, 0.8), (0.45, -0.1, 0.72), (1.1, 0.16, 0.5))
    puffs = [(x + r * dx, y + r * dy, r * s * rng.uniform(0.9, 1.1)) for dx, dy, s in shape]
    for px, py, pr in puffs:
        _disc(draw, px, py + pr * 0.2, pr, under, 0.72)
    for px, py, pr in puffs:
        _disc(draw, px, py, pr, top, 0.72)


def _sky(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (74, 160, 240), (134, 198, 250), (200, 231, 252))
    image = _glow(image, rng.uniform(0.1, 0.9) * w, 0.04 * h, 0.2 * w, (255, 250, 214), 0.8)
    draw = ImageDraw.Draw(image)
    for row in (0.14, 0.42, 0.66, 0.9):
        for _ in range(2):
            r = rng.uniform(0.055, 0.1) * w
            x, y = rng.random() * w, (row + rng.uniform(-0.09, 0.09)) * h
            _cloud(draw, rng, x, y, r, (236, 246, 253), (190, 220, 246))
    return image


def _grass(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (176, 222, 240), (222, 240, 214))
    draw = ImageDraw.Draw(image)
    greens: Sequence[RGB] = ((158, 205, 110), (134, 190, 88), (112, 174, 72), (94, 158, 60))
    for i, green in enumerate(greens):
        y = (0.13, 0.32, 0.55, 0.8)[i]
        draw.polygon(_ridge(rng, w, h, y + rng.uniform(-0.03, 0.03), 0.035), fill=green)
        for _ in range(26):
            x, gy = rng.random() * w, (y + 0.06 + rng.random() * 0.2) * h
            for lean in (-0.6, 0.0, 0.6):
                blade = [(x - 1.5, gy), (x + 1.5, gy), (x + lean * 0.014 * h, gy - 0.024 * h)]
                draw.polygon(blade, fill=_shift(green, -24))
    for _ in range(22):
        x, y = rng.random() * w, rng.uniform(0.3, 1.0) * h
        petal = rng.choice(((250, 246, 226), (252, 226, 120), (246, 190, 206)))
        for turn in range(5):
            a = turn * math.tau / 5
            _disc(draw, x + math.cos(a) * w * 0.007, y + math.sin(a) * w * 0.007, w * 0.0055, petal)
        _disc(draw, x, y, w * 0.0045, (240, 180, 60))
    return image


def _sand(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (252, 230, 184), (250, 214, 156))
    image = _glow(image, rng.uniform(0.2, 0.8) * w, 0.06 * h, 0.12 * w, (255, 250, 226), 0.9)
    draw = ImageDraw.Draw(image)
    dunes: Sequence[RGB] = ((238, 198, 132), (230, 184, 112), (220, 170, 96), (208, 154, 82))
    for i, colour in enumerate(dunes):
        y = (0.2, 0.42, 0.62, 0.84)[i]
        line = _ridge(rng, w, h, y + rng.uniform(-0.03, 0.03), 0.05, 1.0)
        draw.polygon(line, fill=colour)
        for k in range(1, 5):
            wave = [(x, py + k * 0.032 * h + 0.004 * h * math.sin(x / w * 40 + k)) for x, py in line[:-2]]
            draw.line(wave, fill=_shift(colour, -11), width=max(2, w // 180))
    for _ in range(90):
        _disc(draw, rng.random() * w, rng.uniform(0.35, 1.0) * h, w * 0.0022, (184, 132, 70))
    return image


def _night(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (16, 20, 68), (34, 40, 112), (72, 66, 150))
    image = _glow(image, rng.random() * w, rng.uniform(0.3, 0.7) * h, 0.3 * w, (104, 84, 190), 0.45)
    draw = ImageDraw.Draw(image)
    for _ in range(80):
        r = rng.choice((0.0018, 0.0026, 0.004)) * w
        glint = rng.choice(((226, 226, 255), (255, 240, 200), (196, 206, 255)))
        _disc(draw, rng.random() * w, rng.random() * h * 0.92, r, glint)
    for _ in range(5):
        x, y, r = rng.random() * w, rng.random() * h * 0.8, rng.uniform(0.012, 0.02) * w
        for a, b in ((1.0, 0.16), (0.16, 1.0)):
            draw.polygon([(x - r * a, y), (x, y - r * b), (x + r * a, y), (x, y + r * b)], fill=(255, 248, 214))
    draw.polygon(_ridge(rng, w, h, 0.93, 0.02), fill=(30, 28, 84))
    return image


def _sea(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (156, 226, 226), (190, 240, 232))
    draw = ImageDraw.Draw(image)
    rows = 9
    for i in range(rows):
        y = 0.1 + i * 0.1
        base = (34 - i * 2, 166 - i * 11, 182 - i * 9)
        phase, count = rng.random(), 5 + rng.uniform(-0.5, 0.5)
        line = [(u / 80 * w, (y + 0.02 * abs(math.sin(math.pi * (count * u / 80 + phase)))) * h) for u in range(81)]
        draw.polygon([*line, (w, h), (0, h)], fill=base)
        foam = [(x, py + 0.003 * h) for x, py in line]
        draw.line(foam, fill=_shift(base, 62), width=max(2, w // 130))
    for _ in range(26):
        x, y, r = rng.random() * w, rng.uniform(0.15, 1) * h, rng.uniform(0.01, 0.024) * w
        draw.line([(x - r, y), (x + r, y)], fill=(120, 212, 214), width=max(2, w // 200))
    return image


def _snow(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (186, 208, 234), (214, 226, 242))
    draw = ImageDraw.Draw(image)
    for i, colour in enumerate(((206, 220, 240), (220, 230, 245), (231, 238, 249), (240, 245, 252))):
        y = (0.2, 0.4, 0.62, 0.84)[i]
        draw.polygon(_ridge(rng, w, h, y + rng.uniform(-0.03, 0.03), 0.045), fill=colour)
        if i < 3:
            for _ in range(3):
                _pine(draw, rng.random() * w, (y + 0.09) * h, (0.022 + 0.008 * i) * w, (132, 164, 190))
    for _ in range(70):
        _disc(draw, rng.random() * w, rng.random() * h, rng.choice((0.003, 0.0045, 0.007)) * w, (252, 253, 255))
    return image


def _pine(draw: Draw, x: float, y: float, r: float, colour: RGB) -> None:
    for k in range(3):
        top, half = y - r * (2.6 - 0.7 * k), r * (0.45 + 0.24 * k)
        draw.polygon([(x, top), (x - half, top + r * 1.1), (x + half, top + r * 1.1)], fill=_shift(colour, 8 - 8 * k))


def _forest(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (96, 128, 84), (72, 106, 74), (40, 70, 52))
    image = _glow(image, rng.uniform(0.3, 0.7) * w, 0.2 * h, 0.2 * w, (196, 206, 132), 0.5)
    draw = ImageDraw.Draw(image)
    for trunk, leaf, n, thick in (((78, 92, 62), (66, 102, 66), 8, 0.018), ((62, 66, 44), (46, 80, 52), 6, 0.028)):
        for i in range(n):
            x, foot, crown = (i + rng.uniform(0.1, 0.9)) / n * w, thick * w, thick * w * 0.6
            draw.polygon([(x - foot, h), (x - crown, 0), (x + crown, 0), (x + foot, h)], fill=trunk)
        for i in range(n + 5):
            r = rng.uniform(0.07, 0.11) * w
            _disc(draw, (i + rng.uniform(-0.3, 0.3)) / (n + 4) * w, rng.uniform(0.0, 0.05) * h, r, leaf, 0.8)
    draw.polygon(_ridge(rng, w, h, 0.86, 0.02), fill=(34, 58, 40))
    for _ in range(34):
        x, y, r = rng.random() * w, rng.uniform(0.86, 1.0) * h, rng.uniform(0.02, 0.04) * w
        for lean in (-0.8, -0.3, 0.3, 0.8):
            draw.polygon([(x - 2, y), (x + 2, y), (x + lean * r, y - r)], fill=(58, 92, 56))
    return image


def _city(rng: random.Random, w: int, h: int) -> Image.Image:
    image = _gradient(w, h, (196, 186, 214), (222, 200, 214), (240, 214, 206))
    draw = ImageDraw.Draw(image)
    rows: Sequence[tuple[float, RGB, RGB]] = (
        (0.1, (172, 162, 192), (196, 186, 208)),
        (0.3, (146, 136, 170), (184, 172, 190)),
        (0.56, (120, 112, 148), (222, 198, 170)),
    )
    for depth, (top, wall, pane) in enumerate(rows):
        x = -rng.uniform(0, 0.06) * w
        while x < w:
            wide, up = rng.uniform(0.09, 0.15) * w, (top + rng.uniform(-0.06, 0.12)) * h
            draw.rectangle([x, up, x + wide, h], fill=_shift(wall, rng.uniform(-5, 5)))
            step, size = wide / 3.2, wide * 0.15
            for row in range(int((h - up) / (step * 1.25))):
                for col in range(3):
                    if rng.random() < 0.72:
                        px, py = x + step * (col + 0.38), up + step * (0.5 + 1.25 * row)
                        draw.rectangle([px, py, px + size, py + size * 1.5], fill=pane)
            x += wide + (0.012 * w if depth < 2 else 0)
    return image


def _brick(rng: random.Random, w: int, h: int) -> Image.Image:
    image = Image.new("RGB", (w, h), (196, 160, 142))
    draw = ImageDraw.Draw(image)
    rows = 14
    tall = h / rows
    wide, gap = tall * 2.1, max(2.0, h / 150)
    for row in range(rows):
        x = -wide * ((row % 2) * 0.5 + 0.3 * ((row * 7) % 3) / 3)
        while x < w:
            colour = _shift((158, 92, 74), rng.uniform(-12, 12))
            box = (x + gap / 2, row * tall + gap / 2, x + wide - gap / 2, (row + 1) * tall - gap / 2)
            draw.rounded_rectangle(box, radius=tall * 0.12, fill=colour)
            top = [(box[0] + 3, box[1] + 2), (box[2] - 3, box[1] + 2)]
            draw.line(top, fill=_shift(colour, 16), width=max(1, int(gap / 2)))
            x += wide
    return _glow(image, 0.5 * w, 0.35 * h, 0.4 * w, (206, 140, 112), 0.35)


_SCENES: dict[str, Callable[[random.Random, int, int], Image.Image]] = {
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
    "night": _night,
    "sea": _sea,
    "snow": _snow,
    "forest": _forest,
    "city": _city,
    "brick": _brick,
}
