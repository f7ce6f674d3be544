"""A cut-out set into a picture: fitted, lit like its surroundings, and standing on its shadow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.offline.cutout import Cutout
from annotators.offline.standing import Stand

Array = NDArray[Any]


def pasted(picture: Array, cut: Cutout, at: Stand, *, shade: float, studio: bool) -> Array:
    """The picture with the cut-out in it.

    Args:
        picture: (H, W, 3) float32, 0..255.
        shade: strength of the contact shadow in [0, 1]; 0 for none.
        studio: the picture is a backdrop, whose light the subject need not take on.
    """
    rgb, alpha = _fitted(cut, at)
    colour, cover = _on_canvas(rgb, alpha, at, picture.shape[0], picture.shape[1])
    colour = _lifted(colour, cover, picture) if studio else matched(colour, cover, picture, at, drawn=cut.drawn)
    if shade > 0 and at.grounded:
        picture = picture * (1 - _shadow(cover, at, shade))[..., None]
        colour = colour * (1 - 0.22 * shade * _low(cover.shape[0], at))[..., None]
    return np.asarray(picture * (1 - cover[..., None]) + colour * cover[..., None], np.float32)


def _fitted(cut: Cutout, at: Stand) -> tuple[Array, Array]:
    """(rgb, alpha) at the box's size; resampled with premultiplied alpha so that no background bleeds in."""
    import cv2

    rgba = cut.rgba[:, ::-1] if at.flip else cut.rgba
    alpha = rgba[..., 3:].astype(np.float32) / 255
    layers = np.dstack([rgba[..., :3].astype(np.float32) * alpha, alpha])
    shrinks = at.width < layers.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    layers = np.asarray(cv2.resize(layers, (at.width, at.height), interpolation=way), np.float32)
    cover = np.clip(layers[..., 3], 0, 1)
    rgb = np.clip(layers[..., :3] / np.maximum(layers[..., 3:], 1e-3), 0, 255)
    return rgb, cover


def _on_canvas(rgb: Array, alpha: Array, at: Stand, height: int, width: int) -> tuple[Array, Array]:
    colour, cover = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    top, left = max(0, at.top), max(0, at.left)
    bottom, right = min(height, at.bottom), min(width, at.left + at.width)
    inner = np.s_[top - at.top : bottom - at.top, left - at.left : right - at.left]
    colour[top:bottom, left:right] = rgb[inner]
    cover[top:bottom, left:right] = alpha[inner]
    return colour, cover


def matched(colour: Array, cover: Array, picture: Array, at: Stand, *, drawn: bool) -> Array:
    """The subject's colours under the picture's light.

    Brightness and contrast move part of the way to those of the surroundings, the colour cast part of the way to the
    whole picture's: enough to belong, too little to turn a white cat green in a meadow.
    """
    import cv2

    inside = cover > 0.6
    if not inside.any():
        return colour
    around = _surroundings(cover, at)
    lab = cv2.cvtColor(np.asarray(np.clip(colour, 0, 255) / 255, np.float32), cv2.COLOR_RGB2LAB)
    place = cv2.cvtColor(np.asarray(picture / 255, np.float32), cv2.COLOR_RGB2LAB)
    level, spread = float(lab[..., 0][inside].mean()), float(lab[..., 0][inside].std()) + 1e-3
    near, near_spread = float(place[..., 0][around].mean()), float(place[..., 0][around].std()) + 1e-3
    brightest = float(np.percentile(place[..., 0], 95))
    shift = float(np.clip(0.3 * (near - level), -16, 8)) + min(0.0, 0.35 * (brightest - 70))
    gain = float(np.clip((near_spread / spread) ** 0.25, 0.82, 1.1))
    lab[..., 0] = np.clip((lab[..., 0] - level) * gain + level + shift, 0, 100)
    cast = np.clip((0.5 * place[..., 1:].mean((0, 1)) + 0.5 * place[around][:, 1:].mean(0)) * 0.28, -7, 7)
    chroma = float(np.linalg.norm(place[..., 1:], axis=2).mean())
    fade = float(np.clip(0.55 + chroma / 40, 0.55, 0.92 if drawn else 1.0))
    lab[..., 1:] = lab[..., 1:] * fade + cast
    return np.asarray(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255, np.float32)


