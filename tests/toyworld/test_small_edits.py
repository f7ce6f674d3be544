"""What became of an edit is read from two small pictures: done or not, and what else was changed."""

from __future__ import annotations

import random
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from toyworld.edits import edit_of
from toyworld.render import render
from toyworld.small_edits import copied, edit_scores
from toyworld.world import CLEAR, Picture, Thing

Pixels = npt.NDArray[np.uint8]

STAR = Thing("star", "red", "small", "left", 7)
OWL = Thing("owl", "blue", "small", "right", 7)
CAR = Thing("car", "green", "small", "top", 7)
SOURCE = Picture((STAR, OWL, CAR), "sea", CLEAR, 7)


def small(picture: Picture, side: int = 64) -> Pixels:
    drawn = np.asarray(render(picture, 256))
    return np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA))


def worn(image: Pixels) -> Pixels:
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    return (soft + np.random.default_rng(8).normal(0, 25.5, image.shape)).clip(0, 255).astype(np.uint8)


def scores(shown: Picture, meant: Picture, source: Picture = SOURCE) -> tuple[float, float]:
    return edit_scores(small(source), small(shown), source, meant)


EDITS = {
    "recolour": SOURCE.with_things([replace(STAR, colour="yellow"), OWL, CAR]),
    "move": SOURCE.with_things([replace(STAR, place="bottom"), OWL, CAR]),
    "remove": SOURCE.with_things([OWL, CAR]),
    "add": SOURCE.with_things([STAR, OWL, CAR, Thing("heart", "pink", "small", "bottom")]),
    "reshape": SOURCE.with_things([replace(STAR, shape="snail"), OWL, CAR]),
    "scene": replace(SOURCE, scene="sand"),
    "light": replace(SOURCE, light="warm"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_done_right_has_fives(edit: str) -> None:
    execution, consistency = scores(EDITS[edit], EDITS[edit])
    assert execution == 5
    assert consistency >= 4.9


@pytest.mark.parametrize("edit", EDITS)
def test_a_copied_input_is_not_executed_and_consistent(edit: str) -> None:
    image = small(SOURCE)
    assert copied(image, worn(image))
    assert edit_scores(image, worn(image), SOURCE, EDITS[edit]) == (1, 5)
    assert not copied(image, worn(small(EDITS[edit])))


def test_nothing_asked_and_nothing_done_has_fives() -> None:
    assert scores(SOURCE, SOURCE) == (5, 5)


def test_another_colour_than_asked_is_not_executed() -> None:
    shown = SOURCE.with_things([replace(STAR, colour="purple"), OWL, CAR])
    execution, consistency = scores(shown, EDITS["recolour"])
    assert execution == 1
    assert consistency >= 4.9


def test_a_thing_that_comes_in_another_colour_is_half_done() -> None:
    shown = SOURCE.with_things([STAR, OWL, CAR, Thing("heart", "green", "small", "bottom")])
    execution, consistency = scores(shown, EDITS["add"])
    assert execution == pytest.approx(4)
    assert consistency >= 4.9


@pytest.mark.parametrize(
    "disturbed",
    [
        [replace(STAR, colour="yellow"), replace(OWL, place="bottom right"), CAR],
        [replace(STAR, colour="yellow"), OWL, replace(CAR, colour="pink")],
        [replace(STAR, colour="yellow"), OWL],
        [replace(STAR, colour="yellow"), OWL, CAR, Thing("moon", "white", "small", "bottom")],
    ],
    ids=["moved", "recoloured", "gone", "came"],
)
def test_what_becomes_of_another_thing_lowers_consistency_only(disturbed: list[Thing]) -> None:
    execution, consistency = scores(SOURCE.with_things(disturbed), EDITS["recolour"])
    assert execution == 5
    assert 3 <= consistency < 4.6


def test_another_scene_costs_more_than_another_thing() -> None:
    things = [replace(STAR, colour="yellow"), replace(OWL, place="bottom right"), CAR]
    _, moved = scores(SOURCE.with_things(things), EDITS["recolour"])
    execution, other = scores(replace(EDITS["recolour"], scene="night"), EDITS["recolour"])
    assert execution == 5
    assert other < moved - 0.2


@pytest.mark.parametrize("failure", ["attribute", "spatial", "count", "neglect"])
def test_drawn_edits_without_a_fault_have_fives_through_noise(failure: str) -> None:
    read = []
    for number in range(6):
        made = edit_of(failure, 5, 5, random.Random(f"small {failure} {number}"))
        read.append(edit_scores(small(made.source), worn(small(made.shown)), made.source, made.shown))
    assert np.mean(read, axis=0) == pytest.approx([5, 5], abs=0.2)
