"""JPEGs to small arrays: the careful decoder's picture, and an error for whatever is no picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import ImageError
from storage import images
from storage.scaled import rgb_within


def picture(width: int, height: int) -> Image.Image:
    """A smooth one, which every resampling shrinks alike."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, (x + y) / 2], axis=-1) * 255).astype(np.uint8))


@given(st.integers(1, 700), st.integers(1, 700), st.none() | st.integers(1, 300))
def test_size_and_picture_are_those_of_the_careful_decoder(width: int, height: int, side: int | None) -> None:
    data = images.encode_jpeg(picture(width, height))
    found, careful = rgb_within(data, side), np.asarray(images.decode(data, max_side=side))
    assert found.dtype == np.uint8 and max(found.shape[:2]) <= (side or 700)
    assert np.abs(np.subtract(found.shape, careful.shape)).max() <= 1, "a side that falls between two pixels"
    if found.shape == careful.shape and min(found.shape[:2]) >= 16:
        assert np.abs(found.astype(int) - careful.astype(int)).mean() < 6
    assert np.array_equal(rgb_within(memoryview(data), side), found)


def test_grey_and_other_formats_are_pictures_too() -> None:
    grey = io.BytesIO()
    Image.new("L", (300, 200), 77).save(grey, "JPEG")
    assert rgb_within(grey.getvalue(), 100).shape == (67, 100, 3)
    assert (rgb_within(grey.getvalue(), 100) == 77).all()
    png = io.BytesIO()
    picture(300, 200).save(png, "PNG")
    assert rgb_within(png.getvalue(), 100).shape == (67, 100, 3)


@given(st.binary(max_size=80), st.integers(0, 2000))
def test_what_is_no_picture_is_an_image_error(noise: bytes, at: int) -> None:
    data = images.encode_jpeg(picture(64, 48))
    for broken in (noise, b"\xff\xd8" + noise, data[: at % len(data)], data[:20] + noise + data[20 + len(noise) :]):
        try:
            found = rgb_within(broken, 32)
        except ImageError:
            continue
        assert found.ndim == 3 and found.shape[2] == 3


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(images.encode_jpeg(picture(64, 48)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="bomb"):
        rgb_within(bytes(data), 32)
