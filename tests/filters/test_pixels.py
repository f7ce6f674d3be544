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
    """Every fourth photograph of the pool with its caption."""
    index = DATA / "pool" / "pool.jsonl"
    if not index.is_file():
        pytest.skip("no PLUMBLINE_TEST_DATA")
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    jpegs = [row for row in rows if row["path"].endswith(".jpg")]
    return [((index.parent / row["path"]).read_bytes(), row["caption"]) for row in jpegs[::4]]


@pytest.fixture(scope="module")
def theirs() -> Any:
    """open_clip's own transform, for 224 pixels."""
    ensure_torchvision()
    import open_clip

    transform: Any = open_clip.image_transform(224, is_train=False)
    return lambda data: transform(Image.open(io.BytesIO(data)))


def ours(data: bytes) -> Any:
    import open_clip
    import torch

    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return torch.from_numpy(prepared(data, {**SETTINGS, "size": 224, "mean": mean, "std": std}))


def off(model: Any, said: Any, ours: Any, theirs: Any) -> float:
    """How far the scores of each picture against each text lie apart, at most."""
    import torch

    with torch.inference_mode():
        seen = [torch.nn.functional.normalize(model.encode_image(x).double(), dim=1) for x in (ours, theirs)]
    scores = [one @ said.T for one in seen]
    assert scores[0].std(dim=0).mean() > 0.004, "the scores tell pictures apart, so that a difference could show"
    return float((scores[0] - scores[1]).abs().max())


def test_photographs_are_those_of_open_clips_transform(photographs: Any, theirs: Any) -> None:
    for data, _ in photographs:
        assert (ours(data) - theirs(data)).abs().max() < 2.5 * ONE_LEVEL


def test_scores_are_those_of_open_clips_transform_within_two_thousandths(photographs: Any, theirs: Any) -> None:
    """With ViT-B-32 of random weights: each picture against each caption."""
    import open_clip
    import torch

    few = photographs[::9]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = open_clip.create_model("ViT-B-32").eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")([caption for _, caption in few])
    with torch.inference_mode():
        said = torch.nn.functional.normalize(model.encode_text(tokens).double(), dim=1)
    seen = [torch.stack([see(data) for data, _ in few]) for see in (ours, theirs)]
    assert off(model, said, *seen) <= 0.0005


def camera(seed: int, size: tuple[int, int]) -> bytes:
    """A JPEG as large as a camera's, with detail of every size."""
    random = np.random.default_rng(seed)
    whole = Image.new("RGB", size, (128, 128, 128))
    for cells in (4, 12, 40, 120, 400):
        noise = Image.fromarray(random.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8))
        whole = Image.blend(whole, noise.resize(size, Image.Resampling.BILINEAR), 0.35)
    return saved(whole, "JPEG", quality=92)


# Sides that 8 divides, and ones whose last columns at a quarter of the size are cut short.
@pytest.mark.parametrize("size", [(4000, 3000), (4001, 3003)])
def test_a_cameras_jpeg_scores_as_with_open_clips_transform(size: tuple[int, int], theirs: Any) -> None:
    ensure_torchvision()
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = {"image_size": 224, "patch_size": 32, "width": 128, "layers": 3, "head_width": 64}
        text = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1}
        model: Any = open_clip.CLIP(64, vision, text).eval()
        said = torch.nn.functional.normalize(torch.randn(32, 64, dtype=torch.float64), dim=1)
    files = [camera(seed, size) for seed in range(2)]
    seen = [torch.stack([see(data) for data in files]) for see in (ours, theirs)]
    assert off(model, said, *seen) <= 0.002
