"""How much of a picture an edit changed, whatever the file format and the resampling did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
"""Both pictures are compared at this longest side."""
# (window, tolerance in levels of 255, tolerance per level of local contrast). JPEG's and resampling's errors cancel
# within a window, are larger where there is texture or an edge, and the coarser the window the smaller they are.
_SCALES = ((8, 8.0, 0.25), (32, 4.0, 0.15))
_TONE = 2.5
"""A shift of the tone of the whole picture, in levels of 255, that no encoder makes; see `_tone`."""
_SHIFT = 8
"""Up to so many pixels of SIDE, a picture that merely moved is not an edit."""


def edit_change(base: Image.Image, target: Image.Image) -> float:
    """The share of the picture that changed, 0 to 1.

    The target is stretched to the base's shape, moved back if it moved as a whole by a few pixels, and compared as
    means over small and larger windows, per colour channel. A change of tone too slight to show in any window counts
    as its shift of the mean. A picture that gained nothing but noise, compression or softness scores 0.
    """
    before = _reduced(base, base.size)
    after = _reduced(target, base.size)
    shares = [_changed(before, after, 0)]
    shift = _shift(before, after)
    if shift is not None:
        shares.append(_changed(before, _moved(after, shift), _SHIFT + 4))
    tone = float(abs(_tone(after) - _tone(before)).max())
    return max(min(shares), tone / 255 if tone > _TONE else 0.0)


def _tone(picture: Any) -> Any:
    """Over the whole picture: each channel's mean, the colourfulness, and the contrast, in levels of 255."""
    import cv2
    import numpy as np

    smooth = _mean(picture, 8)
    red, green, blue = cv2.split(smooth)
    least = cv2.min(cv2.min(red, green), blue)
    grey = (red + green + blue) / 3
    colourful = (_largest(smooth) - least).mean(dtype=np.float64)
    return np.array([*(plane.mean(dtype=np.float64) for plane in (red, green, blue)), colourful, grey.std()])


def _reduced(image: Image.Image, shape: tuple[int, int]) -> Any:
    import numpy as np
    from PIL import Image

    scale = SIDE / max(shape)
    size = (max(8, round(shape[0] * scale)), max(8, round(shape[1] * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)


def _changed(before: Any, after: Any, margin: int) -> float:
    """The larger share over the scales, `margin` pixels from the edge left out."""
    inner = (slice(margin, -margin or None), slice(margin, -margin or None))
    if before[inner].size == 0:
        return 1.0
    shares = []
    for window, tolerance, per_contrast in _SCALES:
        difference = _largest(abs(_mean(after - before, window)))
        allowed = tolerance + per_contrast * _contrast(before, after, window * 3 // 2 if window > 8 else 16)
        shares.append(float((difference > allowed)[inner].mean()))
    return max(shares)


def _contrast(before: Any, after: Any, window: int) -> Any:
    """The lower of both pictures' local standard deviations: texture that an edit brings must not excuse it."""
    import numpy as np

    variances = [
        _largest(_mean(picture * picture, window) - _mean(picture, window) ** 2) for picture in (before, after)
    ]
    return np.sqrt(np.maximum(np.minimum(*variances), 0))


def _largest(picture: Any) -> Any:
    """Per pixel, of the three channels; much faster than NumPy's reduction over a short axis."""
    import cv2

    red, green, blue = cv2.split(picture)
    return cv2.max(cv2.max(red, green), blue)


def _mean(picture: Any, window: int) -> Any:
    import cv2

    return cv2.blur(picture, (window, window), borderType=cv2.BORDER_REFLECT_101)


def _shift(before: Any, after: Any) -> tuple[float, float] | None:
    """By how much `after` lies moved as a whole, or None where that is nothing or too much to be drift."""
    import cv2

    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(grey[0], grey[1], window)
    largest = max(abs(dx), abs(dy))
    return (dx, dy) if 0.05 < largest <= _SHIFT else None


def _moved(picture: Any, shift: tuple[float, float]) -> Any:
    import cv2
    import numpy as np

    matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], dtype=np.float32)
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
