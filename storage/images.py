"""Images: what a file holds, its pixels upright and in sRGB, and the JPEG that is sent or written.

Every call takes bytes and never opens a path. Whatever is wrong with the bytes becomes an `ImageError`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from schemas.errors import ImageError
from storage import jpeg

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow below 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

# Phones reach 108 megapixels; above this a file is taken for a decompression bomb and never decoded.
BOMB_PIXELS = 120_000_000
# The bound above is this module's own; Pillow's warning at 89 megapixels would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Importing these registers them; Pillow would otherwise import all of its forty formats to find one.
_REGISTERED = (TiffImagePlugin, WebPImagePlugin, AvifImagePlugin)
_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if AvifImagePlugin else [])]
_MEDIA_TYPES = {"MPO": "image/jpeg"}
# What Pillow's parsers raise on broken input, by plugin.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError,
    OverflowError, struct.error, zlib.error,
)  # fmt: skip
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_SPACE = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Probe:
    """What a file's header says.

    Attributes:
        width, height: pixels as shown, after EXIF orientation.
        alpha: whether it has an alpha channel or a transparent colour, used or not.
        orientation: the EXIF tag that will be applied, 1 to 8.
    """

    width: int
    height: int
    media_type: str
    alpha: bool
    orientation: int


@dataclass(frozen=True)
class Clean:
    """A JPEG without metadata. `lossless`: its coded pixels are those of the file it came from."""

    data: bytes
    width: int
    height: int
    media_type: str = "image/jpeg"
    lossless: bool = False


def probe(data: bytes) -> Probe:
    """Read the header only.

    Raises:
        ImageError: `unreadable`, or `bomb` above `BOMB_PIXELS`.
    """
    image = _open(data)
    orientation = _orientation(image)
    width, height = image.size if orientation < 5 else image.size[::-1]
    kind = image.format or ""
    return Probe(width, height, _MEDIA_TYPES.get(kind, f"image/{kind.lower()}"), _has_alpha(image), orientation)


def decode(data: bytes, *, max_side: int | None = None) -> Image.Image:
    """The first frame as shown: RGB, 8 bits, upright, in sRGB, transparency over white.

    Args:
        max_side: shrink so that neither side exceeds it (JPEG decodes straight to a smaller size); never enlarges.

    Raises:
        ImageError: `unreadable` (also cut short) or `bomb`.
    """
    colour, alpha = _pixels(data, max_side, oversampling=1)
    return _fit(_over_white(colour, alpha), max_side)


def thumbnail(data: bytes, max_side: int, quality: int) -> bytes:
    """A small JPEG to look at, of the image as `decode` shows it: halved colour (4:2:0), no metadata, never enlarged.

    Its longer side is `max_side`, or up to a seventh less where a JPEG decodes straight to that size.

    Raises:
        ImageError: `unreadable` (also cut short) or `bomb`.
    """
    colour, alpha = _pixels(data, max(1, max_side * 6 // 7), oversampling=1)
    image = _over_white(colour, alpha)
    longest = max(image.size)
    if longest > max_side:
        size = (max(1, round(image.width * max_side / longest)), max(1, round(image.height * max_side / longest)))
        # Half the time of Lanczos, which at this size nobody can tell.
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return encode_jpeg(image, quality, full_colour=False)


def decode_rgba(data: bytes, *, max_side: int | None = None) -> Image.Image:
    """Like `decode`, with the file's transparency kept; fully opaque where it has none.

    Raises:
        ImageError: `unreadable` (also cut short) or `bomb`.
    """
    colour, alpha = _pixels(data, max_side, oversampling=1)
    colour.putalpha(alpha if alpha is not None else 255)
    return _fit(colour, max_side)


def decode_reduced(data: bytes, side: int) -> Image.Image:
    """Like `decode`, but a JPEG may come at a half, a quarter or an eighth of its size, neither side below `side`.

    Raises:
        ImageError: `unreadable` (also cut short) or `bomb`.
    """
    header = _open(data)
    shape = max(header.size) / max(1, min(header.size))
    return _over_white(*_pixels(data, max(1, round(side * shape)), oversampling=1))


def plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a whole grey or RGB JPEG whose coded pixels are those to be shown; None for all else.

    Raises:
        ImageError: `unreadable`, or `bomb` above `BOMB_PIXELS`.
    """
    if data[:2] != b"\xff\xd8":
        return None
    image = _open(data)
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or _orientation(image) != 1:
        return None
    profile, coded = image.info.get("icc_profile"), getattr(image, "fp", None)
    if isinstance(profile, bytes) and _transform(profile, image.mode) is not None:
        return None
    # The header's reader stops where the coded pixels begin; a file cut short has no end-of-image marker after it.
    return image.size if coded is not None and data.rfind(b"\xff\xd9", coded.tell()) >= 0 else None


