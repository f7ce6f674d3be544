"""Balance: the shape that was asked for, as many rows as have it, and always the same ones."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.balance import SCALE, BalanceConfig, balanced, draw_order, histogram, shaped

# Table 6 of the FIRM paper (arXiv 2603.12247): rows of each score.
FIRM = {
    "execution": {5: 49_995, 4: 16_004, 3: 52_661, 2: 21_695, 1: 49_819},
    "consistency": {5: 50_823, 4: 45_720, 3: 30_999, 2: 38_486, 1: 14_053},
    "instruction_following": {5: 116_333, 4: 41_833, 3: 56_157, 2: 59_010, 1: 19_459},
}

counts = st.dictionaries(st.sampled_from(SCALE), st.integers(0, 60), max_size=5)
weights = st.dictionaries(st.sampled_from(SCALE), st.floats(0, 100, allow_subnormal=False), min_size=1).filter(
    lambda found: any(found.values())
)


def rows(of: dict[int, int], label: str = "row") -> dict[str, float]:
    return {f"{label} {score} {i}": float(score) for score, n in of.items() for i in range(n)}


@given(counts, weights)
def test_each_score_is_within_half_a_row_of_its_share(available: dict[int, int], wanted: dict[int, float]) -> None:
    kept = shaped(available, wanted)
    there = {k: w for k, w in wanted.items() if w and available.get(k)}
    assert set(kept) == set(there)
    assert all(0 <= n <= available[k] for k, n in kept.items())
    if not there:
        return
    # One N must do for all: of each score, N lies in the range that rounds to what was kept ...
    low = max((kept[k] - Fraction(1, 2)) / Fraction(str(w)) for k, w in there.items())
    high = min((kept[k] + Fraction(1, 2)) / Fraction(str(w)) for k, w in there.items())
    assert low <= high
    # ... and none beyond it fits: some score is used up.
    assert any(kept[k] == available[k] for k in there)


@given(counts, weights, st.integers(0, 9))
def test_what_has_the_shape_is_kept_whole(available: dict[int, int], wanted: dict[int, float], seed: int) -> None:
    scores = {"execution": rows(available)}
    once = balanced(scores, {"execution": wanted}, seed)
    chosen = {key: scores["execution"][key] for key in once.ids["execution"]}
    again = balanced({"execution": chosen}, {"execution": wanted}, seed + 1)
    assert again.ids == once.ids
    assert again.before == again.after == once.after


@given(st.dictionaries(st.sampled_from(SCALE), st.integers(1, 40), min_size=1), st.integers(1, 5))
def test_an_exact_multiple_of_the_weights_loses_nothing(shape: dict[int, int], times: int) -> None:
    scores = {"quality": rows({k: n * times for k, n in shape.items()})}
    as_shares = {k: n / 100 for k, n in shape.items()}
    assert len(balanced(scores, {"quality": as_shares}, 3).ids["quality"]) == times * sum(shape.values())


@given(counts, counts, weights, st.integers(0, 9))
def test_more_rows_never_change_which_of_two_goes_first(
    old: dict[int, int], new: dict[int, int], wanted: dict[int, float], seed: int
) -> None:
    few = rows(old)
    many = {**few, **rows(new, "late")}
    after = set(balanced({"d": many}, {"d": wanted}, seed).ids["d"])
    ordered = draw_order(few, seed)
    assert [key for key in draw_order(many, seed) if key in few] == ordered
    for before, later in itertools.pairwise(ordered):
        if few[before] == few[later]:
            assert before in after or later not in after


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    scores = rows({1: 5, 5: 200})
    backwards = dict(reversed(scores.items()))
    target = {"execution": {1: 1.0, 5: 2.0}}
    one = balanced({"execution": scores}, target, 1).ids
    assert balanced({"execution": backwards}, target, 1).ids == one
    assert balanced({"execution": scores}, target, 2).ids != one


@pytest.mark.parametrize("dimension", FIRM)
def test_firms_printed_shape_comes_out_of_a_flat_pool(dimension: str) -> None:
    shape = FIRM[dimension]
    kept = shaped(dict.fromkeys(SCALE, 10_000), shape)
    assert max(kept.values()) == 10_000
    whole, printed = sum(kept.values()), sum(shape.values())
    for score in SCALE:
        assert kept[score] / whole == pytest.approx(shape[score] / printed, abs=5e-5)


@pytest.mark.parametrize("dimension", FIRM)
def test_firms_own_rows_are_kept_to_the_last(dimension: str) -> None:
    assert shaped(FIRM[dimension], FIRM[dimension]) == FIRM[dimension]


def test_uniform_keeps_as_many_of_each_as_there_are_of_the_scarcest() -> None:
    config = BalanceConfig(execution="uniform")
    found = balanced({"execution": rows({1: 3, 2: 9, 3: 4, 4: 70, 5: 800})}, config.targets, 7)
    assert found.after["execution"] == {1: 3, 2: 3, 3: 3, 4: 3, 5: 3}
    assert found.before["execution"] == {1: 3, 2: 9, 3: 4, 4: 70, 5: 800}
    assert not found.left_out


def test_a_score_that_nobody_has_is_left_out_and_said() -> None:
    found = balanced({"execution": rows({1: 10, 5: 30})}, {"execution": {1: 0.25, 2: 0.5, 5: 0.25}}, 7)
    assert found.after["execution"] == {1: 10, 5: 10}
    assert found.left_out == {"execution": (2,)}


def test_a_score_without_a_weight_is_dropped_and_a_dimension_without_a_target_is_whole() -> None:
    scores = {"execution": rows({1: 4, 2: 4, 3: 4}), "consistency": rows({4: 2, 5: 90})}
    found = balanced(scores, {"execution": {1: 1, 2: 0}}, 7)
    assert found.after == {"execution": {1: 4}, "consistency": {4: 2, 5: 90}}


def test_nothing_comes_of_nothing() -> None:
    assert balanced({}, {"execution": {1: 1}}, 0).ids == {}
    found = balanced({"execution": rows({2: 3})}, {"execution": {1: 1}}, 0)
    assert found.ids == {"execution": ()} and found.left_out == {"execution": (1,)}


def test_tenths_are_tenths() -> None:
    """As binary fractions 0.1 + 0.2 is more than 0.3, which would cost a row."""
    assert shaped({1: 1_000, 2: 2_000, 3: 7_000}, {1: 0.1, 2: 0.2, 3: 0.7}) == {1: 1_000, 2: 2_000, 3: 7_000}


def test_histograms_are_in_the_order_of_the_scores() -> None:
    assert list(histogram([5.0, 1.0, 5.0, 3.0]).items()) == [(1.0, 1), (3.0, 1), (5.0, 2)]


def test_a_configuration_takes_counts_shares_and_the_word() -> None:
    config = BalanceConfig.model_validate({"execution": {"1": 26, 5: 74}, "quality": "uniform"})
    assert config.targets == {"execution": {1.0: 26.0, 5.0: 74.0}, "quality": dict.fromkeys(SCALE, 1.0)}
    assert BalanceConfig().targets == {}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"execution": "flat"}, "must be `uniform`"),
        ({"execution": {}}, "must be `uniform`"),
        ({"execution": [0.2, 0.8]}, "must be `uniform`"),
        ({"execution": {6: 1}}, "6 is no score"),
        ({"execution": {0: 1}}, "0 is no score"),
        ({"execution": {True: 1}}, "True is no score"),
        ({"execution": {2.5: 1}}, "2.5 is no score"),
        ({"execution": {1: -0.1}}, "the weight of 1 is -0.1"),
        ({"execution": {1: float("nan")}}, "the weight of 1 is nan"),
        ({"execution": {1: float("inf")}}, "the weight of 1 is inf"),
        ({"execution": {1: "much"}}, "the weight of 1 is 'much'"),
        ({"execution": {1: 0, 2: 0}}, "every weight is 0"),
        ({"exection": "uniform"}, "Extra inputs"),
    ],
)
def test_a_bad_configuration_is_named(given_: object, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        BalanceConfig.model_validate(given_)
    assert said in str(error.value)
