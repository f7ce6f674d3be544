"""What CLIP sees is what open_clip's own transform would show it, from whatever kind of file."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from filters.pixels import prepared, preprocessed
from schemas.errors import ImageError
from storage.images import decode, encode_jpeg
from toyworld.torchvision_shim import ensure_torchvision

DATA = Path(os.environ.get("PLUMBLINE_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SETTINGS: dict[str, Any] = {
    "size": 64, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic",
    "resize_mode": "shortest",
}  # fmt: skip
ONE_LEVEL = 1 / 255 / 0.26
"""How far one of 255 levels lies from the next, normalised."""


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "JPEG", quality=95, exif=exif.tobytes())


def cut_out(image: Image.Image) -> bytes:
    whole = image.copy()
    alpha = Image.new("L", image.size, 0)
    alpha.paste(255, (0, 0, image.width // 2, image.height))
    whole.putalpha(alpha)
    return saved(whole, "PNG")


def profiled(image: Image.Image) -> bytes:
    """Says that its pixels are Lab-derived sRGB, which moves nothing."""
    return saved(
        image, "JPEG", quality=95, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )


FILES = {
    "jpeg": lambda i: saved(i, "JPEG", quality=95),
    "progressive": lambda i: saved(i, "JPEG", quality=95, progressive=True),
    "grey jpeg": lambda i: saved(i.convert("L"), "JPEG", quality=95),
    "cmyk jpeg": lambda i: saved(i.convert("CMYK"), "JPEG", quality=95),
    "exif turned": rotated,
    "srgb profile": profiled,
    "png": lambda i: saved(i, "PNG"),
    "palette": lambda i: saved(i.convert("P"), "PNG"),
    "cut-out": cut_out,
    "webp": lambda i: saved(i, "WEBP", quality=95),
    "gif": lambda i: saved(i.convert("P"), "GIF"),
    "bmp": lambda i: saved(i, "BMP"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_every_kind_of_file_looks_as_it_is_shown(kind: str, mode: str, scene: Any) -> None:
    """Beside the careful decoder at full size and Pillow's resampling: the same but for rounding and JPEG's scaling."""
    settings = {**SETTINGS, "resize_mode": mode}
    data = FILES[kind](scene(4, (600, 440)))
    ours, careful = prepared(data, settings), preprocessed(decode(data), settings)
    assert ours.dtype == np.float32 and ours.shape == (3, 64, 64)
    off = np.abs(ours - careful) / ONE_LEVEL
    assert off.mean() < 1.5 and off.max() < 40
    if "jpeg" not in kind and kind not in ("progressive", "exif turned", "srgb profile"):
        assert off.max() < 3.5, "no JPEG, so nothing but rounding"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (63, 64), (64, 64), (97, 65), (3, 2000), (2000, 3), (5000, 4000)])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_any_size_and_shape(size: tuple[int, int], mode: str) -> None:
    x = np.linspace(0, 255, size[0])[None, :, None]
    y = np.linspace(255, 0, size[1])[:, None, None]
    pixels = np.broadcast_to(np.concatenate(np.broadcast_arrays(x, y, (x + y) / 2), axis=2), (size[1], size[0], 3))
    data = saved(Image.fromarray(pixels.astype(np.uint8)), "JPEG", quality=98, subsampling=0)
    settings = {**SETTINGS, "resize_mode": mode}
    ours = prepared(data, settings)
    assert ours.shape == (3, 64, 64) and np.isfinite(ours).all()
    assert np.abs(ours - preprocessed(decode(data), settings)).mean() < 3 * ONE_LEVEL


def test_what_is_no_image_or_is_cut_short_is_named(scene: Any) -> None:
    whole = encode_jpeg(scene(1, (600, 440)))
    for data in (b"", b"\xff\xd8", b"no image", whole[: len(whole) // 2], whole[:-2]):
        with pytest.raises(ImageError) as caught:
            prepared(data, SETTINGS)
        assert caught.value.reason == "unreadable"
    assert prepared(whole + b"what a camera left behind", SETTINGS).shape == (3, 64, 64)


@pytest.fixture(scope="module")
def photographs() -> list[tuple[bytes, str]]:
    """Every twentieth photograph of the pool with its caption, and the two whose scores were found to be off most."""
    index = DATA / "pool" / "pool.jsonl"
    if not index.is_file():
        pytest.skip("no PLUMBLINE_TEST_DATA")
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    jpegs = [row for row in rows if row["path"].endswith(".jpg")]
    worst = ("dreambooth_grey_sloth_plushie_00.jpg", "dreambooth_colorful_sneaker_01.jpg")
    taken = [row for i, row in enumerate(jpegs) if i % 20 == 0 or row["path"].endswith(worst)]
    return [((index.parent / row["path"]).read_bytes(), row["caption"]) for row in taken]


def test_scores_are_those_of_open_clips_transform_within_two_thousandths(photographs: Any) -> None:
    """With ViT-B-32 of random weights: each picture against each caption."""
    ensure_torchvision()
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = open_clip.create_model("ViT-B-32").eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")([caption for _, caption in photographs])
    transform: Any = open_clip.image_transform(224, is_train=False)
    theirs = torch.stack([transform(Image.open(io.BytesIO(data))) for data, _ in photographs])
    settings = {**model.visual.preprocess_cfg, "size": 224}
    ours = torch.stack([torch.from_numpy(prepared(data, settings)) for data, _ in photographs])
    with torch.inference_mode():
        said = torch.nn.functional.normalize(model.encode_text(tokens).double(), dim=1)
        seen = [torch.nn.functional.normalize(model.encode_image(x).double(), dim=1) for x in (theirs, ours)]
    scores = [one @ said.T for one in seen]
    assert scores[0].std(dim=0).mean() > 0.005, "the scores tell pictures apart, so that a difference could show"
    assert (scores[0] - scores[1]).abs().max() <= 0.002
