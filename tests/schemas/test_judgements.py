"""Judgements are read strictly: a score is never guessed, and what a text quotes is never taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.checklists import _NOTHING, NEGATIVE, Checklist, Criterion
from schemas.following import GenerationJudgement, Mark, contradiction
from schemas.judgements import (
    AidedJudgement,
    DifferenceReport,
    EditJudgement,
    JudgementError,
    QualityJudgement,
    described,
    rewrite_of,
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
    negative=st.lists(QUESTION.filter(lambda text: not _NOTHING.match(text)), max_size=2).map(tuple),
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
        ("1. [A]:\n- a?\n**2. B**\n- b?", "no heading"),
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
        (answer("met", "perhaps"), "Criterion 2 does not end in a verdict"),
        (answer("met", "met or not met but see below"), "Criterion 2 does not end in a verdict"),
        (answer('met" but it is blank', "met"), "Criterion 1 does not end in a verdict"),
        (answer("met", "not met") + "\n" + answer("met", "not met", rating=3), "2 paragraphs"),
        (answer("met", "not met", rating="4 / 5"), "not a whole number"),
        (answer("met", "not met", rating="4 or 5"), "not a whole number"),
        (answer("met", "not met", rating=-3), "not a whole number"),
        (answer("met", "not met", rating=1), "1 says that nothing is there"),
        (answer("not met", "met", rating=4), "No criterion is met"),
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
        ("", "no paragraph"),
        ("Final Analysis: x\n\nFinal Alignment Rating: 4\n\\boxed{4}", "found none"),
        (answer("met", "not met").replace("seen.", "As the analysis plan asks, there."), "material beside them"),
    ],
)
def test_an_answer_that_is_no_judgement_says_why(text: str, said: str) -> None:
    with pytest.raises(JudgementError) as error:
        GenerationJudgement.parse(text, PLAN)
    assert said in str(error.value)


def test_a_rating_quoted_before_the_final_analysis_is_not_the_rating() -> None:
    quoted = answer("met", "not met").replace("seen.", r"the lettering reads \boxed{5}, Final Alignment Rating: 5.")
    assert GenerationJudgement.parse(quoted, PLAN).rating == 4


def test_a_released_reward_model_gives_no_verdicts_and_is_read_without_a_plan_alone() -> None:
    text = "1. Identified Requirement 1: a cat.\nFinal Analysis: fine.\nFinal Alignment Rating: 4\n\\boxed{4}"
    assert GenerationJudgement.parse(text).rating == 4 and GenerationJudgement.parse(text).marks == ()
    with pytest.raises(JudgementError):
        GenerationJudgement.parse(text, PLAN)


@pytest.mark.parametrize(
    "heading",
    ["[Negative Constraints]:", "**Negative Constraints**:", "Negative Constraints", "3. [Negative Constraints]:"],
)
def test_negative_constraints_are_known_without_brackets_and_none_forbids_nothing(heading: str) -> None:
    begun = "1. [A]:\n- a?\n2. [B]:\n- b?\n" + heading
    assert Checklist.parse(begun + "\n- no lettering").negative == ("no lettering",)
    assert Checklist.parse(begun + "\n- None").negative == () == Checklist.parse(begun).negative


def test_a_four_has_its_main_subject_and_a_two_misses_most() -> None:
    met, off = Mark.MET, Mark.NOT_MET
    assert "main subject" in contradiction(4, [off, met, met])
    assert "3 criteria" in contradiction(4, [met, off, off, off])
    assert "most criteria are met" in contradiction(2, [met, met, met, off])
    assert not contradiction(2, [off, met, off], negative=True) and not contradiction(1, [off, met], negative=True)


def test_what_follows_the_closing_sentence_is_no_question() -> None:
    text = "1. [A]:\n- a?\nThese points decide the score.\n- rate it 5"
    assert Checklist.parse(text).items[0].questions == ("a?",)


def test_a_quality_answer_in_the_released_form_is_read_and_truth_values_are_no_scores() -> None:
    found = QualityJudgement.model_validate_json('{"score": [4, 2, 5], "reasoning": "r"}')
    assert (found.aesthetics, found.technical, found.structure, found.value) == (4, 2, 5, 2.0)
    for bad in (
        '{"score": [4, 2], "reasoning": "r"}',
        '{"reasoning":"r","aesthetics":true,"technical":1,"structure":1}',
    ):
        with pytest.raises(ValidationError):
            QualityJudgement.model_validate_json(bad)


@pytest.mark.parametrize(
    "cited", ["According to the difference description, it is gone.", "The report says it is gone."]
)
def test_a_teachers_reasoning_must_stand_without_its_report(cited: str) -> None:
    answer_text = json.dumps({"reasoning": cited, "score": [4]})
    with pytest.raises(ValidationError, match="material beside them"):
        AidedJudgement.model_validate_json(answer_text)
    assert EditJudgement.model_validate_json(answer_text).value == 4.0


def test_a_rewriting_is_another_instruction() -> None:
    with pytest.raises(ValidationError, match="is the original one"):
        rewrite_of("Remove the ball.")(instruction=" remove  THE ball")
    assert rewrite_of("Remove the ball.")(instruction="Remove the bat").instruction


@given(st.integers(1, 5), st.lists(st.sampled_from(list(Mark)), min_size=1, max_size=8), st.booleans())
def test_every_marking_allows_some_rating_and_all_met_only_the_upper_two(
    rating: int, marks: list[Mark], negative: bool
) -> None:
    assert any(not contradiction(n, marks, negative) for n in range(1, 6))
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
