"""Every prompt for every task, as it is sent, beside this file in `golden/`.

After a change that is meant, write them anew and read the difference:
`PLUMBLINE_WRITE_GOLDEN=1 python -m pytest tests/prompts/test_golden.py && git diff tests/prompts/golden`
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pools.tasks import load_tasks
from prompts.catalogue import Catalogue, Rendered
from schemas.plan import Length, Naming, Plan, PlannedReference, Style, Wording
from schemas.references import Kind, Reference
from schemas.tasks import Family, Role, Slot, Task

GOLDEN = Path(__file__).parent / "golden"
SHOWN = {
    Kind.CHARACTER: ("an osprey perched on a branch", "a brown dog with a red collar"),
    Kind.OBJECT: ("A camera.  Say Cheese!", "a cup of `espresso`"),
    Kind.SCENE: ("Piazza Gae Aulenti, Milan", "a pier at sunset"),
}
LENDING = Task(
    name="lending",
    family=Family.EDITING,
    share=0.1,
    definition="Let the subject of image 1 hold the object of image 2.",
    slots=(Slot(role=Role.BASE, kinds=(Kind.CHARACTER,)), Slot(role=Role.SUBJECT, kinds=(Kind.OBJECT,))),
)
CASES = [
    ("add", "", "instructive indexed medium light"),
    ("replace", "", "descriptive indexed short shape"),
    ("attribute", "style", "instructive index_free long texture"),
    ("attribute", "material", "descriptive indexed medium material"),
    ("scene", "", "instructive indexed short background"),
    ("subject", "", "descriptive index_free medium color"),
    ("subject_composition", "", "instructive indexed long position"),
    ("scene_composition", "", "descriptive index_free medium pattern"),
    ("lending", "", "instructive indexed medium light"),
]


def plan_of(task: Task, subtype: str, wording: str) -> Plan:
    """A plan whose slots are filled to at most two references each."""
    style, naming, length, focus = wording.split()
    references: list[PlannedReference] = []
    for slot in task.slots:
        for k in range(min(slot.max, 2)):
            digest = f"{len(references) + 1:064x}"
            kind = slot.kinds[k % len(slot.kinds)]
            reference = Reference(
                uri=f"pool/{digest[-2:]}.jpg",
                sha256=digest,
                id=digest,
                width=512,
                height=512,
                media_type="image/jpeg",
                kind=kind,
                caption=SHOWN[kind][k],
                subject=f"subject {len(references)}",
            )
            references.append(PlannedReference(reference=reference, role=slot.role))
    words = Wording(style=Style(style), naming=Naming(naming), length=Length(length), focus=focus)
    return Plan(
        id="0" * 32, ordinal=0, seed=1, task=task.name, subtype=subtype, references=tuple(references), wording=words
    )


def as_text(rendered: Rendered) -> str:
    """A render as a person reads it: speakers, texts, images by label and digest."""
    lines = [f"prompt: {rendered.id}, version {rendered.version}, focus: {rendered.focus or '-'}"]
    for message in rendered.messages:
        lines.append(f"\n===== {message.speaker} =====")
        for part in message.parts:
            lines.append(part.text if part.type == "text" else f"[{part.label} {part.image.sha256[-4:]}]")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.mark.parametrize("role", ["writer", "reasoner", "painter"])
@pytest.mark.parametrize(
    ("task", "subtype", "wording"), CASES, ids=lambda value: str(value).split()[0] if value else "-"
)
def test_a_prompt_renders_as_committed(catalogue: Catalogue, role: str, task: str, subtype: str, wording: str) -> None:
    tasks = {**load_tasks(None), "lending": LENDING}
    plan = plan_of(tasks[task], subtype, wording)
    draw = [case[:2] for case in CASES].index((task, subtype))
    instruction = {} if role == "writer" else {"instruction": "Put the ``` sign of image 2 on the wall."}
    text = as_text(catalogue.render(f"realign/{role}", plan=plan, task=tasks[task], draw=draw, **instruction))
    compare(f"{role}-{task}{'-' + subtype if subtype else ''}.txt", text)


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("PLUMBLINE_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
