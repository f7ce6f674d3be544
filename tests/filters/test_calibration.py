"""Limits from stored scores."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.calibration import LIMITS, by_drop, by_labels, passes
from filters.config import FiltersConfig, build

SCORES = st.lists(st.floats(0, 1).map(lambda x: round(x, 2)), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(SCORES, st.floats(0, 0.9), st.sampled_from(["clip_text", "copy_paste"]))
def test_one_limit_drops_as_near_to_the_share_as_any_of_the_scores_could(
    scores: list[float], share: float, column: str
) -> None:
    (found,), lost = by_drop([{column: score} for score in scores], [column], share)
    assert lost == found.dropped == sum(not passes(column, score, found.limit) for score in scores)
    others = [0, *(sum(not passes(column, score, limit) for score in scores) for limit in scores)]
    assert abs(lost - share * len(scores)) == pytest.approx(min(abs(n - share * len(scores)) for n in others))


def test_several_columns_share_what_is_dropped() -> None:
    rows = [{"clip_text": i / 100, "copy_paste": (i * 37 % 100) / 100} for i in range(100)]
    found, lost = by_drop(rows, ["clip_text", "copy_paste"], 0.2)
    assert 19 <= lost <= 21 and all(8 <= one.dropped <= 12 for one in found)


def test_rows_without_a_score_are_judged_by_the_others_and_one_value_is_not_divided() -> None:
    found, lost = by_drop([{"clip_text": 0.3}] * 5 + [{}] * 5, ["clip_text"], 0.2)
    assert lost == 0 and found[0].limit is None and found[0].rows == 5
    assert by_drop([], ["clip_text"], 0.2)[1] == 0


@pytest.mark.parametrize("criterion", ["f1", "youden"])
def test_labels_that_a_limit_divides_are_divided_there(criterion: str) -> None:
    rows = [(0.1, False), (0.2, False), (0.3, True), (0.4, True)]
    found = by_labels(rows, "clip_text", criterion)  # type: ignore[arg-type]
    assert (found.limit, found.precision, found.recall, found.dropped) == (0.3, 1.0, 1.0, 2)
    found = by_labels([(1 - score, label) for score, label in rows], "copy_paste", criterion)  # type: ignore[arg-type]
    assert (found.limit, found.precision, found.recall, found.measure) == (0.7, 1.0, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.booleans()), min_size=1, max_size=30))
def test_no_other_limit_has_a_higher_f1(rows: list[tuple[float, bool]]) -> None:
    def f1(limit: float | None) -> float:
        kept = [label for score, label in rows if passes("clip_text", score, limit)]
        good = sum(label for _, label in rows)
        return 2 * sum(kept) / (len(kept) + good) if kept or good else 0.0

    found = by_labels(rows, "clip_text", "f1")
    assert found.measure == pytest.approx(max(f1(limit) for limit in [None, 0.1, 0.2, 0.3, 0.4]))
    assert f1(found.limit) == pytest.approx(found.measure)


def test_every_limit_is_a_key_of_its_filter_and_every_column_is_one_that_it_writes() -> None:
    for column, (name, key) in LIMITS.items():
        field = FiltersConfig.model_fields[name].annotation
        assert any(key in model.model_fields for model in getattr(field, "__args__", ()) if model is not type(None))
        if name in ("quality", "similarity", "drift", "omnicontext", "critic"):
            assert column in build(FiltersConfig.model_validate({name: {}})).score_names
