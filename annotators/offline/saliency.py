"""Where a photo's subject probably is: what is unlike the border, reached only over strong edges, and near the centre.

The barrier map follows "Minimum Barrier Salient Object Detection at 80 FPS" (Zhang et al., ICCV 2015), computed by
parallel relaxation on a small grid in place of raster scans, so that numpy alone is enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GRID = 64
_SWEEPS = 80


def saliency(lab: Array) -> Array:
    """How probably each pixel belongs to the subject.

    Args:
        lab: (H, W, 3) float32, CIE Lab (L in 0..100).

    Returns:
        (H, W) float32 in [0, 1].
    """
    import cv2

    height, width = lab.shape[:2]
    scale = _GRID / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(cv2.GaussianBlur(lab, (0, 0), 1.2), size, interpolation=cv2.INTER_AREA)
    barrier = _stretched(sum(_barrier(small[..., c]) for c in range(3)))
    contrast = _stretched(_border_contrast(small))
    found = (0.55 * barrier + 0.45 * contrast) * (0.35 + 0.65 * _centre(small.shape[0], small.shape[1]))
    grown = cv2.resize(np.asarray(_stretched(found), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(grown, 0, 1), np.float32)


def _barrier(channel: Array) -> Array:
    """Minimum barrier distance to the border: the smallest (max - min) over any path from it."""
    high, low = channel.copy(), channel.copy()
    cost = np.full(channel.shape, np.inf, np.float32)
    cost[0], cost[-1], cost[:, 0], cost[:, -1] = 0, 0, 0, 0
    for _ in range(_SWEEPS):
        changed = False
        for there, here in _NEIGHBOURS:
            new_high = np.maximum(high[there], channel[here])
            new_low = np.minimum(low[there], channel[here])
            new_cost = np.where(np.isfinite(cost[there]), new_high - new_low, np.inf)
            better = new_cost < cost[here] - 1e-4
            if better.any():
                changed = True
                cost[here] = np.where(better, new_cost, cost[here])
                high[here] = np.where(better, new_high, high[here])
                low[here] = np.where(better, new_low, low[here])
        if not changed:
            break
    return cost


_ALL, _FRONT, _BACK = slice(None), slice(None, -1), slice(1, None)
_NEIGHBOURS = (
    ((_FRONT, _ALL), (_BACK, _ALL)),
    ((_BACK, _ALL), (_FRONT, _ALL)),
    ((_ALL, _FRONT), (_ALL, _BACK)),
    ((_ALL, _BACK), (_ALL, _FRONT)),
)


def _border_contrast(lab: Array) -> Array:
    """Mahalanobis distance to each of the four border strips' colours; the largest is dropped, the rest averaged.

    Dropping the largest keeps a subject that is cut off by one side of the frame salient.
    """
    height, width = lab.shape[:2]
    deep = max(2, round(0.08 * min(height, width)))
    strips = (lab[:deep], lab[-deep:], lab[:, :deep], lab[:, -deep:])
    distances = []
    for strip in strips:
        colours = strip.reshape(-1, 3)
        spread = np.cov(colours.T) + np.eye(3) * 4.0
        offset = lab - colours.mean(0)
        distances.append(np.sqrt(np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(spread), offset)))
    stack = np.sort(np.stack([d / (d.max() + 1e-6) for d in distances]), axis=0)
    return np.asarray(stack[:3].mean(0), np.float32)


def _centre(height: int, width: int) -> Array:
    """A broad bump, a little below the middle: where people put what they photograph."""
    y = (np.arange(height, dtype=np.float32)[:, None] / height - 0.53) / 0.34
    x = (np.arange(width, dtype=np.float32)[None] / width - 0.5) / 0.32
    return np.asarray(np.exp(-0.5 * (x * x + y * y)), np.float32)


def _stretched(values: Any) -> Array:
    low, high = np.percentile(values, (2, 98))
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float32)
