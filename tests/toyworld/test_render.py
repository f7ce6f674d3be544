"""A picture is drawn the same every time, and its cut-out is the thing on white."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from toyworld.render import render, render_cutout
from toyworld.world import CLEAR, PLACES, PLAIN, SCENES, SHAPES, Picture, Thing, complete, free_places, layouts


def test_the_same_picture_gives_the_same_pixels() -> None:
    picture = Picture((Thing("owl", "blue", "big", "left", 5),), "forest", "warm", 9)
    assert render(picture, 96).tobytes() == render(picture, 96).tobytes()


def test_a_variation_changes_pixels_but_not_the_size() -> None:
    one, two = (render(Picture((), "sky", CLEAR, v), 96) for v in (1, 2))
    assert one.size == two.size == (96, 96)
    assert one.tobytes() != two.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cutout_over_white_is_the_thing_on_plain_ground(shape: str) -> None:
    thing = Thing(shape, "purple", "big", "middle", 3)
    cut = render_cutout(thing, 128)
    over = Image.alpha_composite(Image.new("RGBA", cut.size, (255, 255, 255, 255)), cut).convert("RGB")
    drawn = render(Picture((thing,), PLAIN, CLEAR), 128)
    assert np.abs(np.asarray(over).astype(int) - np.asarray(drawn)).max() <= 2
    alpha = np.asarray(cut)[..., 3]
    assert alpha.max() == 255 and alpha[0].max() == 0 and alpha[:, 0].max() == 0


@pytest.mark.parametrize("size", ["small", "big"])
@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_inside_the_frame(size: str, place: str) -> None:
    for variation in range(3):
        alpha = np.asarray(render_cutout(Thing("robot", "red", size, place, variation), 96))[..., 3]
        assert alpha[0].max() == alpha[-1].max() == alpha[:, 0].max() == alpha[:, -1].max() == 0


def test_an_oblong_picture_is_drawn_to_its_size() -> None:
    assert render(Picture((Thing("car", "red", "small", "right"),), "city", CLEAR), 120, 80).size == (120, 80)


def test_what_is_unsaid_is_named_instead_of_drawn() -> None:
    with pytest.raises(ValueError, match=r"the red star has no place.*scene.*light"):
        render(Picture((Thing("star", "red", "big"),)))


def test_things_that_overlap_are_refused() -> None:
    both = (Thing("star", "red", "big", "middle"), Thing("cat", "blue", "big", "left"))
    with pytest.raises(ValueError, match="overlap"):
        complete(Picture(both))


def test_free_places_touch_nothing() -> None:
    things = (Thing("star", "red", "big", "middle"),)
    assert free_places(things, "small") == ["top left", "top right", "bottom left", "bottom right"]
    assert "right" in free_places((Thing("star", "red", "big", "left"),), "big")


@pytest.mark.parametrize("count", range(1, 10))
def test_every_layout_can_be_drawn(count: int) -> None:
    for places in layouts(count):
        things = tuple(Thing("heart", "red", "small" if count > 2 else "big", p) for p in places)
        assert len(complete(Picture(things, "sand")).things) == count


def test_no_layout_holds_more_things_than_places() -> None:
    with pytest.raises(ValueError, match="1 to 9"):
        layouts(10)


def test_scenes_look_different() -> None:
    means = [np.asarray(render(Picture((), s, CLEAR), 64)).mean((0, 1)) for s in SCENES]
    nearest = min(np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i])
    assert nearest > 15
