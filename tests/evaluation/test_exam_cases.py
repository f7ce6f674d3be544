"""An exam's cases: the true scores follow the rubric, the pictures show what the truth says."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evaluation.exam.cases import EditCase, Kind, PromptCase, cases_of
from evaluation.exam.pictures import DrawnEdit, drawn
from schemas.errors import InputError
from schemas.judgements import Dimension
from storage.references import image_bytes
from toyworld.captions import parse
from toyworld.edit_truth import Demand, Edited, consistency, execution, fits, following, near, unasked
from toyworld.edit_words import instruction, inverse
from toyworld.edits import _recoloured
from toyworld.oracle import read, same
from toyworld.render import render, render_cutout
from toyworld.world import Picture, Thing

STAR, CAR = Thing("star", "red", "small", "left"), Thing("car", "blue", "small", "right")
OWLS = tuple(Thing("owl", "white", "small", place) for place in ("top left", "top", "top right"))
SOURCE = Picture((STAR, CAR), "sand", "clear")
CROWD = Picture((*OWLS, STAR, CAR), "sand", "clear")
HEART = Thing("heart", "pink", "small", "top left")
ADD = Demand("add", (), HEART)
TURN = Demand("recolour", (1,), Thing("", "green"))
MOVE = Demand("move", (0,), Thing("", "", "", "top right"))


def edited(*now: Thing | None, new: tuple[Thing, ...] = (), of: Picture = SOURCE, scene: str = "sand") -> Edited:
    """The source's things as they are now, None for one that is gone."""
    things = now or of.things
    return Edited({i: thing for i, thing in enumerate(things) if thing is not None}, new, scene, "clear")


def changed(thing: Thing, **attributes: str) -> Thing:
    return Thing(**{**{name: getattr(thing, name) for name in ("shape", "colour", "size", "place")}, **attributes})


@pytest.mark.parametrize(
    ("demands", "made", "score"),
    [
        ([ADD], edited(new=(HEART,)), 5),
        ([ADD], edited(new=(changed(HEART, size="big"),)), 4),
        ([ADD], edited(new=(changed(HEART, place="top"),)), 4),
        ([ADD], edited(new=(changed(HEART, colour="black"),)), 3),
        ([ADD], edited(new=(changed(HEART, place="bottom"),)), 3),
        ([ADD], edited(new=(changed(HEART, place="bottom", colour="black"),)), 2),
        ([ADD], edited(new=(Thing("snail", "pink", "small", "top left"),)), 2),
        ([ADD], edited(new=(Thing("snail", "pink", "small", "bottom"),)), 1),
        ([ADD], edited(), 1),
        ([TURN], edited(STAR, changed(CAR, colour="green")), 5),
        ([TURN], edited(STAR, changed(CAR, colour="black")), 2),
        ([TURN], edited(changed(STAR, colour="green"), CAR), 1),
        ([MOVE], edited(changed(STAR, place="top right"), CAR), 5),
        ([MOVE], edited(changed(STAR, place="top"), CAR), 4),
        ([Demand("move", (1,), Thing("", "", "", "bottom"))], edited(STAR, changed(CAR, place="bottom left")), 5),
        ([MOVE], edited(changed(STAR, place="middle"), CAR), 2),
        ([MOVE], edited(changed(STAR, place="bottom left"), CAR), 1),
        ([MOVE], edited(None, CAR), 1),
        ([Demand("remove", (0,))], edited(None, CAR), 5),
        ([Demand("remove", (0,))], edited(STAR, None), 1),
        ([TURN, ADD], edited(STAR, changed(CAR, colour="green"), new=(HEART,)), 5),
        ([TURN, ADD], edited(STAR, changed(CAR, colour="green")), 3),
        ([TURN, ADD], edited(), 1),
        ([TURN, ADD, MOVE], edited(STAR, changed(CAR, colour="green")), 2),
    ],
)
def test_execution_of_hand_made_edits(demands: list[Demand], made: Edited, score: int) -> None:
    assert execution(SOURCE, demands, made) == score


