"""Where a scene has no ground: smooth areas that hang from its upper edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SIDE = 192


def sky(picture: Array) -> Array:
    """The sky, as far as it is smooth and reaches the picture's upper edge.

    Args:
        picture: (H, W, 3) float32, 0..255.

    Returns:
        (H, W) bool. An overcast or starlit sky with hard detail is not found.
    """
    import cv2

    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), 1.0)
    steep = np.maximum(
        np.abs(cv2.Sobel(soft, cv2.CV_32F, 1, 0)).max(2), np.abs(cv2.Sobel(soft, cv2.CV_32F, 0, 1)).max(2)
    )
    smooth = cv2.medianBlur((steep < 20).astype(np.uint8), 3)
    count, labels = cv2.connectedComponents(smooth, connectivity=4)
    hanging = [k for k in range(1, count) if (labels[0] == k).mean() > 0.1]
    found = np.isin(labels, hanging).astype(np.uint8)
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST) > 0)
