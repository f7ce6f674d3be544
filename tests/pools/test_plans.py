"""Plans: what is selected follows from seed, split and ordinal, and keeps the promises of its task."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pools.options import PlanOptions
from pools.plans import Planner
from pools.pool import Pool
from pools.tasks import load_tasks
from schemas.errors import InputError
from schemas.plan import Naming, Plan, Stress, Style
from schemas.references import Kind
from schemas.tasks import Role, Slot, Task

TASKS = load_tasks()


def many(kind: str, count: int, photos: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Rows of `count` subjects of one kind with `photos` photos each."""
    return [{"kind": kind, "subject": f"{kind}-{i // photos}", **more} for i in range(count * photos)]


ROWS = many("character", 40, photos=3) + many("object", 60) + many("scene", 30, photos=2)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, index_of: Callable[..., str]) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    return Pool.open(index_of(ROWS, folder / "pool.parquet"), str(folder / "cache"))


@pytest.fixture
def pool_of(tmp_path: Path, index_of: Callable[..., str]) -> Callable[[list[dict[str, Any]]], Pool]:
    return lambda rows: Pool.open(index_of(rows, tmp_path / "pool.parquet"), str(tmp_path / "cache"))


def some(pool: Pool, count: int = 400, tasks: dict[str, Task] = TASKS, **options: Any) -> list[Plan]:
    return list(Planner(pool, tasks, PlanOptions(**options)).plans("train", range(count)))


def slots_of(plan: Plan) -> list[Slot]:
    """The slot of each reference that fits one, by role (every built-in task has one slot per role)."""
    task = TASKS[plan.task]
    by_role = {slot.role: slot for slot in task.slots}
    subtype = next((s for s in task.subtypes if s.name == plan.subtype), None)
    for role, kinds in ((Role.BASE, subtype and subtype.base_kinds), (Role.DONOR, subtype and subtype.donor_kinds)):
        if kinds:
            by_role[role] = by_role[role].model_copy(update={"kinds": kinds})
    return [by_role[r.role] for r in plan.references if r.stress is not Stress.DISTRACTOR]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    ordinals=st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    most=st.integers(2, 10),
    stress=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_every_plan_keeps_the_promises_of_its_task(
    pool: Pool, seed: int, ordinals: list[int], most: int, stress: float
) -> None:
    options = PlanOptions(seed=seed, max_references=most, stress={"share": stress})
    for ordinal, plan in zip(ordinals, Planner(pool, TASKS, options).plans("train", ordinals), strict=True):
        assert (
            Plan.model_validate(plan.model_dump()) == plan and Plan.model_validate_json(plan.model_dump_json()) == plan
        )
        assert (plan.ordinal, plan.split) == (ordinal, "train")
        ids = ",".join(r.reference.id for r in plan.references)
        key = f"{plan.task}\n{ids}\n{seed}\ntrain\n{ordinal}"
        assert plan.id == sha256(key.encode()).hexdigest()[:32]
        assert len(plan.references) <= most
        assert bool(plan.subtype) == bool(TASKS[plan.task].subtypes)

        task, slots = TASKS[plan.task], slots_of(plan)
        counts = Counter(slot.role for slot in slots)
        assert all(slot.min <= counts[slot.role] <= slot.max for slot in task.slots)
        order = [slot.role for slot in task.slots]
        assert [slot.role for slot in slots] == sorted((slot.role for slot in slots), key=order.index)
        for planned, slot in zip(plan.references, slots, strict=False):
            assert (planned.reference.kind in slot.kinds) == (planned.stress is not Stress.MISMATCHED)

        images = [r.reference.id for r in plan.references]
        subjects = [r.reference.subject for r in plan.references if r.stress in (Stress.NONE, Stress.BLURRED)]
        assert len(set(images)) == len(images)
        assert len(set(subjects)) == (1 if plan.task == "subject" and subjects else len(subjects))
        strangers = [r.reference.subject for r in plan.references if r.reference.subject not in subjects]
        assert len(subjects) + len(strangers) == len(plan.references)


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 600), length=st.integers(0, 300), step=st.integers(1, 7))
def test_any_slice_equals_that_part_of_the_whole(pool: Pool, start: int, length: int, step: int) -> None:
    options = PlanOptions(seed=3, stress={"share": 0.2})
    planner, other = Planner(pool, TASKS, options), Planner(pool, TASKS, options)
    whole = list(planner.plans("train", range(900)))
    assert list(other.plans("train", range(start, start + length, step))) == whole[start : start + length : step]
    assert other.plan("train", start) == whole[start]


