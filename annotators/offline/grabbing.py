"""A photo's subject by GrabCut: cut-outs from several starting points vote, and a last one draws the outline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.offline.doubts import Agreement, NoCutout, refuse_doubtful
from annotators.offline.saliency import centred, saliency, unlike_border

Array = NDArray[Any]

_FINE, _COARSE = 320, 128
_ROUNDS = 4
_QUORUM = 3


def grabbed(rgb: Array) -> Array:
    """The mask of a photo's main subject.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (h, w) uint8 of 0 and 1, one component, of the photo's aspect, at most 320 pixels long.

    Raises:
        NoCutout: there is no subject, or none whose outline is believable.
    """
    import cv2

    coarse, fine = _within(rgb, _COARSE), _within(rgb, _FINE)
    cuts = [filled(largest(_grabcut(coarse, labels, _ROUNDS))) for labels in _starts(coarse)]
    # A start whose every pixel fell to the background says nothing about where the subject ends.
    votes = [cut for cut in cuts if cut.any()]
    if len(votes) < _QUORUM:
        raise NoCutout("nothing stands out from the background")
    voted = (2 * np.sum(votes, axis=0) > len(votes)).astype(np.uint8)
    if not voted.any():
        raise NoCutout("cut-outs from different starting points have no part in common")
    grown = cv2.resize(filled(largest(voted)), (fine.shape[1], fine.shape[0]), interpolation=cv2.INTER_LINEAR)
    mask = _smooth(filled(largest(_grabcut(fine, _band(grown), rounds=1))))
    if not mask.any():
        raise NoCutout("nothing stands out from the background")
    mask = filled(largest(mask))
    refuse_doubtful(fine, mask, _agreement(votes, mask))
    return mask


def largest(mask: Array) -> Array:
    """The largest connected part of a mask of 0 and 1."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.uint8)


def filled(mask: Array) -> Array:
    """The mask without the holes it encloses: GrabCut drops eyes, white bellies and labels."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros_like(mask)
    cv2.drawContours(whole, contours, -1, 1, thickness=cv2.FILLED)
    return np.asarray(whole)


def _starts(rgb: Array) -> list[Array]:
    """The starting labels of five cut-outs that err in different ways.

    Saliency loses the duller parts of a subject (a dog's white chest), texture and sharpness take in some of the
    ground, and a bump in the middle knows no subject at all.
    """
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    salient, unlike, middle = saliency(lab), unlike_border(lab), centred(lab)
    together = (salient + unlike + 0.5 * middle) / 2.5
    return [
        _first_guess(salient, 0.35, 0.02),
        _first_guess(salient, 0.5, 0.05),
        _first_guess(unlike, 0.3, 0.02),
        _first_guess(middle, 0.5, 0.03),
        _first_guess(together, 0.4, 0.05),
    ]


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
    final = np.asarray(cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA) > 127, np.uint8)
    overlaps = sorted(float((v & final).sum()) / max(1.0, float((v | final).sum())) for v in votes)
    return Agreement(tuple(overlaps))


def _within(rgb: Array, side: int) -> Array:
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def _smooth(mask: Array) -> Array:
    import cv2

    sigma = max(1.0, max(mask.shape) * 0.006)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma) > 0.5, np.uint8)
