"""FIRM's critics for the drawn world, in process: scores of 1 to 5 that the pixel oracle reads from small images.

They see what a critic sees, pixels and the sample, never the truth that evaluation holds against them: what is meant is
read from the target at the size of the generated image, with whatever errors that brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from toyworld import small_edits, small_oracle
from training.examples import Example, targets_of

Scores = NDArray[np.float64]
_NOISE = 0.06
"""Mean distance from the median of a pixel's neighbours, of 0 to 1, at which an image counts as ruined."""


def drawn_edit_scores(examples: Sequence[Example], images: NDArray[np.uint8]) -> tuple[Scores, Scores]:
    """([B] Execution, [B] Consistency) of edits of each sample's first reference.

    Args:
        images: uint8 [B, H, W, 3].

    Raises:
        InputError: a sample that edits nothing.
    """
    refuse_other_than_edits(examples)
    sources = [_pixels(one.prompt.images[0], images.shape[1]) for one in examples]
    targets = [_pixels(target, images.shape[1]) for target in targets_of(examples)]
    were, meant = small_oracle.read(sources), small_oracle.read(targets)
    scores = [
        small_edits.edit_scores(source, image, before, after)
        for source, image, before, after in zip(sources, images, were, meant, strict=True)
    ]
    return np.array([one[0] for one in scores]), np.array([one[1] for one in scores])


def refuse_other_than_edits(examples: Sequence[Example]) -> None:
    """Critics of edits compare with the first reference, which must be what is edited.

    Raises:
        InputError: a sample that edits nothing.
    """
    for one in examples:
        if not one.record["references"] or one.record["references"][0]["role"] != "base":
            raise InputError(f"sample {one.prompt.id}: {one.record['task']} is no edit; leave its task out of the data")


def drawn_generation_scores(examples: Sequence[Example], images: NDArray[np.uint8]) -> tuple[Scores, Scores]:
    """([B] Instruction Following, [B] quality): 1 + 4 times the share that is as meant; and how free of noise it is."""
    meant = small_oracle.read([_pixels(target, images.shape[1]) for target in targets_of(examples)])
    following = [1 + 4 * one["truth"] for one in small_oracle.attributes(list(images), meant)]
    return np.array(following), np.array([_quality(image) for image in images])


def _quality(image: NDArray[np.uint8]) -> float:
    import cv2

    noise = np.abs(image.astype(np.float32) - cv2.medianBlur(image, 3)).mean() / 255
    return float(5 - 4 * min(1.0, noise / _NOISE))


def _pixels(image: Any, side: int) -> NDArray[np.uint8]:
    import cv2

    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    if pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