@pytest.mark.parametrize(("gone", "score"), [(3, 5), (2, 3), (1, 2), (0, 1)])
def test_execution_counts_how_many_of_several_things_went_or_came(gone: int, score: int) -> None:
    demand = Demand("remove", (0, 1, 2))
    left = [None if i < gone else thing for i, thing in enumerate(CROWD.things)]
    assert execution(CROWD, [demand], edited(*left, of=CROWD)) == score
    come = Demand("add", (), Thing("heart", "pink"), 3)
    hearts = tuple(Thing("heart", "pink", "small", place) for place in ("top", "middle", "bottom"))[:gone]
    assert execution(SOURCE, [come], edited(new=hearts)) == score


def test_more_than_were_asked_for_is_a_wrong_number() -> None:
    hearts = tuple(Thing("heart", "pink", "small", place) for place in ("top", "middle", "bottom"))
    demand = Demand("add", (), Thing("heart", "pink"), 2)
    assert execution(SOURCE, [demand], edited(new=hearts)) == 3
    assert unasked(SOURCE, [demand], edited(new=hearts)) == ["the pink heart came"]


@pytest.mark.parametrize(
    ("made", "score"),
    [
        (edited(new=(HEART,)), 5),
        (edited(new=(changed(HEART, colour="black", place="bottom"),)), 5),
        (edited(), 5),
        (edited(new=(HEART, Thing("snail", "red", "small", "bottom"))), 4),
        (edited(STAR, changed(CAR, colour="black"), new=(HEART,)), 4),
        (edited(new=(HEART,), scene="snow"), 4),
        (edited(None, CAR, new=(HEART,), scene="snow"), 3),
        (edited(None, changed(CAR, place="bottom"), new=(HEART,), scene="snow"), 3),
        (edited(None, changed(CAR, place="bottom", colour="black"), new=(HEART,), scene="snow"), 2),
        (edited(None, None, new=(HEART,), scene="sand"), 3),
        (edited(None, None, new=(HEART,), scene="snow"), 1),
    ],
)
def test_consistency_counts_what_nobody_asked_for(made: Edited, score: int) -> None:
    assert consistency(SOURCE, [ADD], made) == score


def test_what_a_demand_is_about_may_change_and_light_is_excepted() -> None:
    green = changed(CAR, colour="black")
    assert consistency(SOURCE, [TURN], edited(STAR, green)) == 5, "another colour than was asked for is Execution's"
    assert consistency(SOURCE, [TURN], edited(STAR, changed(green, place="top"))) == 4
    assert consistency(SOURCE, [MOVE], edited(changed(STAR, place="top", colour="pink"), CAR)) == 4
    assert consistency(SOURCE, [], Edited(dict(enumerate(SOURCE.things)), (), "sand", "warm")) == 5


THREE = parse("a red star on the left, a blue car on the right and a pink heart at the top with a sand background")


@pytest.mark.parametrize(
    ("shown", "score"),
    [
        ("a red star on the left, a blue car on the right and a pink heart at the top", 5),
        ("a red star in the top left corner, a blue car on the right and a pink heart at the top", 5),
        ("a red star on the left, a black car on the right and a pink heart at the top", 4),
        ("a red star on the left, a blue car on the right and a pink heart at the top, snow", 4),
        ("a red star on the right, a blue car on the left and a pink heart at the top", 3),
        ("a blue star on the left, a red car on the right and a black heart at the top", 3),
        ("a red star on the left and a blue car on the right", 3),
        ("a red star on the left", 2),
        ("a red snail on the left", 2),
        ("a red snail on the left, snow", 1),
    ],
)
def test_following_of_hand_made_pictures(shown: str, score: int) -> None:
    text, snow = shown.removesuffix(", snow"), shown.endswith(", snow")
    assert following(THREE, parse(f"{text} with a {'snow' if snow else 'sand'} background")) == score


@pytest.mark.parametrize(("there", "score"), [(4, 5), (3, 4), (5, 4), (2, 4), (1, 3)])
def test_following_counts(there: int, score: int) -> None:
    owl = Thing("owl", "white")
    assert following(Picture((owl,) * 4, "sand"), Picture((owl,) * there, "sand")) == score


def test_what_a_prompt_leaves_unsaid_is_free() -> None:
    assert following(Picture((Thing("owl", ""),)), Picture((Thing("owl", "white", "big", "top"),), "sand")) == 5