def test_plans_stay_what_they_are_from_version_to_version(pool: Pool) -> None:
    """Shards made in parts, or resumed after an update, rely on it: change this only with the version in run.json."""
    plans = some(pool, 300, seed=7, max_references=6, stress={"share": 0.3})
    assert (
        sha256("".join(plan.model_dump_json(exclude={"references"}) for plan in plans).encode()).hexdigest() == GOLDEN
    )


GOLDEN = "f192c844b7d9c9fc3e55cb3f199baf25158fb7c5636262a0a86c346ba5b82ff7"


def test_another_seed_or_split_gives_other_plans(pool: Pool) -> None:
    assert some(pool, 50, seed=1) != some(pool, 50, seed=2)
    planner = Planner(pool, TASKS, PlanOptions(splits={"train": 0.5, "test": 0.5}))
    assert [p.seed for p in planner.plans("train", range(50))] != [p.seed for p in planner.plans("test", range(50))]


def test_the_order_of_keys_in_a_configuration_decides_nothing(pool: Pool) -> None:
    tasks, splits = {"add": 1.0, "scene": 2.0, "subject": 1.0}, {"train": 0.8, "test": 0.2}
    there = some(pool, 60, tasks=dict(reversed(TASKS.items())), splits=dict(reversed(splits.items())))
    assert there == some(pool, 60, splits=splits)
    again = PlanOptions(tasks=dict(reversed(tasks.items())))
    here = list(Planner(pool, TASKS, PlanOptions(tasks=tasks)).plans("train", range(60)))
    assert here == list(Planner(pool, TASKS, again).plans("train", range(60)))


def test_tasks_come_in_the_measured_shares(pool: Pool) -> None:
    planner = Planner(pool, TASKS, PlanOptions())
    found = Counter(plan.task for plan in planner.plans("train", range(8000)))
    total = sum(task.share for task in TASKS.values())
    for name, task in TASKS.items():
        assert planner.weights[name] == pytest.approx(task.share / total)
        assert found[name] / 8000 == pytest.approx(task.share / total, abs=0.015)


