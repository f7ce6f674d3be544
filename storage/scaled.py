"""JPEGs to small RGB arrays, fast: decoded straight to about the size that is wanted, then resampled once.

Made for images that `storage.images.clean` has been over (upright, sRGB, no metadata), as every image in a shard is;
`storage.images.decode` is the careful way for files from anywhere. 768 x 520 pixels to 224 take 2.1 ms of one core
here, 4.4 ms with `images.decode`, and the arrays differ by 1 to 4 of 255 on average.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import ImageError
from storage import images

_LARGEST_REDUCTION = 8
_BLUR_PER_RATIO = 0.3
"""Sigma of the blur before shrinking: with bicubic resampling as near to Lanczos as area averaging is, in half the
time."""


def rgb_within(data: bytes | memoryview, side: int | None = None) -> NDArray[np.uint8]:
    """The image as a C-contiguous array (height, width, 3) of RGB, 0 to 255.

    Args:
        side: neither side of the result exceeds it; never enlarges. None: as it is.

    Raises:
        ImageError: `unreadable` or `bomb`.
    """
    import cv2

    data = bytes(data)
    if data[:2] != b"\xff\xd8":
        return np.array(images.decode(data, max_side=side))
    width, height = _size(data)
    longest = max(width, height)
    reduction = 1
    while side is not None and reduction < _LARGEST_REDUCTION and longest >= 2 * reduction * side:
        reduction *= 2
    flag = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduction]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError("unreadable", str(error).strip()) from error
    if pixels is None:
        raise ImageError("unreadable", "its coded pixels cannot be decoded")
    if side is not None and longest > side:
        wanted = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
        ratio = pixels.shape[1] / wanted[0]
        if ratio > 1.05:
            pixels = cv2.GaussianBlur(pixels, (3, 3), _BLUR_PER_RATIO * ratio)
        pixels = cv2.resize(pixels, wanted, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height by the header."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", str(error)) from error
    if width * height > images.BOMB_PIXELS:
        raise ImageError("bomb", f"{width} x {height} is more than {images.BOMB_PIXELS:,} pixels")
    return width, height
