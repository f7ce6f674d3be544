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

from annotators.offline.doubts import Agreement, doubt
from annotators.offline.matte import clean_edges, soft_matte
from annotators.offline.saliency import saliency

Array = NDArray[Any]

MAX_SIDE = 1024
_FINE, _COARSE = 320, 160
_PRIORS = ((0.35, 0.02), (0.5, 0.05), (0.65, 0.1))
_SOLID = 0.5


class NoCutout(Exception):
    """A reference whose subject cannot be cut out believably; the message says why."""


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
    mask = _grabbed(rgb)
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
    mask = _filled(_largest(far))
    # A subject as pale as its paper leaves only its darker parts: too little of its own outline to trust.
    _refuse(doubt(rgb, mask, Agreement()))
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.8, max(rgb.shape[:2]) * 0.0015))
    return np.asarray(np.clip((alpha - 0.35) / 0.6, 0, 1), np.float32)


def _grabbed(rgb: Array) -> Array:
    """The subject's mask at `_FINE` pixels: three GrabCuts from three priors vote, a fourth draws the outline."""
    import cv2

    coarse, fine = _within(rgb, _COARSE), _within(rgb, _FINE)
    prior = saliency(cv2.cvtColor(coarse.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    votes = [_largest(_grabcut(coarse, _first_guess(prior, *levels), rounds=4)) for levels in _PRIORS]
    voted = (np.sum(votes, axis=0) >= 2).astype(np.uint8)
    if not voted.any():
        raise NoCutout("nothing stands out from the background")
    grown = cv2.resize(_filled(_largest(voted)), (fine.shape[1], fine.shape[0]), interpolation=cv2.INTER_LINEAR)
    mask = _smooth(_filled(_largest(_grabcut(fine, _band(grown), rounds=1))))
    if not mask.any():
        raise NoCutout("nothing stands out from the background")
    mask = _filled(_largest(mask))
    _refuse(doubt(fine, mask, _agreement(votes, mask)))
    return mask


def _refuse(reason: str) -> None:
    if reason:
        raise NoCutout(reason)


def _first_guess(prior: Array, likely: float, unlikely: float) -> Array:
    """GrabCut's starting labels: the frame's edge is background, except its lower side, where subjects stand."""
    import cv2

    labels = np.full(prior.shape, cv2.GC_PR_BGD, np.uint8)
    labels[prior > likely] = cv2.GC_PR_FGD
    labels[prior < unlikely] = cv2.GC_BGD
    edge = max(2, round(0.02 * min(prior.shape)))
    labels[:edge] = cv2.GC_BGD
    labels[:-1, :edge] = cv2.GC_BGD
    labels[:-1, -edge:] = cv2.GC_BGD
    return labels


def _band(mask: Array) -> Array:
    """Labels that leave open only a band around a known mask's outline."""
    import cv2

    reach = max(2, round(0.025 * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    labels = np.where(mask > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(mask, disc) > 0] = cv2.GC_FGD
    labels[cv2.dilate(mask, disc) == 0] = cv2.GC_BGD
    return labels


def _grabcut(rgb: Array, labels: Array, rounds: int) -> Array:
    import cv2

    known = [np.isin(labels, pair).any() for pair in ((cv2.GC_FGD, cv2.GC_PR_FGD), (cv2.GC_BGD, cv2.GC_PR_BGD))]
    if not all(known):
        return np.zeros(labels.shape, np.uint8)
    # GrabCut's k-means draws from this thread's OpenCV generator: unseeded, the outline depends on what ran before.
    cv2.setRNGSeed(20)
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb), labels, (0, 0, 1, 1), back, front, rounds, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def _agreement(votes: list[Array], mask: Array) -> Agreement:
    import cv2

    size = (votes[0].shape[1], votes[0].shape[0])
    final = cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA) > 127
    overlaps = sorted(float((v & final).sum()) / max(1.0, float((v | final).sum())) for v in votes)
    return Agreement(worst=overlaps[0], middle=overlaps[len(overlaps) // 2])


def _within(rgb: Array, side: int) -> Array:
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def _largest(mask: Array) -> Array:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.uint8)


def _filled(mask: Array) -> Array:
    """The mask without the holes it encloses: GrabCut drops eyes, white bellies and labels."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, 1, thickness=cv2.FILLED)
    return np.asarray(filled)


def _smooth(mask: Array) -> Array:
    import cv2

    sigma = max(1.0, max(mask.shape) * 0.006)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma) > _SOLID, np.uint8)


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
