"""Plans, drafts and rejections hold their own promises."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from schemas.answers import WriterAnswer, writer_answer
from schemas.draft import Draft, Reasoning, Rejection, prompt_defects, score_or_sentinel
from schemas.iccot import ICCoT
from schemas.messages import ImagePart, Message, TextPart, digest_view
from schemas.plan import Plan, PlannedReference
from schemas.references import ImageRef, Kind, Reference
from schemas.tasks import Role, Slot, Task
from schemas.usage import Usage, total


def a_reference(n: int, kind: Kind = Kind.OBJECT) -> Reference:
    digest = f"{n:064x}"
    return Reference(
        uri=f"pool/{n}.jpg", sha256=digest, width=8, height=8, media_type="image/jpeg",
        id=digest, kind=kind, caption=f"thing {n}", subject=f"s{n}",
    )  # fmt: skip


def a_plan(*roles: Role) -> Plan:
    planned = tuple(PlannedReference(reference=a_reference(i), role=role) for i, role in enumerate(roles, 1))
    return Plan(id="0" * 32, ordinal=0, seed=1, task="add", references=planned)


def a_draft(**changes: object) -> Draft:
    cot = ICCoT(
        out_caption="A star on a hill.", relations=("The hill is consistent with image_1.", "The star is from image_2.")
    )
    fields: dict[str, object] = {
        "plan": a_plan(Role.BASE, Role.SUBJECT),
        "instruction": "Put the star of image 2 on the hill.",
        "prompt": "<image_1> <image_2> Put the star of image 2 on the hill.",
        "reasonings": (Reasoning(iccot=cot),),
        "target": ImageRef(uri="t.jpg", sha256="9" * 64, width=8, height=8, media_type="image/jpeg"),
    }
    return Draft(**{**fields, **changes})


def test_the_image_to_edit_is_image_1() -> None:
    with pytest.raises(ValidationError, match="must be image 1"):
        a_plan(Role.SUBJECT, Role.BASE)


def test_an_editing_task_begins_with_its_base() -> None:
    slots = (Slot(role=Role.SUBJECT, kinds=(Kind.OBJECT,)),)
    with pytest.raises(ValidationError, match="begins with a base slot"):
        Task(name="x", family="editing", share=1, definition="d", slots=slots)


@pytest.mark.parametrize(
    "changes",
    [
        {"instruction": "Put the star of image 3 on the hill."},
        {"instruction": "Use the fourth image."},
        {"prompt": "<image_1> Put the star on the hill."},
        {"prompt": "<image_1> <image_2> <image_2> Put it there."},
        {"reasonings": (Reasoning(iccot=ICCoT(out_caption="A star.", relations=("A star is from image_1.",))),)},
    ],
)
def test_a_draft_may_name_only_images_that_it_has(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        a_draft(**changes)


def test_the_json_of_a_sample_has_the_same_keys_whatever_was_computed() -> None:
    bare = a_draft().to_json(("clip_text", "sharpness"))
    reasoning = a_draft().reasonings[0].model_copy(update={"clip_text": 0.31, "relation_margin": 0.02})
    full = a_draft(scores={"clip_text": 0.31, "sharpness": 3.0}, reasonings=(reasoning,)).to_json(
        ("clip_text", "sharpness")
    )

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {k: shape(v) for k, v in value.items()}
        return [shape(v) for v in value] if isinstance(value, list) else type(value)

    assert shape(bare) == shape(full)
    assert bare["scores"] == {"clip_text": -1.0, "sharpness": -1.0}
    assert "null" not in json.dumps(bare)


def test_scores_are_floats_of_four_decimals() -> None:
    assert score_or_sentinel(None) == -1.0
    assert score_or_sentinel(0.123456) == 0.1235
    assert str(score_or_sentinel(-0.00001)) == "0.0"


def test_a_samples_score_is_that_of_its_best_reasoning() -> None:
    first = a_draft().reasonings[0]
    pair = (first.model_copy(update={"clip_text": 0.2}), first.model_copy(update={"clip_text": 0.4}))
    assert a_draft(reasonings=pair).clip_text == 0.4
    assert a_draft().clip_text is None


def test_records_survive_their_own_json() -> None:
    draft = a_draft(usage={"m": Usage(calls=2, usd=0.5)})
    assert Draft.model_validate_json(draft.model_dump_json()) == draft
    rejection = Rejection(id="a", ordinal=1, stage="filter", reason="blur", error_class="filtered", draft=draft)
    assert Rejection.model_validate_json(rejection.model_dump_json()) == rejection


def test_usage_adds_up_by_model() -> None:
    parts = [{"b": Usage(calls=1, usd=0.5)}, {"a": Usage(ledger_hits=1)}, {"b": Usage(calls=2, tokens_in=7)}]
    assert total(parts) == {"a": Usage(ledger_hits=1), "b": Usage(calls=3, tokens_in=7, usd=0.5)}
    assert list(total(parts)) == ["a", "b"]


def test_moving_a_pool_changes_no_request() -> None:
    def sent(uri: str) -> list[object]:
        image = ImageRef(uri=uri, sha256="a" * 64, width=4, height=4, media_type="image/png")
        return digest_view(
            (Message(speaker="user", parts=(TextPart(text="look"), ImagePart(label="Image 1 (base):", image=image))),)
        )

    assert sent("/here/a.png") == sent("gs://there/a.png")


def test_each_placeholder_stands_once() -> None:
    assert prompt_defects("<image_1> <image_2>", 2) == []
    assert prompt_defects("<image_1>", 2)
    assert prompt_defects("<image_1><image_3>", 2)


def test_an_instruction_may_name_only_images_that_the_sample_has() -> None:
    schema = writer_answer(2)
    assert schema(feasible=True, instruction="Put the star of image 2 there.").feasible
    with pytest.raises(ValidationError, match="Image 3 is named, but the sample has only images 1 to 2"):
        schema(feasible=True, instruction="Put the star of the third image there.")
    with pytest.raises(ValidationError, match="must not hold a placeholder"):
        schema(feasible=True, instruction="Put <image_2> there.")
    with pytest.raises(ValidationError, match="reason is empty"):
        schema(feasible=False)
    assert schema.model_json_schema() == WriterAnswer.model_json_schema()
