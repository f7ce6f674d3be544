"""What a small picture shows is read back from its pixels, soft and noisy as small generators draw them."""

from __future__ import annotations

import random
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from toyworld import small_oracle
from toyworld.clip.examples import draw_picture, swapped
from toyworld.render import render
from toyworld.world import CLEAR, Picture, Thing

HELD_OUT = 600_000
KINDS = ["64 pixels", "48 pixels", "64 pixels, soft and noisy", "48 pixels, soft and noisy"]
Pixels = npt.NDArray[np.uint8]


def small(picture: Picture, side: int = 64) -> Pixels:
    drawn = np.asarray(render(picture, 256))
    return np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA))


def worn(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Slightly blurred, with Gaussian noise of a tenth of the range."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    return (soft + rng.normal(0, 25.5, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn() -> list[Picture]:
    rng = random.Random(3)
    pictures = [draw_picture(rng, HELD_OUT) for _ in range(150)]
    return [p for p in pictures if p.things][:120]


@pytest.fixture(scope="module")
def read(drawn: list[Picture]) -> dict[str, list[Picture]]:
    rng = np.random.default_rng(4)
    found = {}
    for side in (64, 48):
        images = [small(picture, side) for picture in drawn]
        found[f"{side} pixels"] = small_oracle.read(images)
        found[f"{side} pixels, soft and noisy"] = small_oracle.read([worn(image, rng) for image in images])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_small_pictures_are_read_back(drawn: list[Picture], read: dict[str, list[Picture]], kind: str) -> None:
    shares = [small_oracle.compare(seen, picture) for seen, picture in zip(read[kind], drawn, strict=True)]
    for name in ("colour", "shape", "size", "place", "scene", "light", "truth"):
        assert np.mean([share[name] for share in shares]) >= 0.96, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", ["colour", "shape", "size", "place", "scene", "light"])
def test_what_is_not_shown_is_not_agreed_to(
    drawn: list[Picture], read: dict[str, list[Picture]], kind: str, attribute: str
) -> None:
    rng, agreed = random.Random(attribute), []
    for picture, seen in zip(drawn, read[kind], strict=True):
        # Two things that exchange their places leave the same places taken.
        single = replace(picture, things=picture.things[:1]) if attribute == "place" else picture
        shown = replace(seen, things=tuple(t for t in seen.things if t.place in {s.place for s in single.things}))
        other = swapped(single, attribute, rng)
        agreed.append(small_oracle.compare(shown, other)[attribute] == 1)
    assert np.mean(agreed) <= 0.03


def test_an_empty_scene_holds_nothing_and_another_scene_is_told() -> None:
    scenes = ("plain", "sky", "grass", "sand", "night", "sea", "snow", "forest", "city", "brick")
    pictures = [Picture((), scene, CLEAR, HELD_OUT + 1) for scene in scenes]
    images = [worn(small(picture), np.random.default_rng(5)) for picture in pictures]
    for picture, image in zip(pictures, images, strict=True):
        (shares,) = small_oracle.attributes([image], [picture])
        assert shares == {"place": 1.0, "scene": 1.0, "light": 1.0, "truth": 1.0}
    (shares,) = small_oracle.attributes([images[1]], [replace(pictures[2], light="")])
    assert shares == {"place": 1.0, "scene": 0.0, "truth": 0.5}


def test_noise_alone_shows_no_thing() -> None:
    noise = np.random.default_rng(6).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    assert all(seen.things == () for seen in small_oracle.read(list(noise)))


STAR = Thing("star", "red", "small", "left", HELD_OUT)
OWL = Thing("owl", "blue", "small", "right", HELD_OUT)
SHOWN = Picture((STAR, OWL), "sea", CLEAR, HELD_OUT)


@pytest.mark.parametrize(
    ("meant", "expected"),
    [
        (SHOWN, {"colour": 1, "shape": 1, "place": 1, "scene": 1, "truth": 1}),
        (SHOWN.with_things([replace(STAR, colour="green"), OWL]), {"colour": 0.5, "shape": 1, "place": 1}),
        (SHOWN.with_things([replace(STAR, shape="cat"), OWL]), {"colour": 1, "shape": 0.5, "truth": 0.875}),
        (SHOWN.with_things([replace(STAR, place="top"), OWL]), {"colour": 1, "shape": 1, "place": 0.5}),
        (SHOWN.with_things([STAR]), {"colour": 1, "shape": 1, "place": 0.5}),
        (SHOWN.with_things([STAR, OWL, replace(OWL, place="top")]), {"colour": 2 / 3, "shape": 2 / 3, "place": 2 / 3}),
        (replace(SHOWN, scene="sand", light="warm"), {"scene": 0, "light": 0, "truth": 0.75}),
    ],
    ids=["as meant", "another colour", "another shape", "elsewhere", "one too many", "one missing", "another ground"],
)
def test_each_attribute_is_told_apart(meant: Picture, expected: dict[str, float]) -> None:
    (shares,) = small_oracle.attributes([small(SHOWN)], [meant])
    assert {name: shares[name] for name in expected} == pytest.approx(expected)


def test_soft_things_are_still_seen(drawn: list[Picture]) -> None:
    """As the pictures of a generator early in its training, where nothing has an edge."""
    images = [cv2.GaussianBlur(small(picture), (0, 0), 2.0) for picture in drawn[:60]]
    shares = small_oracle.attributes(images, drawn[:60])
    floors = {"colour": 0.95, "shape": 0.88, "place": 0.95, "scene": 0.98}
    for name, floor in floors.items():
        assert np.mean([share[name] for share in shares]) >= floor, name


def test_no_images_give_nothing() -> None:
    assert small_oracle.attributes([], []) == []


def test_what_is_unsaid_is_not_asked_for() -> None:
    meant = Picture((Thing("owl", "blue"), Thing("star", "red")))
    (shares,) = small_oracle.attributes([small(SHOWN)], [meant])
    assert shares == {"colour": 1.0, "shape": 1.0, "truth": 1.0}