def encode_jpeg(image: Image.Image, quality: int = 95, *, full_colour: bool = True) -> bytes:
    """A baseline JPEG with full-resolution colour (4:4:4) and no metadata; equal pixels give equal bytes.

    4:4:4 because saturated edges are what image generators learn from these files: halved colour smears them.

    Args:
        full_colour: False for what is only looked at: halved colour (4:2:0), a third smaller.
    """
    out = io.BytesIO()
    plain = image if image.mode in ("RGB", "L") else image.convert("RGB")
    subsampling = 0 if full_colour else 2
    plain.save(out, "JPEG", quality=quality, subsampling=subsampling, exif=b"", icc_profile=None, comment=b"")
    return out.getvalue()


def clean(data: bytes, *, max_side: int, quality: int = 95) -> Clean:
    """What may be sent or written: no EXIF, GPS, XMP, IPTC or comment, upright, within `max_side`, sRGB, a JPEG.

    A grey or RGB JPEG that is upright already, fits and is in sRGB keeps its coded pixels, bit for bit. All else
    is decoded and encoded once.

    Raises:
        ImageError: `unreadable` (also cut short) or `bomb`.
    """
    if data[:2] == b"\xff\xd8":
        try:
            parsed = jpeg.parse(data)
        except jpeg.JpegError as error:
            raise ImageError("unreadable", f"as a JPEG {error}") from error
        if _keeps_its_pixels(parsed, max_side):
            return Clean(parsed.without_metadata(), parsed.width, parsed.height, lossless=True)
    colour, alpha = _pixels(data, max_side, oversampling=2)
    image = _fit(_over_white(colour, alpha), max_side)
    return Clean(encode_jpeg(image, quality), *image.size)


def uses_alpha(image: Image.Image) -> bool:
    """Whether an RGBA image is a cut-out: it has both see-through and solid pixels."""
    if image.mode != "RGBA":
        return False
    low, high = cast(tuple[int, int], image.getchannel("A").getextrema())
    return low < 128 <= high


def phash(image: Image.Image) -> str:
    """64-bit DCT perceptual hash, 16 hex digits: the signs of the 8x8 lowest frequencies about their median."""
    grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0)
    basis = _dct_basis()
    low = basis @ np.asarray(grey, dtype=np.float64) @ basis.T
    # Rounded, so that a flat image does not hash the noise of floating point.
    low = np.round(low, 3).ravel()
    bits = low > np.median(low[1:])
    return f"{int.from_bytes(np.packbits(bits).tobytes(), 'big'):016x}"


def hamming(a: str, b: str) -> int:
    """How many of the bits of two `phash` values differ, 0 to 64."""
    return bin(int(a, 16) ^ int(b, 16)).count("1")


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError("bomb", f"it unfolds to more than {BOMB_PIXELS:,} pixels") from error
    except _BROKEN as error:
        raise ImageError("unreadable", _said(error)) from error
    if width * height > BOMB_PIXELS:
        raise ImageError("bomb", f"{width} x {height} is more than {BOMB_PIXELS:,} pixels")
    if width < 1 or height < 1:
        raise ImageError("unreadable", f"it has {width} x {height} pixels")
    return image