def test_half_right_places() -> None:
    assert near("top left", "top") and near("top left", "left")
    assert not near("top left", "top left") and not near("top left", "bottom left") and not near("middle", "left")
    assert fits("left", "top left") and fits("left", "left")
    assert not fits("top left", "left") and not fits("left", "top") and not fits("middle", "left")
    corner, side, other = (Picture((Thing("owl", "white", "", place),)) for place in ("top left", "left", "bottom"))
    assert [following(corner, picture) for picture in (corner, side, other)] == [5, 4, 4]
    assert [following(side, picture) for picture in (corner, side, other)] == [5, 5, 4]


def test_instructions_say_their_demands_and_the_way_back() -> None:
    rng = random.Random(0)
    made = edited(changed(STAR, place="top right"), changed(CAR, colour="green"), new=(HEART,))
    demands = [ADD, TURN, MOVE]
    text = instruction(demands, SOURCE, rng).lower()
    for words in ("a small pink heart in the top left corner", "the blue car", "green", "the red star", "top right"):
        assert words in text
    back = inverse(demands, SOURCE, made, rng).lower()
    for words in ("the pink heart", "the green car", "blue", "the red star", "to the left side"):
        assert words in back
    owls = Demand("remove", (0, 1, 2))
    assert "the three white owls" in instruction([owls], CROWD, rng)
    assert "three small white owls" in inverse([owls], CROWD, edited(None, None, None, STAR, CAR, of=CROWD), rng)


def test_cases_are_the_same_for_the_same_seed_and_a_larger_exam_begins_with_a_smaller_one() -> None:
    small, large = cases_of(3, 20), cases_of(3, 60)
    assert small == [*large[:10], *large[30:40]] and cases_of(3, 20) == small
    assert cases_of(4, 20) != small
    assert len(cases_of(3, 7)) == 7


def test_an_exam_is_balanced_and_holds_every_score() -> None:
    cases = cases_of(11, 200)
    assert Counter((type(case), case.kind) for case in cases) == {
        (made, kind): 20 for made in (EditCase, PromptCase) for kind in Kind
    }
    for dimension in (Dimension.EXECUTION, Dimension.CONSISTENCY, Dimension.INSTRUCTION_FOLLOWING):
        found = Counter(case.truth[dimension] for case in cases if dimension in case.truth)
        assert set(found) == {1, 2, 3, 4, 5} and max(found.values()) < 50
    done_and_kept = Counter((c.truth[Dimension.EXECUTION], c.truth[Dimension.CONSISTENCY]) for c in cases[:100])
    assert len(done_and_kept) >= 18, "neither score tells the other"
    assert len({case.id for case in cases}) == 200


@pytest.mark.parametrize("seed", range(4))
def test_every_seed_has_its_cases(seed: int) -> None:
    assert len(cases_of(seed, 120)) == 120


def test_pictures_show_what_the_truth_was_taken_from() -> None:
    cases = cases_of(5, 60)
    for case in cases[::7]:
        picture = case.edited if isinstance(case, EditCase) else case.shown
        assert same(read(render(picture, 384)), picture), case.id


def test_a_recoloured_thing_stands_as_it_stood() -> None:
    for variation, colour in ((3, "blue"), (77, "yellow"), (400, "black")):
        before = Thing("umbrella", "red", "big", "middle", variation)
        after = _recoloured(before, colour)
        assert after.colour == colour and after.shape == "umbrella"
        masks = [np.asarray(render_cutout(thing, 256))[..., 3] > 127 for thing in (before, after)]
        assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.95


def test_identical_pairs_are_one_file_or_its_copy_and_others_differ(tmp_path: Path) -> None:
    pairs = [d for d in (drawn(case, str(tmp_path), 128) for case in cases_of(2, 40)) if isinstance(d, DrawnEdit)]
    identical = [d for d in pairs if d.case.kind is Kind.IDENTICAL]
    assert [d.case.recoded for d in identical] == [False, True, False, True]
    for pair in pairs:
        assert all(image_bytes(image)[:2] == b"\xff\xd8" for image in pair.pair.images)
        assert (pair.pair.source == pair.pair.edited) == (pair in identical and not pair.case.recoded)
        assert (pair.exchanged is not None) == (bool(pair.case.inverse) and pair.pair.source != pair.pair.edited)
    assert any(pair.exchanged for pair in pairs if pair not in identical)


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*file: cannot be written"):
        drawn(cases_of(2, 2)[0], str(tmp_path / "file"), 128)
