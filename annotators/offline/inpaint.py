"""What lay behind a removed subject, guessed from the rest of the photo: PatchMatch with patch voting.

After "Space-Time Completion of Video" (Wexler et al., 2007) and "PatchMatch" (Barnes et al., 2009), on a small copy;
its detail is then taken from the full photo at the places that the patches came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SIDES = (40, 80, 160)
_ROUNDS = (6, 4, 3)
_REACH = 2


def inpainted(picture: Array, hole: Array) -> Array:
    """The picture with the hole filled; the rest is unchanged but for a few pixels of feathering.

    Args:
        picture: (H, W, 3) float32, 0..255.
        hole: (H, W) bool.

    Returns:
        (H, W, 3) float32. A hole that leaves nothing to copy from is filled smoothly.
    """
    import cv2

    height, width = hole.shape
    if not hole.any():
        return picture
    found: Array | None = None
    small: Array = picture
    for side, rounds in zip(_SIDES, _ROUNDS, strict=True):
        scale = min(1.0, side / max(height, width))
        size = (max(12, round(width * scale)), max(12, round(height * scale)))
        gap = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.01
        known = (~hole).astype(np.float32)[..., None]
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)[..., None]
        reduced = cv2.resize(picture * known, size, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-3)
        guess = _smooth_fill(reduced, gap) if found is None else cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        start = np.where(gap[..., None], guess, reduced).astype(np.float32)
        small, found = _completed(start, gap, found, rounds)
        if found is None:
            break
    return _enlarged(picture, hole, small, found)


def _smooth_fill(picture: Array, hole: Array) -> Array:
    """The hole filled from wider and wider blurs of what is around it."""
    import cv2

    known = (~hole).astype(np.float32)
    filled = np.where(hole[..., None], 0, picture).astype(np.float32)
    missing = hole.copy()
    sigma = 1.0
    while missing.any() and sigma < 2 * max(hole.shape):
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        tint = cv2.GaussianBlur(np.asarray(picture * known[..., None], np.float32), (0, 0), sigma)
        ready = missing & (weight > 0.02)
        filled[ready] = tint[ready] / weight[ready][:, None]
        missing &= ~ready
        sigma *= 1.6
    return filled


def _completed(picture: Array, hole: Array, before: Array | None, rounds: int) -> tuple[Array, Array | None]:
    """(picture with its hole voted by patches, (H, W, 2) source of every pixel) at one scale."""
    import cv2

    height, width = hole.shape
    box = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    touched = cv2.dilate(hole.astype(np.uint8), box) > 0
    frame = np.zeros_like(hole)
    frame[_REACH:-_REACH, _REACH:-_REACH] = True
    usable = frame & ~touched
    if int(usable.sum()) < 60:
        return picture, None
    targets, sources = np.argwhere(touched), np.argwhere(usable)
    draw = np.random.default_rng(20)
    nearest = _started(targets, usable, before, sources, draw)
    order = np.full(hole.shape, -1)
    order[targets[:, 0], targets[:, 1]] = np.arange(len(targets))
    for _ in range(rounds):
        patches = _patches(picture)
        nearest = _matched(patches, targets, nearest, order, usable, draw)
        picture = _voted(picture, hole, targets, nearest)
    places = np.dstack(list(np.mgrid[0:height, 0:width]))
    places[targets[:, 0], targets[:, 1]] = nearest
    return picture, places


def _started(targets: Array, usable: Array, before: Array | None, sources: Array, draw: np.random.Generator) -> Array:
    """A first source for every target: the coarser scale's, where it is usable here, else a random one."""
    start = sources[draw.integers(0, len(sources), len(targets))]
    if before is None:
        return start
    scale = np.array(usable.shape) / np.array(before.shape[:2])
    coarse = np.minimum((targets / scale).astype(int), np.array(before.shape[:2]) - 1)
    shift = (before[coarse[:, 0], coarse[:, 1]] - coarse) * scale
    moved = np.clip(np.rint(targets + shift).astype(int), 0, np.array(usable.shape) - 1)
    return np.where(usable[moved[:, 0], moved[:, 1]][:, None], moved, start)