def test_only_the_tasks_named_are_made_in_their_weights(pool: Pool) -> None:
    plans = list(
        Planner(pool, TASKS, PlanOptions(tasks={"add": 3, "scene": 1, "subject": 0})).plans("train", range(2000))
    )
    found = Counter(plan.task for plan in plans)
    assert set(found) == {"add", "scene"} and found["add"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_subtypes_follow_their_weights(pool: Pool) -> None:
    only = {s.name: 0.0 for s in TASKS["attribute"].subtypes} | {"style": 3.0, "hair": 1.0}
    options = PlanOptions(tasks={"attribute": 1}, subtypes=only)
    plans = list(Planner(pool, TASKS, options).plans("train", range(1500)))
    found = Counter(plan.subtype for plan in plans)
    assert set(found) == {"style", "hair"} and found["style"] / 1500 == pytest.approx(0.75, abs=0.04)
    for plan in plans:
        if plan.subtype == "hair":
            assert {r.reference.kind for r in plan.references} == {Kind.CHARACTER}


def test_wording_is_drawn_with_its_shares(pool: Pool) -> None:
    wording = {"style": {"descriptive": 1}, "naming": {"indexed": 1, "index_free": 3}, "focus": {"light": 1},
               "language": {"en": 1, "zh": 1}}  # fmt: skip
    plans = some(pool, 2000, wording=wording)
    assert {plan.wording.style for plan in plans} == {Style.DESCRIPTIVE}
    assert {plan.wording.focus for plan in plans} == {"light"}
    free = sum(plan.wording.naming is Naming.INDEX_FREE for plan in plans)
    assert free / 2000 == pytest.approx(0.75, abs=0.04)
    assert Counter(plan.wording.language for plan in plans)["zh"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_one_to_four_references_by_default_and_ten_on_request(pool: Pool) -> None:
    assert {len(plan.references) for plan in some(pool, 600)} == {1, 2, 3, 4}
    ten = some(pool, 1500, max_references=10)
    sizes = {name: {len(p.references) for p in ten if p.task == name} for name in TASKS}
    assert sizes["subject_composition"] == set(range(2, 11))
    assert sizes["scene_composition"] == set(range(2, 11))
    assert sizes["add"] == {2, 3} and sizes["replace"] == {2}
    assert sizes["subject"] == {1, 2, 3}  # no subject has more photos


def test_too_few_references_for_a_task_is_said(pool: Pool) -> None:
    with pytest.raises(InputError, match=r"max_references: 1 is fewer than task \w+ needs \(2\)"):
        some(pool, max_references=1)
    assert {len(p.references) for p in list(Planner(pool, TASKS, PlanOptions(tasks={"subject": 1}, max_references=1))
            .plans("train", range(20)))} == {1}  # fmt: skip


def test_photos_of_one_subject_are_never_two_subjects(pool_of: Callable[..., Pool]) -> None:
    few = pool_of(many("object", 3, photos=50) + many("scene", 1, photos=5))
    for plan in some(few, 300, max_references=10):
        subjects = [r.reference.subject for r in plan.references]
        if plan.task == "subject":
            assert len(set(subjects)) == 1 and len({r.reference.id for r in plan.references}) == len(subjects)
        else:
            assert len(set(subjects)) == len(subjects) <= 4


def test_a_subject_with_most_of_the_photos_does_not_stall_the_rest(pool_of: Callable[..., Pool]) -> None:
    skewed = pool_of([*many("object", 1, photos=2000), {"kind": "object", "subject": "rare"}])
    options = PlanOptions(tasks={"subject_composition": 1})
    for plan in Planner(skewed, TASKS, options).plans("train", range(50)):
        assert {r.reference.subject for r in plan.references} == {"object-0", "rare"}


def test_a_pool_with_just_enough_is_enough(pool_of: Callable[..., Pool]) -> None:
    least = pool_of(many("object", 2) + many("scene", 1))
    tasks = {name: 1.0 for name in TASKS if name != "attribute"}
    plans = list(Planner(least, TASKS, PlanOptions(tasks=tasks)).plans("train", range(200)))
    assert {plan.task for plan in plans} == set(tasks)


def test_a_missing_kind_is_one_line_with_the_mend(pool_of: Callable[..., Pool]) -> None:
    no_scenes = pool_of(many("object", 5) + many("character", 5))
    with pytest.raises(InputError) as caught:
        some(no_scenes)
    assert "split train has 0 subjects of kind scene and task add needs 1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert some(no_scenes, 10, tasks={n: TASKS[n] for n in ("replace", "subject")})


def test_subtypes_the_pool_cannot_fill_are_left_out_unless_asked_for(pool_of: Callable[..., Pool]) -> None:
    no_characters = pool_of(many("object", 5) + many("scene", 5))
    planner = Planner(no_characters, TASKS, PlanOptions(tasks={"attribute": 1}))
    assert planner.left_out["train"] == [f"attribute.{n}" for n in ("pose", "hair", "makeup", "expression")]
    assert "hair" not in {plan.subtype for plan in planner.plans("train", range(300))}
    with pytest.raises(InputError, match=r"character and task attribute \(hair\)"):
        Planner(no_characters, TASKS, PlanOptions(tasks={"attribute": 1}, subtypes={"hair": 1}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tasks": {"ad": 1}}, "tasks: there is no task 'ad'"),
        ({"subtypes": {"hat": 1}}, "subtypes: there is no sub-type 'hat'"),
        ({"licenses": ["MIT"]}, "licenses: the allow-list leaves no image"),
        ({"persons": ["consented"]}, "persons: the allow-list leaves no image"),
        ({"tasks": {"attribute": 1}, "subtypes": {s.name: 0 for s in TASKS["attribute"].subtypes}}, "weight 0"),
    ],
)
def test_options_that_fit_nothing_are_one_line(pool: Pool, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Planner(pool, TASKS, PlanOptions(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"sed": 1}, {"tasks": {"add": -1}}, {"tasks": {"add": 0}}, {"tasks": {"add": float("inf")}},
        {"max_references": 0}, {"max_references": 11}, {"splits": {}}, {"splits": {"train": 0}}, {"splits": {"a/b": 1}},
        {"stress": {"share": 2}}, {"stress": {"kinds": ["none"]}}, {"stress": {"kinds": []}},
        {"stress": {"kinds": ["blurred", "blurred"]}}, {"wording": {"style": {"poetic": 1}}},
        {"wording": {"language": {"English please": 1}}}, {"wording": {"focus": {}}},
        {"wording": {"focus": {"a\nb": 1}}}, {"persons": ["me"]},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        PlanOptions(**options)


def test_an_unknown_split_or_a_negative_ordinal_is_refused(pool: Pool) -> None:
    planner = Planner(pool, TASKS, PlanOptions())
    with pytest.raises(InputError, match="no split 'test'"):
        planner.plan("test", 0)
    with pytest.raises(ValueError, match="-1"):
        planner.plan("train", -1)


def test_a_subject_belongs_to_one_split_whatever_the_seed(pool: Pool) -> None:
    seen: dict[str, set[str]] = {"train": set(), "test": set()}
    for seed in (1, 2):
        planner = Planner(pool, TASKS, PlanOptions(seed=seed, splits={"train": 0.7, "test": 0.3}))
        for split, subjects in seen.items():
            plans = list(planner.plans(split, range(400)))
            assert [plan.ordinal for plan in plans] == list(range(400))
            subjects |= {r.reference.subject for plan in plans for r in plan.references}
    assert not seen["train"] & seen["test"]
    everyone = len(seen["train"]) + len(seen["test"])
    assert everyone == 130 and 0.15 < len(seen["test"]) / everyone < 0.45


def test_a_split_too_small_for_the_tasks_is_said(pool: Pool) -> None:
    with pytest.raises(InputError, match=r"split test has .* give the split a larger share"):
        Planner(pool, TASKS, PlanOptions(splits={"train": 0.999, "test": 0.001}))


def test_allow_lists_filter_before_selection(pool_of: Callable[..., Pool]) -> None:
    rows = many("object", 20, license="CC-BY-4.0 (MagicBrush)") + many("object", 20, license="CC-BY-NC-4.0")
    rows += [{"kind": "scene", "person": "unknown"}, {"kind": "scene", "person": "none"}]
    for i, row in enumerate(rows):
        row["subject"] = str(i)
    mixed = pool_of(rows)
    tasks = {"subject": 1.0, "scene": 1.0}
    plans = Planner(mixed, TASKS, PlanOptions(tasks=tasks, licenses=("cc-by-4.0*", "CC0-1.0"), persons=("none",)))
    used = [r.reference for plan in plans.plans("train", range(200)) for r in plan.references]
    assert {r.license for r in used} == {"CC-BY-4.0 (MagicBrush)", "CC0-1.0"}
    assert {r.person for r in used} == {"none"}


def test_identifiable_persons_are_left_out_unless_the_config_names_them(pool_of: Callable[..., Pool]) -> None:
    words = ("none", "unknown", "identifiable", "consented", "synthetic")
    rows = [{"kind": "scene", "subject": f"{word}-{i}", "person": word} for word in words for i in range(4)]
    pool = pool_of([*rows, *many("object", 4)])

    def drawn(**options: Any) -> set[str]:
        planner = Planner(pool, TASKS, PlanOptions(tasks={"scene": 1}, **options))
        return {str(r.reference.person) for plan in planner.plans("train", range(300)) for r in plan.references}

    assert drawn() == set(words) - {"identifiable"}
    assert drawn(persons=["identifiable", "none"]) == {"identifiable", "none"}


def test_a_pool_of_nothing_but_identifiable_persons_is_one_line(pool_of: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match=r"persons: .* leaves no image .* 'identifiable'"):
        Planner(pool_of(many("scene", 4, person="identifiable")), TASKS, PlanOptions(tasks={"scene": 1}))


def test_stress_comes_in_its_share_and_is_labelled(pool: Pool) -> None:
    plans = some(pool, 3000, stress={"share": 0.3})
    found = Counter(plan.stress for plan in plans)
    assert found[Stress.NONE] / 3000 == pytest.approx(0.7, abs=0.03)
    for kind in (Stress.BLURRED, Stress.MISMATCHED, Stress.DISTRACTOR):
        assert found[kind] / 3000 == pytest.approx(0.1, abs=0.03)
    for plan in plans:
        labels = [r.stress for r in plan.references if r.stress is not Stress.NONE]
        assert labels == ([] if plan.stress is Stress.NONE else [plan.stress])
        if plan.stress is Stress.DISTRACTOR:
            assert plan.references[-1].stress is Stress.DISTRACTOR and plan.references[-1].role is Role.DONOR
        if plan.stress is Stress.MISMATCHED:
            assert all(r.role is not Role.BASE for r in plan.references if r.stress is Stress.MISMATCHED)


def test_a_defect_that_a_task_cannot_have_gives_way_to_one_that_it_can(pool: Pool) -> None:
    options = PlanOptions(
        tasks={"replace": 1}, max_references=2, stress={"share": 1, "kinds": ["distractor", "blurred"]}
    )
    plans = Planner(pool, TASKS, options).plans("train", range(60))
    assert {plan.stress for plan in plans} == {Stress.BLURRED}
    options = PlanOptions(tasks={"replace": 1}, max_references=2, stress={"share": 1, "kinds": ["distractor"]})
    assert {plan.stress for plan in Planner(pool, TASKS, options).plans("train", range(60))} == {Stress.NONE}


def test_an_eighth_task_from_a_file_is_planned(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("""
tasks:
  swap_places:
    family: generation
    share: 1.0
    definition: Show the second character where the first one was.
    slots:
      - {role: subject, kinds: [character], min: 2, max: 3}
      - {role: donor, kinds: [object], min: 0, max: 2}
      - {role: scene, kinds: [scene]}
""")
    planner = Planner(pool, load_tasks(str(file)), PlanOptions(max_references=6))
    eighth = [plan for plan in planner.plans("train", range(1500)) if plan.task == "swap_places"]
    assert len(eighth) / 1500 == pytest.approx(0.5, abs=0.05)
    shapes = {tuple(str(r.role) for r in plan.references) for plan in eighth}
    assert ("subject", "subject", "scene") in shapes
    assert ("subject", "subject", "subject", "donor", "donor", "scene") in shapes
    assert all(Plan.model_validate(plan.model_dump()) == plan for plan in eighth)


def test_a_planner_that_was_pickled_plans_the_same(pool: Pool) -> None:
    planner = Planner(pool, TASKS, PlanOptions(seed=5))
    again = pickle.loads(pickle.dumps(planner))
    plans = list(again.plans("train", range(100)))
    assert plans == list(planner.plans("train", range(100)))
    assert pickle.loads(pickle.dumps(plans[0])) == plans[0] == plans[0].model_copy(deep=True)
    assert hash(plans[0]) == hash(Plan.model_validate(plans[0].model_dump()))


def test_weights_of_sub_types_may_stay_when_their_task_is_left_out(pool: Pool) -> None:
    Planner(pool, load_tasks(), PlanOptions(tasks={"subject": 1}, subtypes={"hair": 0, "tone": 1}))
