"""Tasks are data: the seven of the paper, and whatever a user's file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pools.tasks import load_tasks
from schemas.errors import InputError
from schemas.references import Kind
from schemas.tasks import Family, Role

SEVEN = ["add", "replace", "attribute", "scene", "subject", "subject_composition", "scene_composition"]
MEASURED = [0.150, 0.136, 0.147, 0.138, 0.143, 0.157, 0.120]

EIGHTH = """
tasks:
  compare:
    family: generation
    share: 0.05
    definition: Show both subjects side by side.
    slots:
      - {role: subject, kinds: [character], min: 2, max: 2}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "tasks.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_seven_tasks_have_the_measured_shares() -> None:
    tasks = load_tasks()
    assert list(tasks) == SEVEN
    assert [task.share for task in tasks.values()] == MEASURED
    assert all(task.definition.endswith(".") and len(task.definition) > 40 for task in tasks.values())


def test_every_editing_task_begins_with_the_image_to_edit() -> None:
    for task in load_tasks().values():
        assert (task.slots[0].role is Role.BASE) == (task.family is Family.EDITING)


def test_attribute_has_its_twelve_subtypes_with_scopes() -> None:
    by_scope: dict[str, set[str]] = {"global": set(), "local": set()}
    for subtype in load_tasks()["attribute"].subtypes:
        by_scope[subtype.scope].add(subtype.name)
    assert by_scope["global"] == {"style", "light", "tone", "pose", "design"}
    assert by_scope["local"] == {"material", "pattern", "font", "hair", "makeup", "expression", "texture"}


def test_a_file_adds_an_eighth_task_and_keeps_the_seven(tmp_path: Path) -> None:
    tasks = load_tasks(write(tmp_path, EIGHTH))
    assert list(tasks) == [*SEVEN, "compare"]
    assert tasks["compare"].slots[0].kinds == (Kind.CHARACTER,)


def test_a_file_may_change_one_task_or_replace_all(tmp_path: Path) -> None:
    changed = load_tasks(write(tmp_path, EIGHTH.replace("compare", "add")))
    assert list(changed) == SEVEN and changed["add"].share == 0.05
    assert list(load_tasks(write(tmp_path, "replace: true" + EIGHTH))) == ["compare"]


def test_what_one_file_adds_does_not_leak_into_the_built_in_tasks(tmp_path: Path) -> None:
    load_tasks(write(tmp_path, EIGHTH)).clear()
    assert list(load_tasks()) == SEVEN


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (EIGHTH.replace("role:", "rolle:"), "tasks.compare.slots.0"),
        (EIGHTH.replace("kinds: [character]", "kinds: [hero]"), "tasks.compare.slots.0.kinds.0"),
        (EIGHTH.replace("min: 2", "min: 3"), "min 3 is above max 2"),
        (EIGHTH.replace("share: 0.05", "share: a lot"), "tasks.compare.share"),
        (EIGHTH.replace("family: generation", "family: editing"), "begins with a base slot"),
        (EIGHTH.replace("family: generation", "colour: red"), "tasks.compare"),
        (EIGHTH + "    subtypes: [{name: a}, {name: a}]\n", "tasks.compare.subtypes: named twice: a"),
        ("tasks: {}", "tasks"),
        ("tasks:\n  compare: 3\n", "tasks.compare"),
        ("tasks:\n  3: {}\n", "tasks.3"),
        ("replace: true\n", "tasks"),
        ("- add\n", "mapping"),
        ("", "mapping"),
        ("tasks: [\n", "line 2"),
    ],
)
def test_a_bad_file_is_one_line_with_file_and_key(tmp_path: Path, text: str, names: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_tasks(path)
    message = str(caught.value)
    assert message.startswith(path) and names in message and "\n" not in message


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml"):
        load_tasks(str(tmp_path / "gone.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match=r"binary\.yaml"):
        load_tasks(str(tmp_path / "binary.yaml"))
