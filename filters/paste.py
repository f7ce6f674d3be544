"""Is a reference in the target as a whole rectangle, its own background included?

Template matching over scales: a subject that was cut out and set into another place matches inside its outline, but
not along the frame of its photograph; a photograph that was pasted matches along its frame as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_COARSE, _FINE = 80, 224
"""Longest side of the target when searching, and when looking closer."""
_SMALLEST = 16
"""Pixels of `_COARSE`: what was pasted at less than a fifth of the target's size is not looked for."""
_STEP = 0.9
_PROMISING = 0.5
_FLAT = 6.0
"""Levels of 255: below this deviation a strip has no pattern to correlate, so its colours are compared instead."""


@dataclass(frozen=True)
class _Place:
    match: float
    width: float  # of the template, as a share of the target's width and height
    height: float
    x: float
    y: float


def pasted(reference: Image.Image, target: Image.Image) -> float:
    """How surely `reference` lies in `target` as a rectangle, 0 to 1; unchanged in shape, neither turned nor mirrored.

    It is the lower of two correlations at the best place: over the whole rectangle, and along its frame (the second
    worst of its four sides, so that one side may be covered). Changes of brightness and contrast do not hide it.
    """
    # Shrunk once: the search then resizes a small picture at each scale, not a large one.
    reference = reference.resize(_fitted(reference.size, _FINE), resample=2, reducing_gap=3.0)
    coarse = _array(target, _fitted(target.size, _COARSE))
    places = sorted(_places(reference, coarse), key=lambda place: -place.match)[:3]
    fine = _array(target, _fitted(target.size, _FINE))
    return max((_closer(reference, fine, place) for place in places if place.match > _PROMISING), default=0.0)


def same_picture(reference: Image.Image, target: Image.Image) -> float:
    """How surely `target` is `reference`, stretched to its shape, 0 to 1; measured as `pasted` is."""
    size = _fitted(target.size, _COARSE)
    return _likeness(_array(reference, size), _array(target, size))


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(8, round(size[0] * scale)), max(8, round(size[1] * scale))


def _array(image: Image.Image, size: tuple[int, int]) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)).astype(np.float32)


def _places(reference: Image.Image, target: Any) -> Iterator[_Place]:
    """The best place at each scale."""
    import cv2

    height, width = target.shape[:2]
    scale = min(width / reference.width, height / reference.height)
    while max(reference.size) * scale >= _SMALLEST and min(reference.size) * scale >= 6:
        size = (max(1, round(reference.width * scale)), max(1, round(reference.height * scale)))
        found = cv2.matchTemplate(target, _array(reference, size), cv2.TM_CCOEFF_NORMED)
        _, match, _, (x, y) = cv2.minMaxLoc(found)
        yield _Place(float(match), size[0] / width, size[1] / height, x / width, y / height)
        scale *= _STEP


def _closer(reference: Image.Image, target: Any, place: _Place) -> float:
    """The likeness at the best match about `place`, over slightly different scales and positions."""
    import cv2

    height, width = target.shape[:2]
    best, pair = -1.0, None
    for factor in (0.95, 0.975, 1.0, 1.025, 1.05):
        w, h = min(width, round(place.width * factor * width)), min(height, round(place.height * factor * height))
        # The centre stays where it was, and may move by what a pixel of the coarse search covers.
        x, y = round((place.x + place.width / 2) * width - w / 2), round((place.y + place.height / 2) * height - h / 2)
        left, top = max(0, x - 5), max(0, y - 5)
        window = target[top : min(height, y + h + 5), left : min(width, x + w + 5)]
        if window.shape[0] < h or window.shape[1] < w:
            continue
        template = _array(reference, (w, h))
        _, match, _, (dx, dy) = cv2.minMaxLoc(cv2.matchTemplate(window, template, cv2.TM_CCOEFF_NORMED))
        if match > best:
            best, pair = match, (template, window[dy : dy + h, dx : dx + w])
    return _likeness(*pair) if pair is not None else 0.0


def _likeness(a: Any, b: Any) -> float:
    """The lower of the correlation of all and of the second worst of the four sides, 0 to 1."""
    height, width = a.shape[:2]
    # The outermost pixels are where a paste is blended in.
    y0, y1, x0, x1 = height // 16, max(1, height // 5), width // 16, max(1, width // 5)
    sides = (
        (slice(y0, y1), slice(None)), (slice(height - y1, height - y0), slice(None)),
        (slice(None), slice(x0, x1)), (slice(None), slice(width - x1, width - x0)),
    )  # fmt: skip
    fitted = _relit(a, b)
    alike = sorted(_correlation(fitted[side], b[side]) for side in sides)
    return float(min(max(0.0, min(_correlation(fitted, b), alike[1])), 1.0))


def _relit(a: Any, b: Any) -> Any:
    """`a` with each channel's brightness and contrast brought to `b`'s."""
    (mean_a, deviation_a), (mean_b, deviation_b) = _tone(a), _tone(b)
    gain = (deviation_b / deviation_a.clip(1.0)).clip(0.5, 2.0)
    return (a - mean_a) * gain + mean_b


def _correlation(a: Any, b: Any) -> float:
    """Of all channels together, about each channel's mean; of flat patches, how near their colours are."""
    import numpy as np

    (mean_a, deviation_a), (mean_b, deviation_b) = _tone(a), _tone(b)
    if max(np.sqrt((deviation_a**2).mean()), np.sqrt((deviation_b**2).mean())) < _FLAT:
        return 1.0 - min(1.0, float(abs(mean_a - mean_b).max()) / 32)
    shared = float(((a - mean_a) * (b - mean_b)).mean())
    return shared / max(1e-6, float(np.sqrt((deviation_a**2).mean() * (deviation_b**2).mean())))


def _tone(patch: Any) -> tuple[Any, Any]:
    """(mean, standard deviation) per channel."""
    import cv2
    import numpy as np

    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(patch))
    return mean[:, 0].astype(np.float32), deviation[:, 0].astype(np.float32)
