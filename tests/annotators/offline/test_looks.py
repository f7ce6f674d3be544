from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from annotators.offline.looks import COLOUR_WORDS, look


def disc(colour: str, around: str | None, at: tuple[int, int] = (128, 128)) -> Image.Image:
    image = Image.new("RGBA", (256, 256), around or (0, 0, 0, 0))
    x, y = at
    ImageDraw.Draw(image).ellipse((x - 60, y - 60, x + 60, y + 60), fill=colour)
    return image


@pytest.mark.parametrize(
    ("colour", "word"),
    [
        ("#d01818", "red"), ("#18a030", "green"), ("#2040d0", "blue"), ("#f0d020", "yellow"), ("#f08010", "orange"),
        ("#7a4a20", "brown"), ("#8030c0", "purple"), ("#f070b0", "pink"), ("#101010", "black"), ("#f8f8f8", "white"),
        ("#808080", "grey"), ("#108080", "teal"), ("#a0d0f8", "light blue"), ("#0a1040", "navy"), ("#e8d8b8", "beige"),
    ],
)  # fmt: skip
def test_the_subjects_colour_is_named_not_the_backgrounds(colour: str, word: str) -> None:
    assert look(disc(colour, None)).colours == (word,)
    other = "#f8f8f8" if word != "white" else "#18a030"
    assert look(disc(colour, other)).colours[0] == word


def test_light_is_read_from_the_whole_picture() -> None:
    warm_dark = look(Image.new("RGB", (300, 200), (70, 40, 20)))
    cool_bright = look(Image.new("RGB", (200, 300), (190, 215, 245)))
    assert (warm_dark.brightness, warm_dark.temperature, warm_dark.orientation) == ("dark", "warm", "landscape")
    assert (cool_bright.brightness, cool_bright.temperature, cool_bright.orientation) == ("bright", "cool", "portrait")


def test_the_subjects_place_is_read_from_its_alpha() -> None:
    assert look(disc("red", None, (70, 70))).horizontal == "left"
    assert look(disc("red", None, (70, 70))).vertical == "upper"
    assert look(disc("red", None, (190, 190))).horizontal == "right"
    assert look(disc("red", None)).horizontal == "centre"


def test_a_drawing_is_flat_and_noise_is_busy() -> None:
    noise = Image.effect_noise((256, 256), 120).convert("RGB")
    assert look(disc("red", None)).flat
    assert not look(noise).flat
    assert look(noise).texture != "smooth"
    assert look(Image.new("RGB", (64, 64), "grey")).texture == "smooth"
    assert look(noise).monochrome


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (7, 7)])
def test_odd_sizes_and_empty_alpha_have_a_look_too(size: tuple[int, int]) -> None:
    for image in (Image.new("RGB", size, "red"), Image.new("RGBA", size, (0, 0, 0, 0))):
        assert set(look(image).colours) <= set(COLOUR_WORDS)
