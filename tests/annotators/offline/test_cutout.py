"""Cut-outs: a drawn truth is found again, and what cannot be believed is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from annotators.offline.cutout import Cutout, Cutouts, NoCutout, cutout
from annotators.offline.matte import clean_edges


def _ground(seed: int = 1, size: tuple[int, int] = (320, 320)) -> Image.Image:
    """Grass-like noise with a slow gradient."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (size[1], size[0], 3)).astype(np.float32), (0, 0), 1.5)
    base = np.array([88, 132, 70], np.float32) + np.linspace(-15, 15, size[1])[:, None, None]
    return Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))


def _with_disc(box: tuple[int, int, int, int], colour: tuple[int, int, int] = (214, 48, 60)) -> Image.Image:
    image = _ground()
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.7)).convert("RGBA")


def _overlap(found: Cutout, box: tuple[int, int, int, int]) -> float:
    truth = Image.new("L", found.size, 0)
    ImageDraw.Draw(truth).ellipse(box, fill=1)
    true, mask = np.asarray(truth) > 0, found.mask > 0.5
    return float((true & mask).sum() / (true | mask).sum())


def test_a_thing_on_a_busy_ground_is_found_within_a_few_pixels() -> None:
    box = (90, 100, 230, 250)
    found = cutout(_with_disc(box))
    assert _overlap(found, box) > 0.94
    assert not found.drawn and not found.cut_off


def test_used_alpha_is_taken_as_it_is() -> None:
    image = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 10, 90, 80), fill=(10, 200, 90, 255))
    found = cutout(image)
    assert found.drawn
    assert np.array_equal(found.mask * 255, np.asarray(image)[..., 3])


def test_an_opaque_alpha_channel_is_no_cutout() -> None:
    assert not cutout(_with_disc((90, 100, 230, 250))).drawn


def test_a_plain_background_is_removed() -> None:
    image = Image.new("RGBA", (200, 200), (250, 250, 250, 255))
    ImageDraw.Draw(image).ellipse((50, 60, 150, 170), fill=(40, 60, 200, 255))
    found = cutout(image)
    assert found.drawn
    assert _overlap(found, (50, 60, 150, 170)) > 0.95


def test_the_side_that_cuts_a_subject_off_is_named() -> None:
    assert cutout(_with_disc((90, 150, 250, 420))).cut_off == {"bottom"}


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(_ground().convert("RGBA"), id="no subject"),
        pytest.param(_with_disc((150, 150, 172, 172)), id="a speck"),
        pytest.param(Image.new("RGBA", (200, 200), (120, 130, 140, 255)), id="one colour"),
        pytest.param(_with_disc((90, 100, 230, 250), colour=(86, 130, 72)), id="camouflage"),
    ],
)
def test_what_has_no_believable_outline_is_refused_with_a_reason(image: Image.Image) -> None:
    with pytest.raises(NoCutout, match=r"\w+ \w+"):
        cutout(image)


def test_a_photo_between_bars_is_refused() -> None:
    image = _with_disc((90, 100, 230, 250))
    image.paste((0, 0, 0, 255), (0, 0, 30, 320))
    image.paste((0, 0, 0, 255), (290, 0, 320, 320))
    with pytest.raises(NoCutout, match="bars"):
        cutout(image)


def test_what_was_cut_out_before_does_not_change_an_outline() -> None:
    image = _with_disc((90, 100, 230, 250))
    first = cutout(image).rgba
    cv2.setRNGSeed(99)
    cutout(_with_disc((60, 60, 200, 200), colour=(60, 60, 220)))
    assert np.array_equal(first, cutout(image).rgba)


def test_soft_edges_carry_the_subject_s_colour_not_the_ground_s() -> None:
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[:] = (0, 220, 0)
    rgb[30:70, 30:70] = (200, 0, 0)
    alpha = np.zeros((100, 100), np.float32)
    alpha[30:70, 30:70] = 1
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2)
    blended = (rgb * alpha[..., None] + np.array([0, 220, 0]) * (1 - alpha[..., None])).astype(np.uint8)
    cleaned = clean_edges(blended, alpha)
    edge = (alpha > 0.2) & (alpha < 0.8)
    assert cleaned[edge][:, 1].mean() < 0.4 * blended[edge][:, 1].mean()


def test_recent_cutouts_and_refusals_are_kept_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr("annotators.offline.cutout.cutout", lambda image: made.append(1) or cutout(image))
    good, bad = _with_disc((90, 100, 230, 250)), _ground().convert("RGBA")
    kept = Cutouts(capacity=2)
    assert kept.of(good) is kept.of(good)
    for _ in range(2):
        with pytest.raises(NoCutout):
            kept.of(bad)
    assert len(made) == 2
    kept.of(_with_disc((80, 100, 230, 250)))
    kept.of(good)
    assert len(made) == 4


def test_real_photos_of_single_subjects_mostly_give_cutouts(test_data: Path) -> None:
    names = ("cat_01", "grey_sloth_plushie_02", "monster_toy_04")
    folder = test_data / "pool" / "characters"
    found = [cutout(Image.open(folder / f"dreambooth_{name}.jpg").convert("RGBA")) for name in names]
    assert all(0.1 < c.mask.mean() < 0.5 for c in found)


@pytest.mark.parametrize("name", ["budgie_the_spices_of_life", "budgie_dragonfly_on_lavender"])
def test_real_photos_without_a_single_subject_are_refused(test_data: Path, name: str) -> None:
    with pytest.raises(NoCutout):
        cutout(Image.open(test_data / "pool" / "objects" / f"{name}.jpg").convert("RGBA"))
