from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from annotators.offline.grammar import templates
from annotators.offline.looks import Look
from annotators.offline.showing import showings
from annotators.offline.staging import PAINTABLE_SUBTYPES, staging
from annotators.offline.writer import write_instruction
from schemas.mentions import beyond, image_mentions
from schemas.plan import Length, Naming, Plan, PlannedReference, Style
from schemas.references import Reference
from schemas.tasks import Role

Plans = Callable[[int], Iterator[Plan]]
Looks = Callable[[Plan], list[Look]]


@pytest.fixture(scope="module")
def written(plans: Plans, looks_of: Looks) -> list[tuple[Plan, str]]:
    answers = [(plan, write_instruction(plan, looks_of(plan))) for plan in plans(280)]
    return [(plan, answer.instruction) for plan, answer in answers if answer.feasible]


def test_instructions_hardly_ever_repeat(written: list[tuple[Plan, str]]) -> None:
    assert len({text for _, text in written}) >= 0.95 * len(written)
    assert {plan.task for plan, _ in written} == {
        *("add", "replace", "attribute", "scene", "subject", "subject_composition", "scene_composition")
    }


def test_a_caption_too_long_for_any_instruction_is_an_obstacle_and_no_error(plans: Plans, looks_of: Looks) -> None:
    """A pool's captions may have 20,000 characters."""
    answers = []
    for plan in plans(14):
        looks = looks_of(plan)
        wordy = plan.references[-1].reference.model_copy(update={"caption": "a " + "very " * 3990 + "red mug"})
        references = (*plan.references[:-1], plan.references[-1].model_copy(update={"reference": wordy}))
        answers.append(write_instruction(plan.model_copy(update={"references": references}), looks))
    assert any("characters" in answer.reason for answer in answers if not answer.feasible)


def test_no_template_takes_more_than_a_twentieth(written: list[tuple[Plan, str]], looks_of: Looks) -> None:
    skeletons: Counter[str] = Counter()
    for plan, text in written:
        for shown in sorted(showings(plan, looks_of(plan)), key=lambda s: -len(s.phrase.whole)):
            for words in (shown.phrase.whole, shown.phrase.whole_definite, shown.phrase.definite):
                text = text.replace(words, "X")
        text = re.sub(r"\b(?:first|second|third|fourth|\d)\b|(?:(?<=[Aa] )|(?<=an ))[\w ]+(?= backdrop)", "#", text)
        skeletons[text.split(". ")[0]] += 1
    assert max(skeletons.values()) <= 0.05 * len(written), skeletons.most_common(3)


def test_naming_is_as_the_plan_says(written: list[tuple[Plan, str]]) -> None:
    for plan, text in written:
        named = image_mentions(text)
        assert beyond([text], len(plan.references)) == []
        if plan.wording.naming is Naming.INDEX_FREE:
            assert named == set(), text
            assert " image" not in text
        else:
            stage = staging(plan)
            assert {p.image for p in stage.pasted} <= named, text
            assert {stage.ground, stage.donor} - {0} <= named, text


def test_length_and_style_are_as_the_plan_says(written: list[tuple[Plan, str]]) -> None:
    words: dict[Length, list[int]] = {length: [] for length in Length}
    openings: dict[Style, set[str]] = {style: set() for style in Style}
    for plan, text in written:
        words[plan.wording.length].append(len(text.split()))
        openings[plan.wording.style].add(text.split()[0])
    means = [sum(words[length]) / len(words[length]) for length in (Length.SHORT, Length.MEDIUM, Length.LONG)]
    assert means[0] + 8 < means[1]
    assert means[1] + 12 < means[2]
    imperatives = {"Place", "Put", "Set", "Replace", "Give", "Show", "Create", "Use", "Take", "Let", "Make"}
    assert openings[Style.INSTRUCTIVE] & imperatives
    assert not openings[Style.DESCRIPTIVE] & imperatives


def test_sentences_are_clean(written: list[tuple[Plan, str]]) -> None:
    for _, text in written:
        assert text[0].isupper()
        assert text.endswith(".")
        assert not re.search(
            r"[{}\[\]|]|\s[,.;:]|  |\.\.|,,|\bthe the\b|\ba [aeio]\w+|\b(\w+) \1\b(?<!had had)", text
        ), text
        assert all(part[0].isupper() for part in re.split(r"(?<=[a-z]\.) ", text)), text


def test_a_backdrop_is_always_named_and_a_place_is_the_staged_one(written: list[tuple[Plan, str]]) -> None:
    for plan, text in written:
        stage = staging(plan)
        if stage.backdrop:
            assert stage.backdrop.name in text.lower()
        if len(stage.pasted) == 1 and stage.action == "paste":
            others = {"left", "right"} - {stage.pasted[0].place}
            assert not any(f"on the {side}" in text for side in others), text


def test_the_same_plan_is_always_written_the_same(plans: Plans, looks_of: Looks) -> None:
    for plan in plans(14):
        assert write_instruction(plan, looks_of(plan)) == write_instruction(plan, looks_of(plan))


def test_other_languages_are_infeasible(plans: Plans, looks_of: Looks) -> None:
    plan = next(plans(1))
    chinese = plan.model_copy(update={"wording": plan.wording.model_copy(update={"language": "zh"})})
    answer = write_instruction(chinese, looks_of(chinese))
    assert not answer.feasible
    assert "English only" in answer.reason


def test_attributes_that_rules_cannot_paint_are_infeasible(plans: Plans, looks_of: Looks) -> None:
    for plan in plans(140):
        if plan.task == "attribute" and plan.subtype not in PAINTABLE_SUBTYPES:
            answer = write_instruction(plan, looks_of(plan))
            assert not answer.feasible
            assert plan.subtype in answer.reason


def test_references_of_the_wrong_kind_are_infeasible_with_a_reason(
    plans: Plans, looks_of: Looks, pool: list[Reference]
) -> None:
    scene = next(r for r in pool if r.kind.value == "scene")
    thing = next(r for r in pool if r.kind.value == "object")
    for plan in plans(7):
        if plan.task in ("attribute", "subject"):
            continue
        wrong = scene if plan.references[-1].role is not Role.SCENE else thing
        references = (*plan.references[:-1], PlannedReference(reference=wrong, role=plan.references[-1].role))
        swapped = plan.model_copy(update={"references": references})
        answer = write_instruction(swapped, looks_of(swapped))
        assert not answer.feasible, answer.instruction
        assert f"Image {len(references)} shows" in answer.reason


def test_an_eighth_task_is_written_by_its_roles(plans: Plans, looks_of: Looks) -> None:
    for plan in plans(14):
        other = plan.model_copy(update={"task": "eighth"})
        answer = write_instruction(other, looks_of(other))
        assert answer.instruction or answer.reason


def test_every_style_has_templates_for_every_action() -> None:
    for kind in ("add", "move", "compose", "studio_one", "studio_many", "replace", *PAINTABLE_SUBTYPES):
        for style in Style:
            assert len(templates("writer", kind, str(style))) >= 3
