"""VIEScore's judge of edits: two strict sub-scores, and the sizes that GEdit-Bench shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from annotators.viescore import AREA, judged_size
from schemas.viescore import EditQuality, EditSemantics


def test_both_sub_scores_stand_in_the_order_of_the_records() -> None:
    semantics = {"reasoning": "r", "success": "9", "restraint": 4.0}
    assert EditSemantics.model_validate_json(json.dumps(semantics)).scores == [9, 4]
    quality = {"reasoning": "r", "naturalness": 0, "artifacts": 10}
    assert EditQuality.model_validate_json(json.dumps(quality)).scores == [0, 10]


@pytest.mark.parametrize("score", [11, -1, 8.5, "4/5", "four", [1, 2], None, True])
def test_anything_but_a_whole_number_from_0_to_10_is_refused(score: Any) -> None:
    with pytest.raises(ValidationError):
        EditSemantics.model_validate_json(json.dumps({"reasoning": "r", "success": score, "restraint": 5}))


@given(st.integers(16, 8000), st.integers(16, 8000))
def test_a_judged_size_has_the_area_and_keeps_the_aspect(width: int, height: int) -> None:
    wide, high = judged_size(width, height)
    assert wide * high <= AREA + 1e-6 and (wide + 1) * (high + 1) >= AREA
    assert abs(wide / (AREA * width / height) ** 0.5 - 1) <= 1 / wide
