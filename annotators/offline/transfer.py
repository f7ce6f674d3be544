"""One attribute of a donor given to another picture: tone, light and style to all of it, surfaces to its subject."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GLOBAL = ("style", "light", "tone")
LOCAL = ("material", "pattern", "texture")


def toned(picture: Array, donor: Array, strength: float) -> Array:
    """The picture in the donor's colours: mean and spread of each Lab channel, after Reinhard et al. (2001).

    Args:
        picture, donor: (H, W, 3) float32, 0..255.
        strength: share of the way, in (0, 1].
    """
    return _moved(picture, donor, strength * 0.55, strength)


def lit(picture: Array, donor: Array, strength: float) -> Array:
    """The picture under the donor's light: its distribution of brightness, and its cast in part.

    Where the donor is bright on one side or above, the picture becomes so too.
    """
    import cv2

    moved = _lab(_moved(picture, donor, strength * 0.9, strength * 0.55))
    glow = cv2.resize(_lab(donor)[..., 0], (24, 24), interpolation=cv2.INTER_AREA)
    glow = cv2.GaussianBlur(glow, (0, 0), 5)
    field = cv2.resize(glow - float(glow.mean()), (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_CUBIC)
    moved[..., 0] = np.clip(moved[..., 0] + 0.8 * strength * np.clip(field, -28, 28), 0, 100)
    return _rgb(moved)


def styled(picture: Array, donor: Array, strength: float, *, drawn: bool) -> Array:
    """The picture in the donor's manner: flat colours and ink lines after a drawing, soft paint after a photo.

    Args:
        drawn: the donor is an illustration.
    """
    lab = _lab(_flattened(picture, 6))
    if drawn:
        steps = 100 / 7
        level = lab[..., 0] / steps
        whole = np.floor(level)
        lab[..., 0] = np.clip((whole + 1 / (1 + np.exp(-9 * (level - whole - 0.5)))) * steps, 0, 100)
        lab[..., 1:] = np.clip(lab[..., 1:] * 1.3, -100, 100)
    painted = _moved(_rgb(lab), donor, (0.35 if drawn else 0.6) * strength, (0.6 if drawn else 0.9) * strength)
    if drawn:
        painted = painted * (1 - 0.85 * _ink(picture))[..., None]
    else:
        painted = painted + _canvas(picture.shape[0], picture.shape[1])[..., None]
    share = 0.55 + 0.45 * strength
    return np.asarray(picture * (1 - share) + painted * share, np.float32)


def surfaced(picture: Array, mask: Array, patch: Array, kind: str, strength: float) -> Array:
    """The subject with the donor's surface on it, under its own light and shade.

    Args:
        mask: (H, W) float32, the subject's alpha in [0, 1].
        patch: (h, w, 3) float32, a piece of the donor's surface with nothing else on it.
        kind: `material`, `pattern` or `texture`: how much of the subject's own detail and colour stays.
    """
    import cv2

    own_detail, own_colour = {"material": (0.75, 0.12), "pattern": (0.45, 0.05), "texture": (0.55, 0.35)}[kind]
    rows, columns = np.flatnonzero((mask > 0.05).any(1)), np.flatnonzero((mask > 0.05).any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cloth = _lab(_spread(patch, rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]))
    base = _lab(picture[box])
    inside = mask[box] > 0.5
    shade = cv2.GaussianBlur(base[..., 0], (0, 0), max(2.0, 0.02 * max(inside.shape)))
    folds = (shade - float(shade[inside].mean())) * 0.8 + (base[..., 0] - shade) * own_detail
    level = 0.65 * float(cloth[..., 0].mean()) + 0.35 * float(base[..., 0][inside].mean())
    grain = cloth[..., 0] - float(cloth[..., 0].mean())
    made = np.empty_like(base)
    made[..., 0] = np.clip(level + folds + grain * (0.85 if kind != "material" else 0.6), 2, 98)
    made[..., 1:] = cloth[..., 1:] * (1 - own_colour) + base[..., 1:] * own_colour
    share = (mask[box] * (0.6 + 0.4 * strength))[..., None]
    result = picture.copy()
    result[box] = picture[box] * (1 - share) + _rgb(made) * share
    return result


def surface_patch(donor: Array, mask: Array | None, kind: str) -> Array:
    """A square of the donor's surface, from inside its subject, or from anywhere where there is no mask.

    Of the squares that fit, the most varied one for a pattern, the most even one for a material or a texture.
    """
    import cv2

    height, width = donor.shape[:2]
    solid = np.ones((height, width), np.uint8) if mask is None else (mask > 0.95).astype(np.uint8)
    solid[0], solid[-1], solid[:, 0], solid[:, -1] = 0, 0, 0, 0
    depth = cv2.distanceTransform(solid, cv2.DIST_C, 3)
    deepest = float(depth.max())
    share = (0.85 if kind == "pattern" else 0.6) if mask is not None else 0.45
    half = max(2, int(share * deepest) - 1)
    rows, columns = np.nonzero(depth >= half + 1)
    if rows.size == 0:
        return donor
    uneven = _unevenness(donor, half)[rows, columns]
    best = int(uneven.argmax() if kind == "pattern" and mask is not None else uneven.argmin())
    row, column = int(rows[best]), int(columns[best])
    return donor[row - half : row + half, column - half : column + half]


def _unevenness(donor: Array, half: int) -> Array:
    """How much the broad colours vary within `half` pixels of each pixel."""
    import cv2

    broad = cv2.GaussianBlur(_lab(donor), (0, 0), max(1.0, half / 4))
    size = (2 * half + 1, 2 * half + 1)
    mean, square = cv2.boxFilter(broad, -1, size), cv2.boxFilter(broad * broad, -1, size)
    return np.asarray((square - mean * mean).sum(2))


def _spread(patch: Array, height: int, width: int) -> Array:
    """The patch over (height, width): enlarged a little, then mirrored at its edges as often as it takes."""
    import cv2

    scale = float(np.clip(0.75 * max(height, width) / max(patch.shape[:2]), 0.4, 2.0))
    size = (max(8, round(patch.shape[1] * scale)), max(8, round(patch.shape[0] * scale)))
    tile = cv2.resize(patch, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    tile = np.clip(tile, 0, 255)
    pair = np.concatenate([tile, tile[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]], axis=0)
    across, down = -(-width // block.shape[1]), -(-height // block.shape[0])
    return np.asarray(np.tile(block, (down, across, 1))[:height, :width], np.float32)


def _moved(picture: Array, donor: Array, light: float, colour: float) -> Array:
    lab, other = _lab(picture), _lab(donor)
    for channel, share in enumerate((light, colour, colour)):
        mean, spread = float(lab[..., channel].mean()), float(lab[..., channel].std()) + 1e-3
        gain = float(np.clip((float(other[..., channel].std()) + 1e-3) / spread, 0.55, 1.8))
        reach = 30.0 if channel == 0 else 20.0
        shift = float(np.clip(float(other[..., channel].mean()) - mean, -reach, reach))
        goal = (lab[..., channel] - mean) * gain + mean + shift
        if channel == 0:
            goal = np.clip(goal, 1, 99)
        lab[..., channel] += share * (goal - lab[..., channel])
    return _rgb(lab)


def _flattened(picture: Array, rounds: int) -> Array:
    """Small detail gone, edges kept: repeated bilateral filtering at half size."""
    import cv2

    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    small = np.asarray(np.clip(small, 0, 255), np.uint8)
    for _ in range(rounds):
        small = np.asarray(cv2.bilateralFilter(small, 7, 28, 5), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _canvas(height: int, width: int) -> Array:
    """The weave that paint lies on: a fixed, faint grain."""
    import cv2

    grain = np.random.default_rng(20).normal(0, 9, (height, width)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.6, sigmaY=0.8))


def _ink(picture: Array) -> Array:
    """Lines where a pen would draw them, in [0, 1]: a difference of Gaussians, thresholded softly."""
    import cv2

    grey = _flattened(picture, 1).mean(2)
    sigma = max(0.9, 0.0016 * max(grey.shape))
    narrow, wide = cv2.GaussianBlur(grey, (0, 0), sigma), cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma)
    return np.asarray(np.clip((wide - narrow - 1.2) / 4.0, 0, 1), np.float32)


def _lab(picture: Array) -> Array:
    import cv2

    return np.asarray(cv2.cvtColor(np.asarray(np.clip(picture, 0, 255) / 255, np.float32), cv2.COLOR_RGB2LAB))


def _rgb(lab: Array) -> Array:
    import cv2

    return np.asarray(np.clip(cv2.cvtColor(np.asarray(lab, np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255, np.float32)
