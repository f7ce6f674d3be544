"""Images: every odd file becomes upright RGB or a reasoned error, and nothing private is passed on."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from schemas.errors import ImageError
from storage import images, jpeg

SIDE = 64


def picture(width: int = 96, height: int = SIDE) -> Image.Image:
    """Smooth, with a red upper left corner, so that a turn is seen and JPEG keeps it."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 - (x + y) // 2, x * 255 // width, y * 255 // height], -1).astype(np.uint8)
    pixels[: height // 3, : width // 3] = (230, 20, 20)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gps_exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "SecretCam"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 51.0, 29.0)
    return exif.tobytes()


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size and a.mode == b.mode
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean())


def wide_profile() -> bytes:
    """A display profile far wider than sRGB, made by moving the primaries of the sRGB one."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", profile[128:132])
    tags = {}
    for i in range(count):
        name, at, _ = struct.unpack(">4sII", profile[132 + 12 * i : 144 + 12 * i])
        tags[name] = at
    fixed = [("rXYZ", (0.61, 0.311, 0.02)), ("gXYZ", (0.205, 0.626, 0.061)), ("bXYZ", (0.149, 0.063, 0.744))]
    for name, values in fixed:  # Adobe RGB (1998), D50
        struct.pack_into(">3i", profile, tags[name.encode()] + 8, *(round(v * 65536) for v in values))
    return bytes(profile)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_file_is_shown_upright_and_passed_on_without_its_exif(orientation: int, kind: str) -> None:
    upright = picture()
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = upright.transpose(images._UPRIGHT[undo]) if undo != 1 else upright
    options = {"quality": 95} if kind != "PNG" else {}
    data = saved(stored, kind, exif=gps_exif(orientation), **options)
    found = images.probe(data)
    assert (found.width, found.height) == upright.size
    assert difference(images.decode(data), upright) < 4
    cleaned = images.clean(data, max_side=1024)
    assert (cleaned.width, cleaned.height) == upright.size
    assert difference(images.decode(cleaned.data), upright) < 5
    assert b"SecretCam" in data and b"SecretCam" not in cleaned.data
    reread = Image.open(io.BytesIO(cleaned.data))
    assert len(reread.getexif()) == 0 and "comment" not in reread.info
    assert cleaned.lossless is (kind == "JPEG" and orientation == 1)


def with_segments(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """`data` with marker segments put behind its first one (JFIF)."""
    at = 4 + int.from_bytes(data[4:6], "big")
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return data[:at] + extra + data[at:]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_upright_jpeg_keeps_its_coded_pixels_and_loses_every_word_about_them(mode: str, progressive: bool) -> None:
    plain = saved(picture().convert(mode), "JPEG", quality=87, progressive=progressive)
    secrets = [
        (0xE1, gps_exif()),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>secret place</x:xmpmeta>"),
        (0xED, b"Photoshop 3.0\x008BIMsecret name"),
        (0xE0, b"JFXX\0\x10secret thumbnail"),
        (0xE7, b"secret seven"),
        (0xFE, b"secret comment"),
    ]
    loaded = with_segments(plain, *secrets) + b"\xff\xd8secret motion photo\xff\xd9"
    cleaned = images.clean(loaded, max_side=96)
    assert cleaned.lossless and cleaned.data == plain
    assert b"secret" not in cleaned.data


def test_a_jfif_thumbnail_goes() -> None:
    plain = saved(picture(), "JPEG")
    assert plain[6:11] == b"JFIF\0"
    thumbnail = b"\x01\x01\x00\x00\x01\x00\x01\x02\x01" + b"secret"
    loaded = plain[:2] + struct.pack(">BBH", 0xFF, 0xE0, 7 + len(thumbnail)) + b"JFIF\0" + thumbnail + plain[20:]
    cleaned = images.clean(loaded, max_side=96)
    assert cleaned.lossless and b"secret" not in cleaned.data
    assert difference(images.decode(cleaned.data), images.decode(plain)) == 0


def test_of_a_phone_photo_with_several_images_only_the_first_is_passed_on() -> None:
    data = saved(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (96, SIDE))], quality=90)
    assert images.probe(data).media_type == "image/jpeg"
    cleaned = images.clean(data, max_side=96)
    assert cleaned.lossless and cleaned.data == saved(picture(), "JPEG", quality=90)


def test_the_adobe_marker_stays_because_the_colours_hang_on_it() -> None:
    plain = saved(picture(), "JPEG", keep_rgb=True, quality=95)
    assert jpeg.parse(plain).components == 3 and b"Adobe" in plain
    cleaned = images.clean(with_segments(plain, (0xFE, b"words")), max_side=96)
    assert cleaned.lossless and b"Adobe" in cleaned.data and b"words" not in cleaned.data
    assert difference(images.decode(cleaned.data), picture()) < 4


def test_an_srgb_profile_is_dropped_without_a_loss_and_a_wide_one_is_converted() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = images.clean(saved(picture(), "JPEG", quality=95, icc_profile=srgb), max_side=96)
    assert kept.lossless and kept.data == saved(picture(), "JPEG", quality=95)
    wide = saved(picture(), "JPEG", quality=95, icc_profile=wide_profile())
    converted = images.clean(wide, max_side=96)
    assert not converted.lossless and "icc_profile" not in Image.open(io.BytesIO(converted.data)).info
    expected = ImageCms.profileToProfile(
        Image.open(io.BytesIO(wide)),
        ImageCms.ImageCmsProfile(io.BytesIO(wide_profile())),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert difference(images.decode(converted.data), expected) < 3
    assert difference(images.decode(wide), picture()) > 5


def test_a_broken_or_foreign_profile_costs_nothing() -> None:
    data = saved(picture(), "JPEG", quality=95, icc_profile=b"no profile at all" * 20)
    assert images.clean(data, max_side=96).lossless
    grey = saved(picture().convert("L"), "PNG", icc_profile=wide_profile())
    assert difference(images.decode(grey), picture().convert("L").convert("RGB")) == 0


def test_cmyk_becomes_rgb_of_the_same_colours() -> None:
    data = saved(picture().convert("CMYK"), "JPEG", quality=95)
    assert difference(images.decode(data), picture()) < 8
    cleaned = images.clean(data, max_side=96)
    assert not cleaned.lossless and Image.open(io.BytesIO(cleaned.data)).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_middle_tones() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    for kind in ("PNG", "TIFF"):
        shown = np.asarray(images.decode(saved(Image.fromarray(ramp), kind)))[0, :, 0].astype(int)
        assert abs(shown - np.linspace(0, 255, 64)).max() <= 1


def test_transparency_lies_over_white_and_can_be_kept() -> None:
    cutout = picture().convert("RGBA")
    mask = Image.new("L", cutout.size, 0)
    mask.paste(255, (16, 16, 48, 48))
    cutout.putalpha(mask)
    data = saved(cutout, "PNG")
    assert images.probe(data).alpha
    shown = images.decode(data)
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert shown.getpixel((40, 40)) == picture().getpixel((40, 40))
    kept = images.decode_rgba(data)
    assert kept.getchannel("A").tobytes() == mask.tobytes() and images.uses_alpha(kept)
    assert not images.uses_alpha(images.decode_rgba(saved(picture(), "JPEG")))


def test_a_palette_with_a_transparent_colour_lies_over_white() -> None:
    flat = Image.new("P", (20, 20), 1)
    flat.putpalette([0, 0, 0, 10, 200, 30])
    flat.paste(0, (0, 0, 10, 20))
    for kind, mark in (("PNG", 0), ("PNG", b"\x00\xff"), ("GIF", 0)):
        data = saved(flat, kind, transparency=mark)
        assert images.probe(data).alpha
        shown = images.decode(data)
        assert shown.getpixel((2, 2)) == (255, 255, 255) and shown.getpixel((15, 2)) == (10, 200, 30)
        assert images.decode_rgba(data).getpixel((2, 2))[3] == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (40, 30), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = images.decode(data).getpixel((20, 15))
    assert red > 200 and green < 40 and blue < 40
    assert images.clean(data, max_side=64).width == 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.95])
def test_a_file_that_is_cut_short_is_unreadable(kind: str, keep: float) -> None:
    data = saved(picture(300, 200), kind)
    cut = data[: int(len(data) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(ImageError) as error:
        images.decode(cut)
    assert error.value.reason == "unreadable"
    with pytest.raises(ImageError):
        images.clean(cut, max_side=1024)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0", b"RIFF\0\0\0\0WEBPVP8 "])
def test_what_is_no_image_says_so(data: bytes) -> None:
    for call in (images.probe, images.decode, images.decode_rgba):
        with pytest.raises(ImageError) as error:
            call(data)
        assert error.value.reason == "unreadable" and error.value.detail


def test_a_decompression_bomb_is_named_before_it_unfolds() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (12_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = zlib.compress(b"\0" * 1000)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        for call in (images.probe, images.decode, images.decode_rgba):
            with pytest.raises(ImageError) as error:
                call(data)
            assert error.value.reason == "bomb"
    note = PngImagePlugin.PngInfo()
    note.add_text("bomb", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    with pytest.raises(ImageError):
        images.decode(saved(picture(), "PNG", pnginfo=note))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_shrinking_keeps_the_shape_and_the_colours_and_never_enlarges(kind: str) -> None:
    data = saved(picture(900, 600), kind)
    small = images.decode(data, max_side=150)
    assert small.size == (150, 100)
    assert difference(small, picture(900, 600).resize((150, 100), Image.Resampling.LANCZOS)) < 4
    assert images.decode(data, max_side=2000).size == (900, 600)
    cleaned = images.clean(data, max_side=300)
    assert (cleaned.width, cleaned.height) == (300, 200) and images.probe(cleaned.data).width == 300


def test_equal_pixels_give_equal_bytes() -> None:
    assert images.encode_jpeg(picture()) == images.encode_jpeg(picture().copy())
    noted = picture()
    noted.info.update(comment=b"words", exif=gps_exif(), icc_profile=wide_profile())
    assert images.encode_jpeg(noted) == images.encode_jpeg(picture())


def test_the_perceptual_hash_survives_a_smaller_copy_and_tells_pictures_apart(test_data: Path) -> None:
    files = sorted((test_data / "pool" / "scenes").iterdir())[:12]
    originals = [images.decode(f.read_bytes()) for f in files]
    hashes = [images.phash(image) for image in originals]
    assert all(len(h) == 16 for h in hashes)
    for image, digest in zip(originals, hashes, strict=True):
        copy = images.decode(images.encode_jpeg(image.resize((image.width // 2, image.height // 2)), 60))
        assert images.hamming(images.phash(copy), digest) <= 6
    apart = [images.hamming(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert np.median(apart) > 20
    assert images.phash(Image.new("RGB", (50, 50), (9, 9, 9))) == images.phash(Image.new("RGB", (80, 50), (9, 9, 9)))


def test_every_file_of_the_real_pool_can_be_passed_on(test_data: Path) -> None:
    kept = 0
    for file in sorted((test_data / "pool" / "objects").iterdir())[:40]:
        data = file.read_bytes()
        cleaned = images.clean(data, max_side=1024)
        if cleaned.lossless:
            kept += 1
            assert images.decode(cleaned.data).tobytes() == images.decode(data).tobytes()
        assert max(images.decode(cleaned.data).size) <= 1024
    assert kept > 0


_SEEDS = [
    saved(picture(24, 16), "JPEG", exif=gps_exif(6), comment=b"c"),
    saved(picture(24, 16), "PNG", exif=gps_exif(3)),
    saved(picture(24, 16), "WEBP"),
    saved(picture(24, 16).convert("P"), "GIF"),
    saved(picture(24, 16), "TIFF", compression="raw"),
]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(_SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_give_an_image_or_an_image_error_and_nothing_else(
    seed: bytes, damage: list[tuple[float, int]]
) -> None:
    data = bytearray(seed)
    for where, value in damage:
        data[min(int(where * len(data)), len(data) - 1)] = value
    for call in (images.probe, images.decode, lambda d: images.clean(d, max_side=64)):
        try:
            call(bytes(data))
        except ImageError as error:
            assert error.reason in ("unreadable", "bomb") and error.detail


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_exif_gives_an_orientation(body: bytes) -> None:
    for prefix in (b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"):
        assert 1 <= jpeg.exif_orientation(prefix + body) <= 8
