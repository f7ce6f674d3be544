"""Where the subject probably is: by colour, and by sharpness where colours do not tell."""

from __future__ import annotations

import cv2
import numpy as np

from annotators.offline.saliency import centred, saliency, unlike_border


def _lab(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def _sharp_before_blurred() -> tuple[np.ndarray, np.ndarray]:
    """(photo, truth): the same noise everywhere, sharp inside a disc and blurred around it."""
    noise = np.random.default_rng(3).normal(120, 30, (128, 128, 1)).repeat(3, axis=2).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 5)
    truth = cv2.circle(np.zeros((128, 128), np.uint8), (58, 70), 30, 1, -1) > 0
    return np.clip(np.where(truth[..., None], noise, blurred), 0, 255), truth


def test_a_sharp_subject_before_a_blurred_ground_of_its_own_colours_stands_out() -> None:
    photo, truth = _sharp_before_blurred()
    found = unlike_border(_lab(photo))
    assert found[truth].mean() > 0.5
    assert found[~truth].mean() < 0.15


def test_a_subject_of_its_own_colour_stands_out_in_every_map() -> None:
    photo = np.full((96, 128, 3), (90, 130, 80), np.float32)
    photo[30:75, 40:90] = (210, 60, 60)
    lab = _lab(photo)
    for found in (saliency(lab), unlike_border(lab), centred(lab)):
        assert found.shape == (96, 128)
        assert found.min() >= 0 and found.max() <= 1
        assert found[35:70, 45:85].mean() > 3 * found[:8].mean()


def test_a_picture_of_one_colour_has_a_map_without_holes_in_its_numbers() -> None:
    assert np.isfinite(unlike_border(_lab(np.full((40, 60, 3), 128, np.float32)))).all()
