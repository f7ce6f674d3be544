"""Prompts: with images of their own or to be painted; splits share neither a prompt nor an image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pools.prompts_file import PromptPlanner, Prompts
from pools.splits import same_text
from schemas.errors import InputError
from schemas.labels import PromptPlan
from storage.references import image_bytes

Draw = Callable[..., Path]


def listed(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def plans(path: str, cache: Path, splits: dict[str, float] | None = None, **options: Any) -> dict[str, PromptPlan]:
    made = PromptPlanner(Prompts.open(path, str(cache)), 0, splits or {"train": 1.0}, None, **options)
    found = [plan for split, count in made.planned.items() for plan in made.plans(split, range(count))]
    assert sum(made.rows.values()) == sum(plan.rows for plan in found)
    assert len({plan.id for plan in found}) == len(found)
    return {plan.input_id: plan for plan in found}


def test_real_prompts_are_planned_whole(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "t2i" / "t2i_prompts.jsonl"
    stated = {row["id"]: row["prompt"] for row in map(json.loads, source.read_text("utf-8").splitlines())}
    found = plans(str(source), tmp_path, {"train": 0.9, "test": 0.1}, paintings=2, quality=True)
    assert {id: plan.prompt for id, plan in found.items()} == {id: text.strip() for id, text in stated.items()}
    assert {(plan.problem, plan.image, plan.paintings, plan.rows) for plan in found.values()} == {("", None, 2, 4)}
    assert all(plan == PromptPlan.model_validate(plan.model_dump()) for plan in found.values())


def test_real_images_are_judged_as_they_are(test_data: Path, tmp_path: Path) -> None:
    found = plans(str(test_data / "t2i" / "t2i_images.jsonl"), tmp_path, paintings=3)
    assert len(found) == 5
    for plan in found.values():
        assert (plan.paintings, plan.rows) == (0, 1)
        assert plan.image is not None
        assert image_bytes(plan.image)


def test_what_cannot_be_used_is_planned_with_its_problem(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "a.png")
    path = listed(
        tmp_path,
        {"id": "painted", "prompt": " 一只狐狸 🦊\nin snow ", "image": None},
        {"id": "given", "prompt": "a fox", "image": "a.png"},
        {"id": "empty path", "prompt": "a fox", "image": ""},
        {"id": "again", "prompt": "a fox"},
        {"id": "same image", "prompt": "A  fox", "image": "a.png"},
        {"id": "gone", "prompt": "a fox", "image": "b.png"},
        {"id": "blank", "prompt": " \t"},
        {"id": "absent"},
        {"id": "number", "prompt": 3},
        {"id": "long", "prompt": "狐" * 20_001},
    )
    found = plans(path, tmp_path / "cache", paintings=2)
    assert {id: (plan.problem, plan.paintings) for id, plan in found.items()} == {
        "painted": ("", 2), "given": ("", 0), "empty path": ("", 2), "again": ("duplicate", 2), "same image": ("", 0),
        "gone": ("missing", 0), "blank": ("no_prompt", 2), "absent": ("no_prompt", 2), "number": ("bad_row", 2),
        "long": ("too_long", 2),
    }  # fmt: skip
    assert found["painted"].prompt == "一只狐狸 🦊\nin snow"
    assert {id for id, plan in found.items() if plan.image} == {"given", "same image"}


def test_a_list_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row has `prompt`, only text; prompts need `prompt`"):
        Prompts.open(listed(tmp_path, {"text": "a fox"}), str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"no row can be used \(1 no_prompt\); row 1"):
        Prompts.open(listed(tmp_path, {"prompt": ""}), str(tmp_path / "cache"))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.booleans()), min_size=1, max_size=16))
def test_splits_share_neither_prompt_nor_image(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int, bool]]
) -> None:
    from PIL import Image

    folder = tmp_path_factory.getbasetemp() / "prompts"
    folder.mkdir(exist_ok=True)
    for i in range(1, 4):
        if not (folder / f"{i}.png").exists():
            Image.new("RGB", (64, 64), (i, 0, 0)).save(folder / f"{i}.png")
    rows = [
        {"prompt": f" {word.upper() if loud else word}  fox", "image": f"{image}.png" if image else None}
        for word, image, loud in drawn
    ]
    found = plans(listed(folder, *rows), folder / "cache", {"train": 0.5, "test": 0.5}).values()
    seen: dict[str, str] = {}
    for plan in found:
        for key in (plan.prompt.lower(), plan.image and plan.image.sha256):
            assert seen.setdefault(key or plan.id, plan.split) == plan.split
    assert len(found) == len(rows)


def test_prompts_that_casefold_alike_are_in_one_split_and_are_one_subject() -> None:
    assert same_text(" GROSSE\n  Straße ") == same_text("große strasse")
    assert same_text("a cat") != same_text("acat")
