"""Whether a photo's cut-out can be believed: the checks that turn a bad outline into a rejected plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class NoCutout(Exception):
    """A reference whose subject cannot be cut out believably; the message says why."""


@dataclass(frozen=True)
class Outline:
    """What can be measured of a mask without knowing what it shows; shares in [0, 1].

    Attributes:
        area: of the frame that is covered.
        rim: of the frame's left, top and right edge that is covered.
        filled: of its bounding box that is covered.
        solid: of its convex hull that is covered.
        clear: of the outline along which inside and outside differ visibly in colour.
        kin: of a ring around it whose colours are more like the subject's than like the rest of the frame's; large
            where only a part of the subject was found.
    """

    area: float
    rim: float
    filled: float
    solid: float
    clear: float
    kin: float


@dataclass(frozen=True)
class Agreement:
    """How far independent cut-outs of one photo agree with the final one.

    Attributes:
        overlaps: intersection over union of each with it, in [0, 1], ascending.
    """

    overlaps: tuple[float, ...] = (1.0,)

    @property
    def second(self) -> float:
        """The worst but one: a single start may lose its way."""
        return self.overlaps[min(1, len(self.overlaps) - 1)]

    @property
    def middle(self) -> float:
        return self.overlaps[len(self.overlaps) // 2]


def refuse_doubtful(rgb: Array, mask: Array, agreement: Agreement) -> None:
    """Raise `NoCutout` with the reason that `doubt` gives, if any."""
    reason = doubt(rgb, mask, agreement)
    if reason:
        raise NoCutout(reason)


def doubt(rgb: Array, mask: Array, agreement: Agreement) -> str:
    """Why the cut-out is not to be used, or an empty string.

    The bounds were set by eye on some 130 photos of animals, toys and things.

    Args:
        rgb: (H, W, 3) uint8.
        mask: (H, W) uint8 of 0 and 1, one component.
    """
    if not mask.any():
        return "nothing stands out from the background"
    if _letterboxed(rgb):
        return "the photo has bars along two sides"
    found = outline(rgb, mask)
    # Where two starts see something else, the others have often settled on a part, or on subject and ground together.
    agreed = agreement.second >= 0.75 and agreement.middle >= 0.85
    checks = (
        (found.area < 0.045, f"the subject fills only {found.area:.1%} of the photo"),
        (found.area > 0.8, f"the subject fills {found.area:.0%} of the photo"),
        (found.rim > 0.15, f"the frame cuts through the subject along {found.rim:.0%} of its sides and top"),
        (not agreed, f"cut-outs from different starting points disagree (overlap {agreement.second:.2f})"),
        (found.clear < 0.75, f"only {found.clear:.0%} of the outline differs in colour from what lies behind it"),
        (found.kin > 0.4, f"{found.kin:.0%} of what lies around the cut-out looks like a part of the subject"),
        (found.solid < 0.4, f"the outline is ragged (covers {found.solid:.0%} of its hull)"),
        (found.area > 0.25 and found.filled > 0.97, "the outline is a rectangle"),
    )
    return next((reason for failed, reason in checks if failed), "")


def outline(rgb: Array, mask: Array) -> Outline:
    """Measure a mask against its photo; arguments as for `doubt`."""
    import cv2

    height, width = mask.shape
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    area = float(mask.sum())
    hull = float(cv2.contourArea(cv2.convexHull(contour)))
    _, _, box_width, box_height = cv2.boundingRect(contour)
    rim = np.concatenate([mask[0], mask[:, 0], mask[:, -1]])
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    steps = _steps(lab, mask)
    return Outline(
        area=area / (height * width),
        rim=float(rim.mean()),
        filled=area / (box_width * box_height),
        solid=min(1.0, area / max(hull, 1.0)),
        clear=float((steps > 10).mean()) if steps.size else 0.0,
        kin=_kin(lab, mask),
    )


def _steps(lab: Array, mask: Array) -> Array:
    """Lab distance between the colours just inside and just outside, at every point of the outline off the frame."""
    import cv2

    reach = max(2, round(0.012 * max(mask.shape)))
    inside, outside = mask.astype(np.float32), 1 - mask.astype(np.float32)
    size = (2 * reach + 1, 2 * reach + 1)

    def mean(weight: Array) -> Array:
        total = cv2.boxFilter(weight, -1, size)
        return np.asarray(cv2.boxFilter(lab * weight[..., None], -1, size) / np.maximum(total, 1e-3)[..., None])

    edge = (mask > 0) & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)
    edge[:reach], edge[-reach:], edge[:, :reach], edge[:, -reach:] = False, False, False, False
    return np.asarray(np.linalg.norm(mean(inside) - mean(outside), axis=2)[edge])


def _kin(lab: Array, mask: Array) -> float:
    import cv2

    def grown(share: float) -> Array:
        reach = max(1, round(share * max(mask.shape)))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        return np.asarray(cv2.dilate(mask, disc) > 0)

    ring = grown(0.06) & ~grown(0.012)
    rest = ~grown(0.1)
    if not ring.any() or not rest.any():
        return 0.0
    bins = _bins(lab)
    own, other = _frequency(bins, mask > 0), _frequency(bins, rest)
    return float((own[bins[ring]] > other[bins[ring]]).mean())


_COUNTS = (10, 16, 16)


def _bins(lab: Array) -> Array:
    """The Lab histogram cell of each pixel, as one number."""
    low, span = np.array([0, -64, -64]), np.array([100, 128, 128])
    cells = np.clip(((lab - low) / span * _COUNTS).astype(np.int64), 0, np.array(_COUNTS) - 1)
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(cells, 2, 0)), _COUNTS))


def _frequency(bins: Array, chosen: Array) -> Array:
    """The smoothed Lab histogram of the chosen pixels, flat, summing to one."""
    counts = np.bincount(bins[chosen], minlength=int(np.prod(_COUNTS))).reshape(_COUNTS).astype(np.float64)
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        before = np.take(padded, range(counts.shape[axis]), axis)
        after = np.take(padded, range(2, padded.shape[axis]), axis)
        counts = 0.5 * counts + 0.25 * (before + after)
    return np.asarray((counts / max(counts.sum(), 1e-9)).ravel())


def _letterboxed(rgb: Array) -> bool:
    """Whether two opposite sides carry bars of one colour, as a photo fitted into another frame has."""
    deep = max(2, round(0.03 * max(rgb.shape[:2])))
    strips = ((rgb[:deep], rgb[-deep:]), (rgb[:, :deep], rgb[:, -deep:]))
    bars = [all(float(s.reshape(-1, 3).std(0).max()) < 1.5 for s in pair) for pair in strips]
    return bars[0] != bars[1]