def _patches(picture: Array) -> Array:
    padded = np.pad(picture, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="reflect")
    height, width = picture.shape[:2]
    span = range(2 * _REACH + 1)
    return np.concatenate([padded[y : y + height, x : x + width] for y in span for x in span], axis=2)


def _matched(
    patches: Array, targets: Array, nearest: Array, order: Array, usable: Array, draw: np.random.Generator
) -> Array:
    """Better sources: the neighbours' moved along, then random ones ever closer to the best so far."""
    height, width = usable.shape
    limit = np.array([height - 1, width - 1])
    wanted = patches[targets[:, 0], targets[:, 1]]
    cost = _distance(patches, wanted, targets, nearest)

    def improve(candidates: Array) -> None:
        inside = np.clip(candidates, 0, limit)
        tried = np.flatnonzero(usable[inside[:, 0], inside[:, 1]])
        new = _distance(patches, wanted[tried], targets[tried], inside[tried])
        better = new < cost[tried]
        nearest[tried[better]] = inside[tried[better]]
        cost[tried[better]] = new[better]

    nearest = nearest.copy()
    for _ in range(2):
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0), (0, 4), (4, 0), (0, -4), (-4, 0)):
            beside = np.clip(targets + step, 0, limit)
            other = order[beside[:, 0], beside[:, 1]]
            improve(np.where((other >= 0)[:, None], nearest[other] - step, nearest))
        radius = max(height, width) / 2
        while radius >= 1:
            improve(np.rint(nearest + draw.uniform(-radius, radius, nearest.shape)).astype(int))
            radius /= 2.5
    return nearest


def _distance(patches: Array, wanted: Array, targets: Array, sources: Array) -> Array:
    """Mean squared colour difference, and a little for going far up or down: ground is continued from ground."""
    offset = patches[sources[:, 0], sources[:, 1]] - wanted
    climb = (sources[:, 0] - targets[:, 0]) / patches.shape[0]
    return np.asarray(np.einsum("ij,ij->i", offset, offset) / offset.shape[1] + 2500 * climb * climb)


def _voted(picture: Array, hole: Array, targets: Array, nearest: Array) -> Array:
    """Every hole pixel becomes the mean of what the patches that cover it say."""
    height, width = hole.shape
    total, weight = np.zeros_like(picture), np.zeros(hole.shape, np.float32)
    span = range(-_REACH, _REACH + 1)
    for y, x in ((y, x) for y in span for x in span):
        step = np.array((y, x))
        there, here = nearest + step, targets + step
        inside = (here >= 0).all(1) & (here < (height, width)).all(1)
        here, there = here[inside], there[inside]
        total[here[:, 0], here[:, 1]] += picture[there[:, 0], there[:, 1]]
        weight[here[:, 0], here[:, 1]] += 1
    votes = total / np.maximum(weight, 1)[..., None]
    return np.asarray(np.where((hole & (weight > 0))[..., None], votes, picture), np.float32)


def _enlarged(picture: Array, hole: Array, small: Array, found: Array | None) -> Array:
    """The small completion at full size, with the detail that the photo has where its patches came from."""
    import cv2

    height, width = hole.shape
    base = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    if found is not None:
        scale = np.array([height, width]) / np.array(found.shape[:2])
        there = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        cell = np.dstack(list(np.mgrid[0 : found.shape[0], 0 : found.shape[1]])).astype(np.float32)
        here = cv2.resize(cell, (width, height), interpolation=cv2.INTER_NEAREST)
        rows, columns = np.nonzero(hole)
        shift = (there[rows, columns] - here[rows, columns]) * scale
        y = np.clip(np.rint(rows + shift[:, 0]).astype(int), 0, height - 1)
        x = np.clip(np.rint(columns + shift[:, 1]).astype(int), 0, width - 1)
        fit = ~hole[y, x]
        detail = np.zeros_like(base)
        detail[rows[fit], columns[fit]] = (picture - base)[y[fit], x[fit]]
        base = base + np.clip(detail, -60, 60)
    feather = max(1.0, 0.004 * max(height, width))
    blend = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), feather)
    blend = np.clip(np.maximum(blend * 2, hole), 0, 1)[..., None]
    return np.asarray(np.clip(picture * (1 - blend) + base * blend, 0, 255), np.float32)
