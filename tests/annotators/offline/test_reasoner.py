from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from annotators.offline.looks import Look
from annotators.offline.reasoner import reason
from annotators.offline.showing import showings, surroundings
from annotators.offline.staging import staging
from annotators.offline.writer import write_instruction
from schemas.iccot import ICCoT
from schemas.mentions import image_mentions
from schemas.plan import Plan, PlannedReference, Stress
from schemas.references import Reference
from schemas.tasks import Role

Plans = Callable[[int], Iterator[Plan]]
Looks = Callable[[Plan], list[Look]]
FOCI = ("colour", "material", "light", "layout", "details", "background")


@pytest.fixture(scope="module")
def reasoned(plans: Plans, looks_of: Looks) -> list[tuple[Plan, list[Look], list[ICCoT]]]:
    """Four draws for each plan that is feasible."""
    found = []
    for plan in plans(105):
        looks = looks_of(plan)
        answer = write_instruction(plan, looks)
        if answer.feasible:
            texts = [reason(plan, answer.instruction, looks, k, FOCI[k]) for k in range(4)]
            found.append((plan, looks, [ICCoT.parse(text, len(plan.references)) for text in texts]))
    return found


def test_captions_stand_alone(reasoned: list[tuple[Plan, list[Look], list[ICCoT]]]) -> None:
    for plan, _, thoughts in reasoned:
        for thought in thoughts:
            caption = thought.out_caption
            assert image_mentions(caption) == set()
            assert not re.search(r"\bimage|reference|[{}\[\]|]|\s[,.]|  |\.\.|\bthe the\b|\ba [aeio]\w+", caption), (
                caption
            )
            assert caption[0].isupper()
            assert caption.endswith(".")
            assert len(caption.split()) <= 60, (plan.task, caption)


def test_every_relation_names_something_of_its_own_reference(
    reasoned: list[tuple[Plan, list[Look], list[ICCoT]]],
) -> None:
    for plan, looks, thoughts in reasoned:
        stage = staging(plan)
        for shown in showings(plan, looks):
            for thought in thoughts:
                relation = thought.relations[shown.image - 1]
                assert image_mentions(relation) == {shown.image}
                own = [shown.phrase.noun, surroundings(shown).removeprefix("the "), shown.phrase.definite[4:]]
                assert any(words and words in relation for words in own), (relation, own)
                kept = (stage.action == "paste" and shown.role is Role.BASE) or shown.image == stage.ground == 1
                assert not kept or "consistent with" in relation


def test_captions_name_what_is_pasted_and_the_backdrop(reasoned: list[tuple[Plan, list[Look], list[ICCoT]]]) -> None:
    for plan, looks, thoughts in reasoned:
        stage, shown = staging(plan), showings(plan, looks)
        for thought in thoughts:
            caption = thought.out_caption
            assert all(shown[p.image - 1].phrase.noun.lower() in caption.lower() for p in stage.pasted), caption
            assert stage.backdrop is None or stage.backdrop.name in caption
            if len(stage.pasted) == 1 and stage.action == "paste":
                assert not any(f"on the {side}" in caption for side in {"left", "right"} - {stage.pasted[0].place})


def test_draws_of_one_sample_differ(reasoned: list[tuple[Plan, list[Look], list[ICCoT]]]) -> None:
    distinct = [len({str(t) for t in thoughts}) for _, _, thoughts in reasoned]
    assert sum(distinct) >= 3.8 * len(distinct)
    captions = [len({t.out_caption for t in thoughts}) for _, _, thoughts in reasoned]
    assert sum(captions) >= 3 * len(captions)


def test_a_draw_is_the_same_each_time(plans: Plans, looks_of: Looks) -> None:
    for plan in plans(7):
        looks = looks_of(plan)
        if write_instruction(plan, looks).feasible:
            assert reason(plan, "x", looks, 2, "light") == reason(plan, "x", looks, 2, "light")


def test_a_distractor_is_said_to_be_left_out(plans: Plans, looks_of: Looks, pool: list[Reference]) -> None:
    plan = next(p for p in plans(7) if p.task == "subject_composition")
    extra = PlannedReference(reference=pool[-1], role=Role.SUBJECT, stress=Stress.DISTRACTOR)
    plan = plan.model_copy(update={"references": (*plan.references, extra)})
    count = len(plan.references)
    looks = looks_of(plan)
    noun = showings(plan, looks)[-1].phrase.noun
    thought = ICCoT.parse(reason(plan, "x", looks, 0, "colour"), count)
    assert noun in thought.relations[-1]
    assert noun not in thought.out_caption
    assert "no part" in thought.relations[-1] or "out of the picture" in thought.relations[-1]
    assert noun not in write_instruction(plan, looks).instruction


def test_an_unknown_focus_is_no_error(plans: Plans, looks_of: Looks) -> None:
    plan = next(plans(1))
    ICCoT.parse(reason(plan, "x", looks_of(plan), 0, "smell"), len(plan.references))
