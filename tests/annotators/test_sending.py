"""What is sent of a photograph: upright pixels, and nothing about where and when it was taken."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from annotators.sending import sendable
from schemas.errors import ImageError
from schemas.references import ImageRef


def photo(folder: Path, orientation: int) -> ImageRef:
    """A 40 x 20 photograph, red on the left, with GPS coordinates and an orientation."""
    image = Image.new("RGB", (40, 20), (0, 0, 200))
    image.paste((200, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825).update({1: "N", 2: (TiffImagePlugin.IFDRational(47), 22, 30)})
    path = folder / f"{orientation}.jpg"
    image.save(path, exif=exif, quality=95, comment=b"at home")
    data = path.read_bytes()
    assert b"Exif" in data
    width, height = (20, 40) if orientation >= 5 else (40, 20)
    digest = hashlib.sha256(data).hexdigest()
    return ImageRef(uri=str(path), sha256=digest, width=width, height=height, media_type="image/jpeg")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_position_time_and_comment_stay_here_and_pixels_are_upright(tmp_path: Path, orientation: int) -> None:
    ref = photo(tmp_path, orientation)
    data, media_type = sendable(ref)
    sent = Image.open(io.BytesIO(data))
    assert media_type == "image/jpeg"
    assert sent.size == (ref.width, ref.height)
    assert not sent.getexif()
    assert b"Exif" not in data
    assert b"at home" not in data
    red = {1: (5, 10), 3: (35, 10), 6: (10, 5), 8: (10, 35)}[orientation]
    r, _, b = sent.convert("RGB").getpixel(red)  # type: ignore[misc]
    assert r > 150 > b


def test_a_large_image_is_sent_smaller_and_a_fitting_one_keeps_its_coded_pixels(tmp_path: Path) -> None:
    ref = photo(tmp_path, 1)
    assert max(Image.open(io.BytesIO(sendable(ref, max_side=16)[0])).size) == 16
    original = Path(ref.uri).read_bytes()
    assert sendable(ref)[0][-200:] == original[-200:]


def test_an_image_that_changed_or_went_is_an_error_with_a_reason(tmp_path: Path) -> None:
    ref = photo(tmp_path, 1)
    Path(ref.uri).write_bytes(b"other")
    with pytest.raises(ImageError, match="changed"):
        sendable(ref)
    Path(ref.uri).unlink()
    with pytest.raises(ImageError, match="missing"):
        sendable(ref)