def _said(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format (" + ", ".join(_FORMATS) + ")"
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns TIFF upright by itself
        return 1
    exif = image.info.get("exif")
    return jpeg.exif_orientation(exif) if isinstance(exif, bytes) else 1


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _pixels(data: bytes, max_side: int | None, oversampling: int) -> tuple[Image.Image, Image.Image | None]:
    """(upright sRGB image, its alpha or None), at full size or, for a JPEG, shrunk by at most what is allowed."""
    image = _open(data)
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    try:
        if max_side is not None and image.format in ("JPEG", "MPO"):
            scale = oversampling * max_side / max(image.size)
            if scale < 1:
                image.draft(None, (max(1, int(image.width * scale)), max(1, int(image.height * scale))))
        image.load()
        colour, alpha = _split(image)
        colour = _to_srgb(colour, profile if isinstance(profile, bytes) else b"")
    except Image.DecompressionBombError as error:
        raise ImageError("bomb", _said(error)) from error
    except _BROKEN as error:
        raise ImageError("unreadable", _said(error)) from error
    if orientation in _UPRIGHT:
        colour = colour.transpose(_UPRIGHT[orientation])
        alpha = alpha.transpose(_UPRIGHT[orientation]) if alpha is not None else None
    return colour, alpha


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(RGB, L or CMYK pixels of 8 bits, alpha or None)."""
    if image.mode.startswith("I"):
        return _eight_bits(image), None
    if image.mode == "F":
        raise ValueError("it has floating-point pixels, whose white is not known")
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    return (image if image.mode in _PROFILE_SPACE else image.convert("RGB")), None


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, where Pillow's own conversion would clip everything to white."""
    values = np.asarray(image).astype(np.int64)
    top = 255 if image.mode == "I" and values.max(initial=0) <= 255 else 65535
    scaled = (np.clip(values, 0, top) * 255 + top // 2) // top
    return Image.fromarray(scaled.astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        converted = ImageCms.applyTransform(image, transform)
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB; None where the profile is broken, not for this mode, or sRGB in all but name."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACE[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return transform if mode == "CMYK" or _moves_colours(transform, mode) else None
    except (ImageCms.PyCMSError, *_BROKEN):
        return None


def _moves_colours(transform: ImageCms.ImageCmsTransform, mode: str, tolerance: int = 4) -> bool:
    """Whether any colour of a grid changes by more than `tolerance` of 255."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        grid = levels[None, :]
        before = np.repeat(grid[..., None], 3, axis=2)
    else:
        grid = before = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    after = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return bool(np.abs(np.asarray(after).astype(int) - before.astype(int)).max() > tolerance)


def _keeps_its_pixels(parsed: jpeg.JpegFile, max_side: int) -> bool:
    if not parsed.plain or parsed.components not in (1, 3) or parsed.orientation != 1:
        return False
    if max(parsed.width, parsed.height) > max_side:
        return False
    return not parsed.icc or _transform(parsed.icc, "L" if parsed.components == 1 else "RGB") is None


def _over_white(colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return colour
    return Image.composite(colour, Image.new("RGB", colour.size, (255, 255, 255)), alpha)


def _fit(image: Image.Image, max_side: int | None) -> Image.Image:
    if max_side is None or max(image.size) <= max_side:
        return image
    scale = max_side / max(image.size)
    wanted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)


@lru_cache(maxsize=1)
def _dct_basis() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The 8 lowest rows of the orthonormal 32-point DCT-II."""
    k, n = np.arange(8)[:, None], np.arange(32)[None, :]
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.cos(np.pi * (2 * n + 1) * k / 64) * np.sqrt(2 / 32)
    rows[0] /= np.sqrt(2)
    return rows
