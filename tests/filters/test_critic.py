"""The critic as a filter: what it asks, what it stores, what it rejects, and what it leaves alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from annotators.critics import EditCritic
from annotators.errors import Failure
from filters.config import FiltersConfig, build, shaping
from filters.critic import CriticConfig, CriticFilter
from prompts.catalogue import Catalogue
from schemas.draft import Draft, ErrorClass, Reasoning, Rejection, Source
from schemas.iccot import ICCoT
from schemas.plan import Plan, PlannedReference
from schemas.references import Kind, Reference
from schemas.tasks import Role
from schemas.usage import Usage
from tests.pipelines.firm_made import REPORT, FakeModels, failure, image


def draft(role: Role) -> Draft:
    reference = Reference(
        **image("base").model_dump(), id=image("base").sha256, kind=Kind.SCENE, caption="", subject="s"
    )
    plan = Plan(
        id="c" * 32, ordinal=4, seed=1, task="add", references=(PlannedReference(reference=reference, role=role),)
    )
    thought = ICCoT(out_caption="A ball.", relations=("The wall is from image_1.",))
    return Draft(
        plan=plan,
        instruction="Add a ball",
        prompt="<image_1> Add a ball",
        reasonings=(Reasoning(iccot=thought),),
        target=image("target"),
        scores={"clip_text": 0.3},
        provenance={"painter": Source(model="p")},
        usage={"p": Usage(calls=1, usd=0.5)},
    )


def judged(execution: int, consistency: int, role: Role = Role.BASE) -> tuple[Draft | Rejection, FakeModels]:
    models = FakeModels(
        {
            **REPORT,
            "firm/execution": f'{{"reasoning": "r", "score": [{execution}]}}',
            "firm/consistency": f'{{"reasoning": "r", "score": [{consistency}]}}',
        }
    )
    critic = CriticFilter(CriticConfig(min_execution=3, min_consistency=4), EditCritic(Catalogue()))
    return asyncio.run(critic(draft(role), models)), models  # type: ignore[arg-type]


def test_the_judge_sees_the_images_that_the_instruction_numbers_and_none_is_the_edited_one() -> None:
    donor = Reference(
        **image("donor").model_dump(), id=image("donor").sha256, kind=Kind.OBJECT, caption="", subject="d"
    )
    one = draft(Role.BASE)
    plan = one.plan.model_copy(
        update={"references": (*one.plan.references, PlannedReference(reference=donor, role=Role.DONOR))}
    )
    thought = ICCoT(out_caption="A ball.", relations=("The wall is from image_1.", "The ball is from image_2."))
    asked = Draft(
        **{
            **dict(one),
            "plan": plan,
            "instruction": "Put the ball of image 2 there",
            "prompt": "<image_1> <image_2> x",
            "reasonings": (Reasoning(iccot=thought),),
        }
    )
    answers = {**REPORT, **{f"firm/{d}": '{"reasoning": "r", "score": [5]}' for d in ("execution", "consistency")}}
    models = FakeModels(answers)
    asyncio.run(CriticFilter(CriticConfig(), EditCritic(Catalogue()))(asked, models))  # type: ignore[arg-type]
    images = {id: count for id, _, count in models.shown}
    assert images == {"firm/obvious": 2, "firm/detailed": 2, "firm/execution": 3, "firm/consistency": 3}
    assert all("None of them is the edited one" in text for id, text, n in models.shown if n == 3)


def test_a_good_edit_keeps_its_scores_its_sources_and_what_both_steps_cost() -> None:
    kept, models = judged(3, 4)
    assert isinstance(kept, Draft)
    assert kept.scores == {"clip_text": 0.3, "critic_execution": 3.0, "critic_consistency": 4.0}
    assert {"painter", "describer", "execution", "consistency"} == set(kept.provenance)
    assert sum(u.usd for u in kept.usage.values()) == pytest.approx(0.5 + models.usage["m"].usd)
    assert next(facts.pair.source.sha256 for _, facts in models.asked if facts.pair) == image("base").sha256


@pytest.mark.parametrize(("scores", "reason"), [((2, 5), "critic_execution"), ((5, 3), "critic_consistency")])
def test_an_edit_below_a_limit_is_rejected_with_its_draft(scores: tuple[int, int], reason: str) -> None:
    lost, _ = judged(*scores)
    assert isinstance(lost, Rejection) and lost.reason == reason and lost.stage == "judge"
    assert lost.error_class is ErrorClass.FILTERED and lost.draft is not None
    assert lost.draft.scores[reason] == lost.scores[reason] and lost.ordinal == 4


def test_a_sample_without_an_image_to_edit_is_asked_about_nothing() -> None:
    kept, models = judged(1, 1, Role.SUBJECT)
    assert kept == draft(Role.SUBJECT) and not models.asked


def test_a_critic_without_an_answer_is_a_failure_whose_rejection_keeps_the_draft() -> None:
    critic = CriticFilter(CriticConfig(), EditCritic(Catalogue()))
    with pytest.raises(Failure) as error:
        asyncio.run(critic(draft(Role.BASE), FakeModels({**REPORT, "firm/obvious": failure("describer")})))  # type: ignore[arg-type]
    lost = error.value.rejection(draft(Role.BASE))
    assert lost.draft == draft(Role.BASE) and lost.scores == {"clip_text": 0.3} and lost.task == "add"


def test_its_limits_shape_the_run_and_without_it_the_digest_is_as_before() -> None:
    without: Any = FiltersConfig()
    assert "critic" not in shaping(without)
    digests = {build(FiltersConfig(critic=CriticConfig(min_execution=n))).digest for n in (2, 3)}
    assert len(digests | {build(without).digest}) == 3
    assert build(FiltersConfig(critic=CriticConfig())).score_names == ("critic_execution", "critic_consistency")
