"""Quality by rules: what shows nothing is unusable, what is spoilt costs, and real photographs are not faulted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from annotators.offline.picture_quality import quality
from toyworld.render import render
from toyworld.world import Picture, Thing

TOY = render(
    Picture((Thing("cat", "red", "big", "left", 1), Thing("star", "blue", "small", "right", 2)), "city", "clear"), 384
)


def silhouette() -> Image.Image:
    image = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(image).ellipse((120, 60, 280, 260), fill="black")
    return image


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8))


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (300, 300), "grey"), Image.new("RGB", (1, 1)), silhouette(), noise()]
)
def test_what_shows_nothing_is_one_in_all_three(image: Image.Image) -> None:
    judged = quality(image)
    assert (judged.aesthetics, judged.technical, judged.structure) == (1, 1, 1)


def test_a_good_picture_and_what_spoils_it() -> None:
    good = quality(TOY)
    assert good.value == 5 and "no fault" in good.reasoning
    blurred, dark = TOY.filter(ImageFilter.GaussianBlur(6)), ImageEnhance.Brightness(TOY).enhance(0.15)
    grain = np.random.default_rng(2).normal(0, 40, (384, 384, 3))
    noisy = Image.fromarray((np.asarray(TOY) + grain).clip(0, 255).astype(np.uint8))
    assert quality(blurred).technical <= 2 and "sharp" in quality(blurred).reasoning
    assert quality(dark).technical <= 2 and "dark" in quality(dark).reasoning
    assert quality(noisy).technical <= 2 and "nois" in quality(noisy).reasoning
    assert quality(TOY.resize((90, 90))).technical <= 2


def test_real_photographs_are_mostly_good(test_data: Path) -> None:
    lines = (test_data / "pool" / "pool.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "scene"][::3]
    values = []
    for row in rows:
        with Image.open(test_data / "pool" / row["path"]) as image:
            values.append(quality(image.convert("RGB")).value)
    assert len(values) > 10 and sum(v >= 3 for v in values) >= 0.8 * len(values), values
