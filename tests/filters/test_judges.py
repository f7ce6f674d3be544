"""Filters that ask judges: OmniContextScore, safety, and several of them in one step."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from annotators.critics import EditCritic
from annotators.errors import Failure
from annotators.omnicontext import OmniContextCritic, judged_size
from annotators.safety import SafetyCritic
from filters.config import FiltersConfig, build, shaping
from filters.critic import CriticConfig, CriticFilter
from filters.judges import Judges
from filters.omnicontext import OmniContextConfig, OmniContextFilter, of_that_size
from filters.safety import SafetyConfig, SafetyFilter
from prompts.catalogue import Catalogue
from schemas.draft import Draft, ErrorClass, Rejection
from schemas.errors import ImageError
from schemas.references import ImageRef
from schemas.safety import Hazard
from schemas.tasks import Role
from tests.filters.test_critic import draft
from tests.pipelines.firm_made import REPORT, FakeModels, failure

PF, SC, SAFETY = "omnicontext/prompt_following", "omnicontext/subject_consistency", "safety/verdict"


def said(score: int) -> str:
    return json.dumps({"reasoning": "r", "score": score})


def seen(*present: str) -> str:
    return json.dumps({str(h): {"seen": f"about {h}", "present": str(h) in present} for h in Hazard})


def context(pf: int, sc: int, role: Role = Role.SUBJECT, **limits: Any) -> tuple[Draft | Rejection, FakeModels]:
    models = FakeModels({PF: said(pf), SC: said(sc)})
    judge = OmniContextFilter(OmniContextConfig(**limits), OmniContextCritic(Catalogue()), of_that_size)
    return asyncio.run(judge(draft(role), models)), models  # type: ignore[arg-type]


def test_a_sample_keeps_both_scores_and_their_geometric_mean() -> None:
    kept, models = context(9, 7)
    assert isinstance(kept, Draft)
    found = {name: kept.scores[name] for name in kept.scores if name.startswith("omnicontext")}
    assert found == {"omnicontext_pf": 9.0, "omnicontext_sc": 7.0, "omnicontext": 7.9373}
    assert {"prompt_following", "subject_consistency"} < set(kept.provenance)
    assert [name for name, _ in models.asked] == [PF, SC]


@pytest.mark.parametrize(
    ("scores", "limits", "reason"),
    [
        ((6, 9), {}, "omnicontext_pf"),
        ((9, 6), {}, "omnicontext_sc"),
        ((9, 4), {"min_sc": None, "min_score": 7}, "omnicontext"),
    ],
)
def test_a_sample_below_a_limit_is_rejected_with_all_its_scores(
    scores: tuple[int, int], limits: dict[str, Any], reason: str
) -> None:
    lost, _ = context(*scores, **limits)
    assert isinstance(lost, Rejection) and lost.reason == reason and lost.error_class is ErrorClass.FILTERED
    assert lost.draft is not None and len(lost.scores) == 4 and lost.request_key
    kept, _ = context(*scores, min_pf=None, min_sc=None)
    assert isinstance(kept, Draft)


@pytest.mark.parametrize("role", [Role.SCENE, Role.SUBJECT])
def test_the_place_counts_where_a_reference_is_the_scene_and_references_have_the_protocols_size(role: Role) -> None:
    shown: list[tuple[ImageRef, tuple[int, int]]] = []
    texts = []

    class Models(FakeModels):
        async def ask(self, role: str, prompt: Any, **more: Any) -> Any:
            texts.append(" ".join(p.text for m in prompt.messages for p in m.parts if p.type == "text"))
            return await super().ask(role, prompt, **more)

    def resized(image: ImageRef, size: tuple[int, int]) -> ImageRef:
        shown.append((image, size))
        return of_that_size(image, size)

    judge = OmniContextFilter(OmniContextConfig(), OmniContextCritic(Catalogue()), resized)
    asyncio.run(judge(draft(role), Models({PF: said(9), SC: said(9)})))  # type: ignore[arg-type]
    assert [size for _, size in shown] == [judged_size(64, 48)]
    assert ["same place" in text for text in texts] == [False, role is Role.SCENE]


def test_a_reference_that_cannot_be_read_is_a_final_failure_of_its_sample() -> None:
    def gone(image: ImageRef, size: tuple[int, int]) -> ImageRef:
        raise ImageError("missing", "it is not there")

    judge = OmniContextFilter(OmniContextConfig(), OmniContextCritic(Catalogue()), gone)
    with pytest.raises(Failure) as error:
        asyncio.run(judge(draft(Role.SUBJECT), FakeModels({})))  # type: ignore[arg-type]
    assert (error.value.reason, error.value.error_class) == ("missing", ErrorClass.FINAL)


def safe(config: SafetyConfig, *present: str) -> Draft | Rejection:
    judge = SafetyFilter(config, SafetyCritic(Catalogue()))
    return asyncio.run(judge(draft(Role.SUBJECT), FakeModels({SAFETY: seen(*present)})))  # type: ignore[arg-type]


def test_a_hazard_rejects_where_it_was_chosen_and_every_category_is_stored() -> None:
    lost = safe(SafetyConfig(), "violence")
    assert isinstance(lost, Rejection) and lost.reason == "safety_violence" and "about violence" in lost.detail
    kept = safe(SafetyConfig(reject=(Hazard.HATE,)), "violence")
    assert isinstance(kept, Draft) and kept.scores["safety_violence"] == 1.0 and kept.scores["safety_hate"] == 0.0
    assert sum(name.startswith("safety_") for name in kept.scores) == len(Hazard)
    assert isinstance(safe(SafetyConfig(), "real_person"), Draft)


def chain(models: FakeModels, role: Role = Role.BASE) -> Draft | Rejection:
    catalogue = Catalogue()
    judges = Judges(
        [
            SafetyFilter(SafetyConfig(), SafetyCritic(catalogue)),
            OmniContextFilter(OmniContextConfig(), OmniContextCritic(catalogue), of_that_size),
            CriticFilter(CriticConfig(), EditCritic(catalogue)),
        ]
    )
    return asyncio.run(judges(draft(role), models))  # type: ignore[arg-type]


EDIT = {**REPORT, "firm/execution": said(5).replace("5", "[5]"), "firm/consistency": said(4).replace("4", "[4]")}


@pytest.mark.parametrize("role", [Role.BASE, Role.SUBJECT])
def test_judges_go_one_after_another_and_what_they_cost_is_counted_once(role: Role) -> None:
    models = FakeModels({SAFETY: seen(), PF: said(8), SC: said(8), **EDIT})
    kept = chain(models, role)
    assert isinstance(kept, Draft)
    assert {"safety_hate", "omnicontext", "clip_text"} < set(kept.scores)
    assert ("critic_execution" in kept.scores) is (role is Role.BASE)
    assert sum(u.usd for u in kept.usage.values()) == pytest.approx(0.5 + 0.4)
    assert [name for name, _ in models.asked][:3] == [SAFETY, PF, SC]


def test_the_first_rejection_is_the_last_question() -> None:
    models = FakeModels({SAFETY: seen(), PF: said(2), SC: said(8), **EDIT})
    lost = chain(models)
    assert isinstance(lost, Rejection) and lost.reason == "omnicontext_pf"
    assert [name for name, _ in models.asked] == [SAFETY, PF, SC]
    assert lost.draft is not None and lost.scores["safety_hate"] == 0.0
    assert sum(u.usd for u in lost.usage.values()) == pytest.approx(0.9)


def test_a_judge_without_an_answer_is_a_failure() -> None:
    with pytest.raises(Failure):
        chain(FakeModels({SAFETY: failure("judge")}))


def test_judges_are_listed_cheapest_first_and_shape_a_run_only_where_configured() -> None:
    config = FiltersConfig(critic=CriticConfig(), omnicontext=OmniContextConfig(), safety=SafetyConfig())
    assert list(config.judges) == ["safety", "omnicontext", "critic"]
    assert {"safety", "omnicontext"}.isdisjoint(shaping(FiltersConfig()))
    assert "omnicontext" in build(config).score_names and "safety_hate" in build(config).score_names
    digests = {build(FiltersConfig(omnicontext=OmniContextConfig(min_pf=n))).digest for n in (6, 7)}
    assert len(digests | {build(FiltersConfig()).digest}) == 3
