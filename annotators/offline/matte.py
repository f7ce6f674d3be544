"""From a hard mask to a soft matte: a guided filter along the boundary, and edges freed of the old background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def soft_matte(rgb: Array, mask: Array) -> Array:
    """The alpha of a subject whose mask is known at lower resolution.

    The guided filter (He, Sun and Tang, 2010) is solved on the mask's own grid and its coefficients are enlarged, so
    that hair and edges follow the full image; outside a narrow band around the mask's boundary nothing changes.

    Args:
        rgb: (H, W, 3) uint8.
        mask: (h, w) uint8 of 0 and 1, of the same aspect.

    Returns:
        (H, W) float32 in [0, 1].
    """
    import cv2

    height, width = rgb.shape[:2]
    small = (mask.shape[1], mask.shape[0])
    guide = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    slope, offset = _guided(guide, mask.astype(np.float32), radius=max(2, round(max(small) * 0.01)), eps=4e-4)
    slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = (slope * (rgb.astype(np.float32) / 255)).sum(2) + offset
    alpha = np.clip((alpha - 0.12) / 0.76, 0, 1)
    reach = max(1, round(max(small) * 0.012))
    inside, outside = _eroded(mask, reach), _eroded(1 - mask, reach)
    floor = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    ceiling = 1 - cv2.resize(outside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(alpha, floor, ceiling), np.float32)


def _guided(guide: Array, values: Array, radius: int, eps: float) -> tuple[Array, Array]:
    """Coefficients of the colour guided filter: values ~ slope . guide + offset in every window."""
    import cv2

    def mean(x: Array) -> Array:
        return cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    centre, level = mean(guide), mean(values)
    cross = mean(guide * values[..., None]) - centre * level[..., None]
    pairs = (guide[..., :, None] * guide[..., None, :]).reshape(*guide.shape[:2], 9)
    outer = (centre[..., :, None] * centre[..., None, :]).reshape(*guide.shape[:2], 9)
    spread = np.concatenate([mean(np.ascontiguousarray(pairs[..., k : k + 3])) for k in (0, 3, 6)], axis=2) - outer
    matrix = spread.reshape(*guide.shape[:2], 3, 3) + eps * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(matrix, cross[..., None])[..., 0].astype(np.float32)
    offset = level - (slope * centre).sum(2)
    return mean(slope), mean(offset)


def clean_edges(rgb: Array, alpha: Array) -> Array:
    """The subject's own colours everywhere: where alpha is partial, those of the nearest solid part.

    Without it every soft edge carries a halo of the background that it was photographed on.

    Args:
        rgb: (H, W, 3) uint8.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) uint8; colours far outside the subject are meaningless.
    """
    import cv2

    size = max(alpha.shape)
    reach = max(1, round(size * 0.003))
    solid = _eroded((alpha > 0.97).astype(np.uint8), reach)
    if not solid.any():
        return rgb
    colours = rgb.astype(np.float32)
    weight = solid.astype(np.float32)
    inner = _outwards(colours, weight)
    keep = cv2.GaussianBlur(weight, (0, 0), max(0.8, reach * 0.7))[..., None]
    keep = np.maximum(np.clip(keep, 0, 1), weight[..., None])
    return np.asarray(np.clip(colours * keep + inner * (1 - keep), 0, 255), np.uint8)


def _outwards(colours: Array, weight: Array) -> Array:
    """Everywhere the colour of the nearest weighted pixels, from ever wider blurs; made at a quarter of the size."""
    import cv2

    height, width = weight.shape
    small = (max(4, width // 4), max(4, height // 4))
    known = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    tint = cv2.resize(colours * weight[..., None], small, interpolation=cv2.INTER_AREA)
    total, share = tint, known
    for sigma in (1.0, 2.5, 7.0, 20.0):
        missing = share < 0.05
        total = np.where(missing[..., None], cv2.GaussianBlur(tint, (0, 0), sigma), total)
        share = np.where(missing, cv2.GaussianBlur(known, (0, 0), sigma), share)
    inner = np.asarray(total / np.maximum(share, 1e-4)[..., None], np.float32)
    return np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR))


def _eroded(mask: Array, reach: int) -> Array:
    import cv2

    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE))
