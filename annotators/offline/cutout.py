"""A reference's subject, cut out: by its alpha channel, off a plain background, or by GrabCut, or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotators.offline.doubts import Agreement, refuse_doubtful
from annotators.offline.doubts import NoCutout as NoCutout
from annotators.offline.grabbing import filled, grabbed, largest
from annotators.offline.matte import clean_edges, soft_matte

Array = NDArray[Any]

MAX_SIDE = 1024


@dataclass(frozen=True)
class Cutout:
    """A subject freed of its background.

    Attributes:
        rgba: (h, w, 4) uint8, straight alpha, cropped to the subject.
        box: left, top, right, bottom of that crop in the photo it was cut from, pixels.
        size: width and height of that photo (at most `MAX_SIDE`), pixels.
        cut_off: the sides of the frame (`left`, `top`, `right`, `bottom`) that cut through the subject.
        drawn: whether it came with its own alpha or off a plain background, not out of a photo.
    """

    rgba: Array
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    cut_off: frozenset[str]
    drawn: bool

    @property
    def mask(self) -> Array:
        """Alpha over the whole photo: (H, W) float32 in [0, 1]."""
        whole = np.zeros((self.size[1], self.size[0]), np.float32)
        left, top, right, bottom = self.box
        whole[top:bottom, left:right] = self.rgba[..., 3] / np.float32(255)
        return whole


def cutout(image: Image.Image) -> Cutout:
    """Cut the main subject out of an upright RGBA image.

    Raises:
        NoCutout: there is no subject, or none whose outline is believable.
    """
    image = image.convert("RGBA")
    if max(image.size) > MAX_SIDE:
        image = image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    rgba = np.asarray(image)
    if _alpha_is_used(rgba[..., 3]):
        return _cropped(rgba[..., :3], _main_part(rgba[..., 3]), drawn=True)
    rgb = np.ascontiguousarray(rgba[..., :3])
    plain = _off_plain_background(rgb)
    if plain is not None:
        return _cropped(clean_edges(rgb, plain), plain * 255, drawn=True)
    mask = grabbed(rgb)
    alpha = soft_matte(rgb, mask)
    return _cropped(clean_edges(rgb, alpha), alpha * 255, drawn=False)


class Cutouts:
    """The cut-outs of recent references (refusals too), least recently used first out. Safe between threads.

    One reference stands in many plans, and cutting it out costs more than all else in painting one.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, Cutout | str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, image: Image.Image) -> Cutout:
        """The cut-out of an upright RGBA image, as `cutout` makes it, and its refusals too."""
        key = _digest(image)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            try:
                found = cutout(image)
            except NoCutout as refusal:
                found = str(refusal)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        if isinstance(found, str):
            raise NoCutout(found)
        return found


def _digest(image: Image.Image) -> str:
    """Names the pixels, not the file: what a plan blurs on purpose is another image."""
    return hashlib.blake2b(image.tobytes(), person=f"{image.size}{image.mode}"[:16].encode()).hexdigest()


def _alpha_is_used(alpha: Array) -> bool:
    return float((alpha < 128).mean()) > 0.02 and float((alpha > 200).mean()) > 0.02


def _main_part(alpha: Array) -> Array:
    """Alpha without specks that lie apart from everything else."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 16).astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= 0.03 * areas.max())
    return np.where(np.isin(labels, kept), alpha, 0)


def _off_plain_background(rgb: Array) -> Array | None:
    """Alpha of what stands on a background of one colour, or None where the border is not of one colour."""
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    deep = max(2, round(0.02 * min(rgb.shape[:2])))
    border = np.concatenate([s.reshape(-1, 3) for s in (lab[:deep], lab[-deep:], lab[:, :deep], lab[:, -deep:])])
    paper = np.median(border, axis=0)
    if float((np.linalg.norm(border - paper, axis=1) < 4).mean()) < 0.9:
        return None
    distance = np.linalg.norm(lab - paper, axis=2)
    far = (cv2.GaussianBlur(distance, (0, 0), 0.8) > 9).astype(np.uint8)
    mask = filled(largest(far))
    # A subject as pale as its paper leaves only its darker parts: too little of its own outline to trust.
    refuse_doubtful(rgb, mask, Agreement())
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.8, max(rgb.shape[:2]) * 0.0015))
    return np.asarray(np.clip((alpha - 0.35) / 0.6, 0, 1), np.float32)


def _cropped(rgb: Array, alpha: Array, drawn: bool) -> Cutout:
    alpha = np.asarray(np.clip(np.round(alpha), 0, 255), np.uint8)
    rows, columns = np.flatnonzero((alpha > 12).any(1)), np.flatnonzero((alpha > 12).any(0))
    if rows.size < 8 or columns.size < 8:
        raise NoCutout("the subject is a few pixels wide")
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    height, width = alpha.shape
    cut_off = frozenset() if drawn else _cut_off(alpha > 128)
    rgba = np.dstack([rgb, alpha])[top:bottom, left:right]
    return Cutout(np.ascontiguousarray(rgba), (left, top, right, bottom), (width, height), cut_off, drawn)


def _cut_off(mask: Array) -> frozenset[str]:
    """The sides that the subject runs into: along which it covers more than a tenth of its own extent."""
    near = max(1, round(0.02 * max(mask.shape)))
    sides = {"left": mask[:, :near], "right": mask[:, -near:], "top": mask[:near], "bottom": mask[-near:]}
    extent = max(int(mask.any(0).sum()), int(mask.any(1).sum()), 1)
    axis = {"left": 1, "right": 1, "top": 0, "bottom": 0}
    return frozenset(s for s, strip in sides.items() if int(strip.any(axis[s]).sum()) > 0.1 * extent)
