"""The defects a plan may ask for that lie in the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.plan import Stress

if TYPE_CHECKING:
    from PIL import Image


def apply(image: Image.Image, stress: Stress) -> Image.Image:
    """The image as it is sent and written: blurred where the plan says so, else unchanged.

    The blur is Gaussian with a radius of a fiftieth of the longer side, at least 2 pixels: the subject can still be
    told, its details cannot. A mismatched or distracting reference is a whole picture; only its place is wrong.
    """
    if stress is not Stress.BLURRED:
        return image
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(max(2.0, max(image.size) / 50)))
