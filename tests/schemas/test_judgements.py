"""Judgements are read strictly: a score is never guessed, and what a text quotes is never taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.judgements import (
    NEGATIVE,
    Checklist,
    Criterion,
    DifferenceReport,
    EditJudgement,
    GenerationJudgement,
    JudgementError,
    Mark,
    QualityJudgement,
    contradiction,
    described,
)

LINE = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40).map(
    lambda text: " ".join(text.split())
)
NAME = LINE.filter(lambda t: t and "]" not in t and "[" not in t and t.strip().lower() != "negative constraints")
QUESTION = LINE.filter(bool)
CHECKLISTS = st.builds(
    Checklist,
    items=st.lists(
        st.builds(Criterion, name=NAME, questions=st.lists(QUESTION, min_size=1, max_size=3).map(tuple)),
        min_size=1,
        max_size=5,
    ).map(tuple),
    negative=st.lists(QUESTION, max_size=2).map(tuple),
)
PLAN = Checklist(items=(Criterion(name="Cat", questions=("Is there a cat?",)),), negative=("lettering",))


def judged(score: object) -> EditJudgement:
    return EditJudgement.model_validate_json(json.dumps({"reasoning": "r", "score": score}))


def answer(*marks: str, rating: object = 4, ending: str = "") -> str:
    lines = "\n".join(f"{n}. [x]: seen. Verdict: {mark}" for n, mark in enumerate(marks, 1))
    last = ending or f"Final Alignment Rating: {rating}\n\\boxed{{{rating}}}"
    return f"I go through the plan.\n{lines}\n\nFinal Analysis: it is so.\n\n{last}"


@pytest.mark.parametrize("score", [[4], 4, "4", 4.0, ["4"], "4.0"])
def test_one_whole_number_is_read_in_any_of_its_spellings(score: object) -> None:
    assert judged(score).value == 4.0 and judged(score).text == '{"reasoning":"r","score":[4]}'


@pytest.mark.parametrize("score", [0, 6, "4/5", "four", [4, 3], [], [[4]], {"execution": 4}, True, 4.5, None, "", -1])
def test_anything_else_is_no_score(score: object) -> None:
    with pytest.raises(ValidationError):
        judged(score)


@pytest.mark.parametrize("text", ['{"score": [4]}', '{"reasoning": "", "score": [4]}', '{"a": 1}', "4", "[4]", "null"])
def test_a_score_without_its_reasoning_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        EditJudgement.model_validate_json(text)


def test_of_three_aspects_the_least_counts() -> None:
    found = QualityJudgement(reasoning="r", aesthetics=5, technical=2, structure=4)
    assert found.value == 2.0
    with pytest.raises(ValidationError):
        QualityJudgement(reasoning="r", aesthetics=6, technical=2, structure=4)


@given(CHECKLISTS)
def test_a_printed_checklist_reads_back_as_itself(checklist: Checklist) -> None:
    assert Checklist.parse(str(checklist)) == checklist


@given(st.text(max_size=400))
def test_any_text_is_a_checklist_or_names_its_defects(text: str) -> None:
    try:
        assert Checklist.parse(text).items
    except JudgementError as error:
        assert error.defects and all(defect.endswith(".") for defect in error.defects)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no numbered item"),
        ("1. [A]:\n- a?\n3. [B]:\n- b?", "numbered 1, 2, 3"),
        ("1. [A]:\n2. [B]:\n- b?", "[A] has no question"),
        (f"1. [A]:\n- a?\n[{NEGATIVE}]:", "is empty"),
        (f"1. [A]:\n- a?\n[{NEGATIVE}]:\n- x\n2. [B]:\n- b?", "must come last"),
    ],
)
def test_a_defective_plan_says_what_to_mend(text: str, said: str) -> None:
    with pytest.raises(JudgementError, match=said.replace("[", r"\[").replace("]", r"\]")):
        Checklist.parse(text)


def test_negative_constraints_are_the_last_criterion() -> None:
    assert [criterion.name for criterion in PLAN.criteria] == ["Cat", NEGATIVE]


def test_a_judgement_is_read_with_its_marks_and_what_a_student_learns_of_it() -> None:
    found = GenerationJudgement.parse(answer("met", "not met"), PLAN)
    assert found.marks == (Mark.MET, Mark.NOT_MET) and found.rating == 4 and found.analysis == "it is so."
    assert found.unplanned.startswith("1. [x]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (answer("met"), "criteria 1 to 2"),
        (answer("met", "met", "met"), "criteria 1 to 2"),
        (answer("met", "perhaps"), "Criterion 2 has no verdict"),
        (answer("met", "not met", rating=6), "not a whole number"),
        (answer("met", "not met", rating=0), "not a whole number"),
        (answer("met", "not met", rating="4/5"), "not a whole number"),
        (answer("met", "not met", rating="four"), "not a whole number"),
        (answer("met", "not met", ending="Final Alignment Rating: 4\n\\boxed{3}"), "different ratings"),
        (answer("met", "not met", ending="Final Alignment Rating: 4\n\\boxed{4} \\boxed{2}"), "different ratings"),
        (answer("met", "not met", ending="\\boxed{4}"), "no line"),
        (answer("met", "not met", ending="Final Alignment Rating: 4"), "no rating in"),
        (answer("met", "not met", rating=5), "5 says that everything is met"),
        (answer("met", "met", rating=2), "All criteria are met"),
        (answer("not met", "not met", rating=4), "No criterion is met"),
        ("", "found none"),
    ],
)
def test_an_answer_that_is_no_judgement_says_why(text: str, said: str) -> None:
    with pytest.raises(JudgementError) as error:
        GenerationJudgement.parse(text, PLAN)
    assert said in str(error.value)


def test_a_rating_quoted_before_the_final_analysis_is_not_the_rating() -> None:
    quoted = answer("met", "not met").replace("seen.", r"the lettering reads \boxed{5}, Final Alignment Rating: 5.")
    assert GenerationJudgement.parse(quoted, PLAN).rating == 4


@given(st.integers(1, 5), st.lists(st.sampled_from(list(Mark)), min_size=1, max_size=8))
def test_every_marking_allows_some_rating_and_all_met_only_the_upper_two(rating: int, marks: list[Mark]) -> None:
    assert any(not contradiction(n, marks) for n in range(1, 6))
    if all(mark is Mark.MET for mark in marks):
        assert bool(contradiction(rating, marks)) == (rating < 4)


@given(st.text(max_size=300))
def test_any_text_is_a_judgement_or_a_defect(text: str) -> None:
    try:
        GenerationJudgement.parse(text, PLAN)
    except JudgementError as error:
        assert error.defects


def test_a_report_is_its_two_texts_one_after_the_other_and_neither_may_be_empty_or_endless() -> None:
    report = DifferenceReport(obvious="A ball went.", detailed="1. Quantity: one less.")
    assert str(report) == "Obvious Differences: A ball went.\nDetailed Differences:\n1. Quantity: one less."
    for text in ("  ", "x" * 8001):
        with pytest.raises(JudgementError):
            described(text)
