"""Plans over the real pool, made without an index: rows of pool.jsonl drawn into the slots of the seven tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from annotators.offline.chance import number, pick, shuffled
from annotators.offline.looks import Look, look
from pools.tasks import load_tasks
from schemas.plan import Length, Naming, Plan, PlannedReference, Stress, Style, Wording
from schemas.references import Kind, Reference

_FOCI = ("material", "texture", "pattern", "color", "light", "shape", "position", "background")


def as_reference(row: dict[str, Any], folder: Path) -> Reference:
    return Reference(
        uri=str(folder / row["path"]),
        sha256=row["sha256"],
        id=row["sha256"],
        source_id=row["id"],
        width=row["width"],
        height=row["height"],
        media_type="image/png" if row["path"].endswith("png") else "image/jpeg",
        kind=Kind(row["kind"]),
        caption=row["caption"],
        subject=row["subject"],
        category=row["class"],
        alpha=row["alpha"],
    )


@pytest.fixture(scope="session")
def pool(test_data: Path) -> list[Reference]:
    """Every row of the real pool as a reference."""
    lines = (test_data / "pool" / "pool.jsonl").read_text(encoding="utf-8").splitlines()
    return [as_reference(json.loads(line), test_data / "pool") for line in lines]


@lru_cache(maxsize=512)
def _look(uri: str) -> Look:
    with Image.open(uri) as image:
        image.draft("RGB", (128, 128))
        image.thumbnail((128, 128))
        return look(image.convert("RGBA"))


@pytest.fixture(scope="session")
def looks_of() -> Callable[[Plan], list[Look]]:
    return lambda plan: [_look(r.reference.uri) for r in plan.references]


@pytest.fixture(scope="session")
def plans(pool: list[Reference]) -> Callable[[int], Iterator[Plan]]:
    """`plans(300)`: the first that many plans, each made once, all tasks in turn, every wording choice among them."""
    tasks = list(load_tasks(None).values())
    kept: list[Plan] = []

    def first(count: int) -> Iterator[Plan]:
        kept.extend(made(range(len(kept), count)))
        return iter(kept[:count])

    def made(ordinals: range) -> Iterator[Plan]:
        for ordinal in ordinals:
            task = tasks[ordinal % len(tasks)]
            subtype = pick(task.subtypes, ordinal, "subtype") if task.subtypes else None
            references: list[PlannedReference] = []
            used: set[str] = set()
            for slot in task.slots:
                kinds = slot.kinds
                if subtype is not None:
                    narrowed = subtype.donor_kinds if slot.role.value == "donor" else subtype.base_kinds
                    kinds = narrowed or kinds
                rows = [r for r in pool if r.kind in kinds and r.subject not in used]
                chosen = pick(rows, ordinal, "row", slot.role)
                same = getattr(slot, "same_subject", False)
                rows = [r for r in rows if (r.subject == chosen.subject) == same and r is not chosen]
                extra = min(slot.max, slot.min + number(ordinal, "extra") % 2) - 1
                taken = [chosen]
                for row in shuffled(rows, ordinal, slot.role) if extra else ():
                    if len(taken) > extra:
                        break
                    if same or row.subject not in {t.subject for t in taken}:
                        taken.append(row)
                used |= {t.subject for t in taken}
                references += [PlannedReference(reference=t, role=slot.role) for t in taken]
            yield Plan(
                id=f"{ordinal:032x}",
                ordinal=ordinal,
                seed=number(ordinal, "seed"),
                task=task.name,
                subtype=subtype.name if subtype else "",
                references=tuple(references),
                wording=Wording(
                    style=pick(list(Style), ordinal, "style"),
                    naming=pick(list(Naming), ordinal, "naming"),
                    length=pick(list(Length), ordinal, "length"),
                    focus=pick(_FOCI, ordinal, "focus"),
                ),
                stress=Stress.NONE,
            )

    return first
