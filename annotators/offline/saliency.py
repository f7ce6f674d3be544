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

    small = cv2.resize(cv2.GaussianBlur(lab, (0, 0), 1.2), _grid(lab), interpolation=cv2.INTER_AREA)
    barrier = _stretched(sum(_barrier(small[..., c]) for c in range(3)))
    contrast = _stretched(_border_contrast(small))
    found = (0.55 * barrier + 0.45 * contrast) * (0.35 + 0.65 * _centre(small.shape[0], small.shape[1]))
    return _enlarged(found, lab)


def centred(lab: Array) -> Array:
    """Where the middle of the picture is, whatever it shows; shapes as for `saliency`."""
    return _enlarged(_centre(*_grid(lab)[::-1]), lab)


def unlike_border(lab: Array) -> Array:
    """How unlike the border each pixel is in colour, texture and sharpness; shapes as for `saliency`.

    A subject in front of a blurred ground stands out by its sharpness where its colours are those of the ground.
    """
    import cv2

    size = _grid(lab)
    colours = cv2.resize(lab, size, interpolation=cv2.INTER_AREA)
    textures = cv2.resize(_textures(lab[..., 0]), size, interpolation=cv2.INTER_AREA)
    found = cv2.GaussianBlur(_far_from_strips(np.dstack([colours, textures])), (0, 0), 1.5)
    return _enlarged(found * (0.35 + 0.65 * _centre(size[1], size[0])), lab)


def _textures(light: Array) -> Array:
    """Local energy of the lightness at two scales: (H, W, 2) float32."""
    import cv2

    def energy(sigma: float) -> Array:
        detail = np.abs(cv2.GaussianBlur(light, (0, 0), sigma) - cv2.GaussianBlur(light, (0, 0), 2 * sigma))
        return np.asarray(12 * np.log1p(cv2.GaussianBlur(detail, (0, 0), 3)), np.float32)

    return np.dstack([energy(0.8), energy(2.0)])


def _far_from_strips(features: Array) -> Array:
    """Distance to the nearest of each border strip's four clusters; the middle two of the four strips, averaged."""
    distances = []
    for strip in _strips(features):
        samples = np.ascontiguousarray(strip.reshape(-1, features.shape[2]), np.float32)
        distances.append(np.min([_mahalanobis(features, cluster) for cluster in _clusters(samples)], axis=0))
    return np.asarray(np.sort(np.stack(distances), axis=0)[1:3].mean(0), np.float32)


def _clusters(samples: Array) -> list[Array]:
    """The samples in at most four groups, without those that are too few to say anything."""
    import cv2

    # As for GrabCut: k-means starts from this thread's generator.
    cv2.setRNGSeed(20)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 15, 0.5)
    _, labels, _ = cv2.kmeans(samples, min(4, len(samples)), None, stop, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore
    groups = [samples[labels.ravel() == k] for k in range(4)]
    return [group for group in groups if len(group) >= max(4, 0.05 * len(samples))] or [samples]


def _mahalanobis(features: Array, samples: Array, noise: float = 9.0) -> Array:
    spread = np.cov(samples.T) + np.eye(features.shape[2]) * noise
    offset = features - samples.mean(0)
    return np.asarray(np.sqrt(np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(spread), offset)))


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
    distances = [_mahalanobis(lab, strip.reshape(-1, 3), noise=4.0) for strip in _strips(lab)]
    stack = np.sort(np.stack([d / (d.max() + 1e-6) for d in distances]), axis=0)
    return np.asarray(stack[:3].mean(0), np.float32)


def _strips(grid: Array) -> tuple[Array, Array, Array, Array]:
    """The top, bottom, left and right border, eight percent of the shorter side deep."""
    deep = max(2, round(0.08 * min(grid.shape[:2])))
    return grid[:deep], grid[-deep:], grid[:, :deep], grid[:, -deep:]


def _grid(lab: Array) -> tuple[int, int]:
    """Width and height of the small grid that maps are made on."""
    height, width = lab.shape[:2]
    scale = _GRID / max(height, width)
    return max(8, round(width * scale)), max(8, round(height * scale))


def _enlarged(found: Any, lab: Array) -> Array:
    import cv2

    size = (lab.shape[1], lab.shape[0])
    grown = cv2.resize(np.asarray(_stretched(found), np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(grown, 0, 1), np.float32)


def _centre(height: int, width: int) -> Array:
    """A broad bump, a little below the middle: where people put what they photograph."""
    y = (np.arange(height, dtype=np.float32)[:, None] / height - 0.53) / 0.34
    x = (np.arange(width, dtype=np.float32)[None] / width - 0.5) / 0.32
    return np.asarray(np.exp(-0.5 * (x * x + y * y)), np.float32)


def _stretched(values: Any) -> Array:
    low, high = np.percentile(values, (2, 98))
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float32)
