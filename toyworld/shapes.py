"""The outlines of every shape, as parts painted one over another.

Coordinates are in a box from -1 to 1, y down. A part's role says how it is painted: `body` in the thing's colour,
`dark` and `pale` in its darker and paler kin, `ink` in the outline's colour, `glass` in near-white. Every shape
has a silhouette of its own, so that it can be told at 16 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


class Part(NamedTuple):
    points: Points
    role: str
    line: bool = True
    """Whether the part has an ink line around it."""


@cache
def parts(shape: str) -> tuple[Part, ...]:
    """The parts of `shape`, backmost first; not to be changed."""
    return tuple(_SHAPES[shape]())


def _oval(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360, tilt: float = 0) -> Points:
    angle = np.radians(np.linspace(start, end, max(8, int(abs(end - start) / 7.5)) + 1))
    px, py = rx * np.cos(angle), ry * np.sin(angle)
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return np.stack([x + c * px - s * py, y + s * px + c * py], axis=1)


def _box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Points:
    if r <= 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)
    corners = [(x1 - r, y0 + r, 270), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
    return np.concatenate([_oval(x, y, r, r, a, a + 90) for x, y, a in corners])


def _poly(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def _rounded(points: Points, share: float = 0.28, steps: int = 6) -> Points:
    """The polygon with each corner replaced by a curve that starts `share` of the way along its sides."""
    out = []
    for before, corner, after in zip(np.roll(points, 1, 0), points, np.roll(points, -1, 0), strict=True):
        a, b = corner + (before - corner) * share, corner + (after - corner) * share
        for t in np.linspace(0, 1, steps):
            out.append((1 - t) ** 2 * a + 2 * t * (1 - t) * corner + t**2 * b)
    return np.array(out)


def _eyes(x: float, y: float, r: float, pupil: float = 0.55) -> list[Part]:
    found = []
    for side in (-1, 1):
        found += [Part(_oval(side * x, y, r, r), "glass"), Part(_oval(side * x, y, r * pupil, r * pupil), "ink", False)]
    return found


def _robot() -> list[Part]:
    return [
        Part(_box(-0.05, -0.95, 0.05, -0.6), "ink", False),
        Part(_oval(0, -0.9, 0.13, 0.13), "pale"),
        Part(_box(-0.95, 0.08, -0.62, 0.62, 0.13), "dark"),
        Part(_box(0.62, 0.08, 0.95, 0.62, 0.13), "dark"),
        Part(_box(-0.48, 0.6, -0.12, 1.0, 0.1), "dark"),
        Part(_box(0.12, 0.6, 0.48, 1.0, 0.1), "dark"),
        Part(_box(-0.66, 0.0, 0.66, 0.82, 0.14), "body"),
        Part(_box(-0.74, -0.72, 0.74, 0.06, 0.18), "body"),
        Part(_box(-0.52, -0.53, 0.52, -0.12, 0.14), "ink", False),
        Part(_oval(-0.25, -0.33, 0.12, 0.12), "glass", False),
        Part(_oval(0.25, -0.33, 0.12, 0.12), "glass", False),
        Part(_box(-0.3, 0.28, 0.3, 0.58, 0.08), "pale"),
    ]


def _cat() -> list[Part]:
    ear = _rounded(_poly((-0.86, -0.98), (-0.12, -0.5), (-0.82, 0.02)), 0.12)
    inner = _poly((-0.72, -0.72), (-0.36, -0.46), (-0.7, -0.2))
    flip = np.array([-1.0, 1.0])
    return [
        Part(_oval(0.0, 0.72, 0.56, 0.3), "dark"),
        Part(ear, "body"),
        Part(ear * flip, "body"),
        Part(inner, "pale", False),
        Part(inner * flip, "pale", False),
        Part(_oval(0, 0.1, 0.92, 0.72), "body"),
        *_eyes(0.38, 0.0, 0.2, 0.6),
        Part(_poly((-0.11, 0.24), (0.11, 0.24), (0.0, 0.36)), "ink", False),
        Part(_box(-0.02, 0.34, 0.02, 0.48), "ink", False),
        *[Part(_poly((s * 0.5, y), (s * 1.0, y + d), (s * 1.0, y + d + 0.045), (s * 0.5, y + 0.045)), "ink", False)
          for s in (-1, 1) for y, d in ((0.3, -0.06), (0.42, 0.04))],
    ]  # fmt: skip


def _owl() -> list[Part]:
    tuft = _rounded(_poly((-0.66, -1.0), (-0.05, -0.62), (-0.66, -0.2)), 0.1)
    wing = _oval(-0.62, 0.28, 0.24, 0.52, tilt=14)
    flip = np.array([-1.0, 1.0])
    return [
        Part(_oval(-0.24, 0.93, 0.15, 0.07), "pale"),
        Part(_oval(0.24, 0.93, 0.15, 0.07), "pale"),
        Part(tuft, "body"),
        Part(tuft * flip, "body"),
        Part(_oval(0, 0.08, 0.7, 0.86), "body"),
        Part(_oval(0, 0.46, 0.4, 0.42), "pale", False),
        Part(wing, "dark"),
        Part(wing * flip, "dark"),
        *_eyes(0.28, -0.28, 0.29, 0.5),
        Part(_poly((-0.1, -0.08), (0.1, -0.08), (0.0, 0.16)), "ink", False),
    ]


def _rabbit() -> list[Part]:
    flip = np.array([-1.0, 1.0])
    ear, inner = _oval(-0.3, -0.52, 0.19, 0.52, tilt=-8), _oval(-0.3, -0.5, 0.09, 0.36, tilt=-8)
    return [
        Part(ear, "body"),
        Part(ear * flip, "body"),
        Part(inner, "pale", False),
        Part(inner * flip, "pale", False),
        Part(_oval(-0.3, 0.9, 0.24, 0.1), "dark"),
        Part(_oval(0.3, 0.9, 0.24, 0.1), "dark"),
        Part(_oval(0, 0.66, 0.46, 0.3), "body"),
        Part(_oval(0, 0.2, 0.6, 0.46), "body"),
        *_eyes(0.24, 0.1, 0.12, 0.65),
        Part(_oval(0, 0.3, 0.08, 0.06), "ink", False),
        Part(_box(-0.1, 0.4, 0.1, 0.56, 0.03), "glass", False),
    ]


def _fish() -> list[Part]:
    tail = _rounded(_poly((0.42, 0.0), (1.0, -0.58), (0.86, 0.0), (1.0, 0.58)), 0.14)
    fin = _rounded(_poly((-0.35, -0.35), (0.05, -0.82), (0.42, -0.3)), 0.16)
    return [
        Part(tail, "dark"),
        Part(fin, "dark"),
        Part(_oval(-0.2, 0, 0.8, 0.54), "body"),
        Part(_oval(-0.2, 0.24, 0.52, 0.24), "pale", False),
        Part(_rounded(_poly((-0.08, 0.06), (0.3, 0.0), (0.14, 0.34)), 0.2), "dark", False),
        Part(_oval(-0.58, -0.1, 0.16, 0.16), "glass"),
        Part(_oval(-0.6, -0.1, 0.09, 0.09), "ink", False),
    ]


def _snail() -> list[Part]:
    stalks = [Part(_poly((x, 0.3), (x + 0.08, 0.3), (x + lean + 0.08, -0.4), (x + lean, -0.4)), "pale")
              for x, lean in ((-0.78, -0.1), (-0.6, 0.1))]  # fmt: skip
    neck = ((-1.0, 0.72), (-0.92, 0.1), (-0.5, 0.1), (-0.38, 0.42))
    foot = _rounded(_poly(*neck, (0.7, 0.42), (1.0, 0.8), (-0.8, 0.8)), 0.2)
    return [
        *stalks,
        Part(_oval(-0.84, -0.42, 0.11, 0.11), "glass"),
        Part(_oval(-0.46, -0.42, 0.11, 0.11), "glass"),
        Part(_oval(-0.84, -0.42, 0.05, 0.05), "ink", False),
        Part(_oval(-0.46, -0.42, 0.05, 0.05), "ink", False),
        Part(foot, "pale"),
        Part(_oval(0.2, -0.02, 0.64, 0.64), "body"),
        Part(_oval(0.2, 0.04, 0.42, 0.42), "dark"),
        Part(_oval(0.22, 0.06, 0.22, 0.22), "body"),
    ]


def _spikes(outer: float, inner: float) -> Points:
    turn = np.radians(36.0 * np.arange(10))
    r = np.where(np.arange(10) % 2 == 0, outer, inner)
    return np.stack([r * np.sin(turn), 0.06 - r * np.cos(turn)], axis=1)


def _star() -> list[Part]:
    return [Part(_rounded(_spikes(1.05, 0.5), 0.16), "body"), Part(_rounded(_spikes(0.55, 0.28), 0.16), "pale", False)]


def _heart() -> list[Part]:
    t = np.radians(np.linspace(0, 360, 73))
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [Part(np.stack([x / 17.2, y / 16.5 - 0.08], axis=1), "body"),
            Part(_oval(-0.45, -0.42, 0.2, 0.13, tilt=-38), "pale", False)]  # fmt: skip


def _house() -> list[Part]:
    return [
        Part(_box(0.38, -0.86, 0.62, -0.2), "dark"),
        Part(_box(-0.74, -0.16, 0.74, 0.94), "body"),
        Part(_poly((0.0, -0.98), (1.0, -0.06), (-1.0, -0.06)), "dark"),
        Part(_box(-0.54, 0.14, -0.1, 0.5), "glass"),
        Part(_box(-0.345, 0.14, -0.295, 0.5), "ink", False),
        Part(_box(-0.54, 0.3, -0.1, 0.345), "ink", False),
        Part(_box(0.14, 0.3, 0.54, 0.94), "pale"),
        Part(_oval(0.44, 0.64, 0.05, 0.05), "ink", False),
    ]


def _tree() -> list[Part]:
    sizes = ((-0.2, 0.68, 0.84, "dark"), (-0.6, 0.24, 0.66, "body"), (-1.0, -0.2, 0.48, "body"))
    tiers = [Part(_rounded(_poly((0, y), (half, low), (-half, low)), 0.1), role) for y, low, half, role in sizes]
    return [Part(_box(-0.16, 0.6, 0.16, 1.0), "ink", False), *tiers]


def _ball() -> list[Part]:
    return [
        Part(_oval(0, 0, 0.92, 0.92), "body"),
        Part(np.concatenate([_oval(0, 0, 0.92, 0.92, 200, 340), _oval(0, -0.42, 0.72, 0.3, 10, 170)]), "dark", False),
        Part(np.concatenate([_oval(0, 0, 0.92, 0.92, 20, 160), _oval(0, 0.5, 0.7, 0.26, 190, 350)]), "pale", False),
    ]


def _car() -> list[Part]:
    cabin = _rounded(_poly((-0.62, 0.05), (-0.4, -0.56), (0.36, -0.56), (0.66, 0.05)), 0.12)
    wheels = [Part(_oval(x, 0.5, r, r), role) for x in (-0.52, 0.52) for r, role in ((0.25, "ink"), (0.12, "glass"))]
    return [
        Part(cabin, "body"),
        Part(_rounded(_poly((-0.44, -0.02), (-0.3, -0.4), (-0.06, -0.4), (-0.06, -0.02)), 0.1), "glass"),
        Part(_rounded(_poly((0.06, -0.02), (0.06, -0.4), (0.28, -0.4), (0.46, -0.02)), 0.1), "glass"),
        Part(_box(-1.0, -0.06, 1.0, 0.46, 0.16), "body"),
        Part(_box(-0.98, 0.26, 0.98, 0.4, 0.06), "dark", False),
        Part(_oval(-0.9, 0.1, 0.08, 0.1), "pale"),
        *wheels,
    ]


def _moon() -> list[Part]:
    outer, inner = _oval(-0.02, 0, 0.94, 0.96, 48, 312), _oval(0.4, 0, 0.72, 0.72, 285, 75)
    craters = [_oval(-0.44, 0.56, 0.12, 0.1), _oval(-0.3, -0.66, 0.1, 0.08)]
    return [
        Part(np.concatenate([outer, inner]), "body"),
        Part(_oval(-0.56, -0.16, 0.07, 0.09), "ink", False),
        *[Part(crater, "dark", False) for crater in craters],
    ]


def _umbrella() -> list[Part]:
    scallops = [_oval(x, 0.1, 0.25, 0.17, 0, -180) for x in (0.75, 0.25, -0.25, -0.75)]
    dome = np.concatenate([_oval(0, 0.1, 1.0, 0.98, 180, 360), *scallops])
    panel = np.concatenate([_oval(0, 0.1, 0.42, 0.98, 180, 360), _oval(0.25, 0.1, 0.25, 0.17, 0, -180),
                            _oval(-0.25, 0.1, 0.25, 0.17, 0, -180)])  # fmt: skip
    hook = np.concatenate([_oval(0.15, 0.74, 0.21, 0.24, 180, 0), _oval(0.15, 0.74, 0.09, 0.12, 0, 180)])
    return [
        Part(_box(-0.06, -0.98, 0.06, -0.8), "ink", False),
        Part(_box(-0.06, -0.1, 0.06, 0.76), "ink", False),
        Part(hook, "ink", False),
        Part(dome, "body"),
        Part(panel, "pale"),
    ]


_SHAPES: dict[str, Callable[[], list[Part]]] = {
    "robot": _robot,
    "cat": _cat,
    "owl": _owl,
    "rabbit": _rabbit,
    "fish": _fish,
    "snail": _snail,
    "star": _star,
    "heart": _heart,
    "house": _house,
    "tree": _tree,
    "ball": _ball,
    "car": _car,
    "moon": _moon,
    "umbrella": _umbrella,
}