def _lifted(colour: Array, cover: Array, picture: Array) -> Array:
    """A subject photographed in the dark, lit as a bright backdrop is; others unchanged."""
    inside = cover > 0.6
    if not inside.any():
        return colour
    level, wall = float(colour[inside].mean()), float(picture.mean())
    if level >= 100 or wall <= level:
        return colour
    power = 1 - 0.35 * min(1.0, (min(wall, 150.0) - level) / 100)
    return np.asarray(255 * (np.clip(colour, 0, 255) / 255) ** power, np.float32)


def _surroundings(cover: Array, at: Stand) -> Array:
    """What lies uncovered around the box, a third of its size wide; the whole picture where that is nothing."""
    reach_x, reach_y = at.width // 3 + 4, at.height // 3 + 4
    around = np.zeros(cover.shape, bool)
    rows = slice(max(0, at.top - reach_y), max(1, at.bottom + reach_y))
    around[rows, max(0, at.left - reach_x) : max(1, at.left + at.width + reach_x)] = True
    around &= cover < 0.05
    return around if around.any() else np.ones(cover.shape, bool)


def _shadow(cover: Array, at: Stand, shade: float) -> Array:
    """How much of the light is lost: a dark line of contact, and a soft pool spread on the ground around the foot."""
    import cv2

    height = cover.shape[0]
    size = float(at.width * at.height) ** 0.5
    foot = np.zeros_like(cover)
    low = max(0, at.bottom - max(3, round(0.16 * at.height)))
    foot[low : at.bottom] = cover[low : at.bottom]
    columns = foot.max(0)
    flat = max(2.0, 0.045 * size)
    rows = np.arange(height, dtype=np.float32)[:, None]
    lowest = _lowest(cover, at)
    pool = columns[None] * np.exp(-0.5 * ((rows - lowest[None] + 0.3 * flat) / flat) ** 2)
    whole = np.clip(cover.max(0), 0, 1)[None] * np.exp(-0.5 * ((rows - at.bottom + 0.8 * flat) / (1.1 * flat)) ** 2)
    soft = cv2.GaussianBlur(np.asarray(0.75 * pool, np.float32), (0, 0), 0.03 * size, sigmaY=0.015 * size)
    wide = cv2.GaussianBlur(np.asarray(0.55 * whole, np.float32), (0, 0), 0.09 * size, sigmaY=0.03 * size)
    tight = columns[None] * np.exp(-0.5 * ((rows - lowest[None]) / max(1.5, 0.012 * size)) ** 2)
    tight = cv2.GaussianBlur(np.asarray(tight, np.float32), (0, 0), max(1.0, 0.008 * size))
    return np.asarray(np.clip(shade * (soft + wide + 0.5 * tight), 0, 0.85), np.float32)


def _lowest(cover: Array, at: Stand) -> Array:
    """The row on which each column of the subject ends, smoothed; the box's bottom where there is none."""
    import cv2

    solid = cover > 0.5
    rows = np.where(solid.any(0), cover.shape[0] - 1 - np.argmax(solid[::-1], axis=0), at.bottom).astype(np.float32)
    rows = np.maximum(rows, at.bottom - 0.18 * at.height)
    return np.asarray(cv2.GaussianBlur(rows[None], (0, 0), max(1.0, 0.01 * at.width))[0], np.float32)


def _low(height: int, at: Stand) -> Array:
    """(H, 1): rises from 0 to 1 over the lowest fifth of the subject, which gets the least light."""
    rows = np.arange(height, dtype=np.float32)
    ramp = np.clip((rows - (at.bottom - 0.22 * at.height)) / max(1.0, 0.22 * at.height), 0, 1)
    return np.asarray(ramp[:, None], np.float32)
