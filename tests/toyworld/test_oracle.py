"""The oracle reads pictures back from pixels: at least 95 in 100 of them in every attribute."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from toyworld import oracle
from toyworld.clip.examples import draw_picture
from toyworld.render import render, render_cutout
from toyworld.world import CLEAR, Picture, Thing

HELD_OUT = 500_000


@pytest.fixture(scope="module")
def readings() -> list[tuple[Picture, Picture]]:
    """(what was drawn, what was read), every other one through a JPEG."""
    rng, found = random.Random(11), []
    for i in range(40):
        picture = draw_picture(rng, HELD_OUT)
        image = render(picture, 256)
        if i % 2:
            out = io.BytesIO()
            image.save(out, "JPEG", quality=90)
            image = Image.open(out)
        found.append((picture, oracle.read(image)))
    return found


@pytest.mark.parametrize("attribute", ["scene", "light", "count", "colour", "shape", "size", "place"])
def test_drawn_pictures_are_read_back(readings: list[tuple[Picture, Picture]], attribute: str) -> None:
    right = sum(oracle.agrees(seen, drawn, attribute) for drawn, seen in readings)
    assert right / len(readings) >= 0.95


def test_a_cutout_pasted_on_another_scene_is_read() -> None:
    scene = render(Picture((), "sea", CLEAR, HELD_OUT), 256)
    cut = render_cutout(Thing("owl", "red", "small", "top left", HELD_OUT))
    scene.paste(cut, (0, 0), cut)
    seen = oracle.read(scene)
    assert oracle.same(seen, Picture((Thing("owl", "red", "small", "top left"),), "sea", CLEAR))


def test_an_empty_scene_holds_nothing() -> None:
    assert oracle.read(render(Picture((), "forest", CLEAR, HELD_OUT), 192)) == Picture((), "forest", CLEAR)


def test_a_plain_scene_in_another_light_is_no_other_scene() -> None:
    drawn = Picture((Thing("car", "blue", "big", "middle"),), "plain", "warm")
    assert oracle.same(oracle.read(render(drawn, 256)), drawn)
