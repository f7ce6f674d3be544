"""Outputs of the three datasets, made by the calls that pipelines make, with everything in them that could go wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anyone imports `datasets`: a folder is read, and nobody on the network is asked.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from schemas.checklists import Checklist, Criterion
from schemas.draft import Draft, ErrorClass, Painting, Reasoning, Rejection, Source
from schemas.following import Mark
from schemas.iccot import ICCoT
from schemas.judgements import DifferenceReport, Dimension
from schemas.labels import EditLabel, EditPair, GenerationLabel, Rewrite
from schemas.plan import Plan, PlannedReference
from schemas.references import ImageRef, Kind, Person, Reference
from schemas.tasks import Role
from schemas.usage import Usage
from shards.commit import ShardSample, write_shard
from shards.copying import copy_samples
from shards.manifest import write_manifest, write_run
from shards.names import ShardName
from shards.scores import balance_of
from tests.shards.made import jpeg

HOSTILE = (
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned=2'> & <!-- <b>bold</b> \u2028 äöü 猫"
)
LONG = "Put the cat into the snow. " * 760  # 20,520 characters
WORDY = 103
"""The fourth reference of the sample with the long instruction: its caption is long, too."""
SECRET = "/home/someone/private data/pool/cat.jpg"
REASONS = ("clip_text", "no_op", "blocked")
TASKS = ("add", "replace", "scene")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def image(name: str, data: bytes) -> ImageRef:
    return ImageRef(
        uri=f"/home/someone/{name}",
        sha256=hashlib.sha256(data).hexdigest(),
        width=64,
        height=64,
        media_type="image/jpeg",
    )


def reference(number: int, license: str = "CC-BY-4.0") -> Reference:
    data = jpeg(number, 64)
    fields = image(f"{number}.jpg", data).model_dump()
    return Reference(
        **fields,
        id=fields["sha256"],
        source_id=f"pool-{number}",
        kind=Kind.OBJECT,
        caption=f"thing {number} <i>tilted</i>" + " and so on" * (1900 if number == WORDY else 0),
        subject=f"thing {number}",
        license=license,
        attribution=f"Someone, https://example.org/{number}",
        person=Person.NONE,
    )


def split_of(i: int) -> str:
    return "train" if i < 40 else "test"


def shown(i: int) -> int:
    """The number of a sample's first reference: samples share them, splits do not."""
    return 100 * (i % 7) if split_of(i) == "train" else 2000 + 10 * i


def draft(i: int, references: int, instruction: str) -> Draft:
    """A draft whose scores are whole in the first samples and not later, and which has two paintings."""
    chosen = tuple(PlannedReference(reference=reference(shown(i) + k), role=Role.SUBJECT) for k in range(references))
    task = TASKS[i % 3]
    plan = Plan(id=digest(f"plan {i}")[:32], ordinal=i, split=split_of(i), seed=i, task=task, references=chosen)
    relations = tuple(f"The thing comes from image_{k}." for k in range(1, references + 1))
    reasonings = tuple(
        Reasoning(
            iccot=ICCoT(out_caption=f"A thing number {i}, seen {how}.", relations=relations),
            draws=1 + n,
            clip_text=1.0 if i < 6 else 0.1 + 0.05 * n + 0.01 * (i % 10),
        )
        for n, how in enumerate(("plainly", "from afar in the evening light"))
    )
    target, other = (image(f"{i} {n}", jpeg(5000 + 10 * i + n, 64)) for n in range(2))
    source = Source(model="painter-1", prompt="ab" * 32, request_key="cd" * 32)
    return Draft(
        plan=plan,
        instruction=instruction,
        prompt=" ".join(f"<image_{k}>" for k in range(1, references + 1)) + " " + instruction,
        reasonings=reasonings,
        target=target,
        scores={"clip_text": 1.0 if i < 6 else 0.15 + 0.01 * (i % 10), "copy_paste": 0.0 if i < 6 else 0.25},
        provenance=dict.fromkeys(("writer", "reasoner", "painter"), source),
        paintings=(
            Painting(draw=0, image=target, source=source, chosen=True),
            Painting(draw=1, image=other, source=source, reason="no_op"),
        ),
    )


def realign_sample(i: int) -> ShardSample:
    """One reference in each of the first six samples, up to five later."""
    count = 1 if i < 6 else 1 + i % 5
    instruction = HOSTILE if i == 7 else LONG if i == 8 else f"Place the thing number {i} on a table of wood."
    made = draft(i, count, instruction)
    members = [(f"image_{k}.jpg", jpeg(shown(i) + k - 1, 64)) for k in range(1, count + 1)]
    members += [("target.jpg", jpeg(5000 + 10 * i, 64)), ("other_1.jpg", jpeg(5001 + 10 * i, 64))]
    members.append(("json", json.dumps(made.to_json(("clip_text", "copy_paste"))).encode()))
    columns = {"task": made.plan.task, "instruction": instruction, **made.scores}
    return ShardSample(made.id, members, columns, tuple(f"{i} {k}" for k in range(count)), i)


def realign_rejection(i: int) -> Rejection:
    """A filter's, with its draft, or a provider's, whose detail names a path."""
    filtered = i % 3 != 2
    return Rejection(
        id=digest(f"rejected {i}")[:32],
        ordinal=1000 + i,
        task=TASKS[i % 3],
        stage="filter" if filtered else "painter",
        reason=REASONS[i % 3],
        error_class=ErrorClass.FILTERED if filtered else ErrorClass.FINAL,
        detail=f"{SECRET} was refused",
        last_answer="" if filtered else f"no: {HOSTILE}",
        scores={"clip_text": 0.05} if filtered else {},
        usage={"painter-1": Usage(calls=2, usd=0.5)},
        draft=draft(9, 1 + i % 2, "A rejected instruction.") if filtered else None,
    )


REALIGN = {
    "dataset": "realign",
    "planning": {"seed": 7, "persons": None},
    "filters": {"config": {"clip": {"min_text": 0.12, "weights": "local-dir:/home/someone/models/ViT-B-32"}}},
    "models": {"painter": [{"model": "painter-1", "weight": 1.0}]},
    "shards": {"train": 3, "test": 1},
    "prompts": {"realign/writer": "ab" * 32},
    "notes": {},
    "versions": {"plumbline": "0"},
}


def write_realign(folder: Path, *, close: bool = True) -> Path:
    """40 samples and 12 rejections in three shards, four samples in a test split; the second shard keeps nothing."""
    columns = [("task", "string"), ("instruction", "string"), ("clip_text", "float"), ("copy_paste", "float")]
    run_hash = write_run(str(folder), REALIGN)
    kept = {0: range(20), 1: range(0), 2: range(20, 40)}
    for number, numbers in kept.items():
        samples = [realign_sample(i) for i in numbers]
        rejected = [realign_rejection(4 * number + k) for k in range(4)]
        usage = {"painter-1": Usage(calls=10, tokens_in=100, tokens_out=5, usd=1.25)}
        write_shard(
            str(folder), ShardName("train", number, 3), samples, rejected,
            run_hash=run_hash, planned=len(samples) + 4, columns=columns, usage=usage,
        )  # fmt: skip
    if close:
        test = [realign_sample(i) for i in range(40, 44)]
        write_shard(
            str(folder), ShardName("test", 0, 1), test, [], run_hash=run_hash, planned=4, columns=columns,
            usage={"painter-1": Usage(calls=1)},
        )  # fmt: skip
        write_manifest(str(folder))
    return folder


def edit_rows(i: int) -> list[tuple[EditLabel, list[bytes]]]:
    """The four rows of a pair: its own instruction and a rewritten one, each in both dimensions."""
    images = [jpeg(200 + i, 64), jpeg(300 + i, 64 if i % 3 else 32)]
    asked = HOSTILE if i == 2 else f"Remove the thing number {i}."
    pair = EditPair(id=f"pair-{i}", source=image("s", images[0]), edited=image("e", images[1]), instruction=asked)
    rows = []
    for rewrite in (None, Rewrite.OPPOSITE):
        for dimension in (Dimension.EXECUTION, Dimension.CONSISTENCY):
            label = EditLabel(
                id=digest(f"{i} {rewrite} {dimension}")[:32],
                dimension=dimension,
                score=float(2 if rewrite else 1 + i % 5),
                reasoning=f"Judged {dimension} of {i}.",
                student_prompt="<image_1><image_2> judge",
                student_answer='{"reasoning": "", "score": [1]}',
                pair=pair,
                instruction=asked if rewrite is None else f"Add the thing number {i}.",
                rewrite=rewrite,
                report=DifferenceReport(obvious=f"Thing {i} is gone.", detailed="1. Quantity: one less."),
                provenance={"judge": Source(model="judge-1", prompt="ab" * 32)},
            )
            rows.append((label, images))
    return rows


def write_edits(folder: Path) -> Path:
    """Twelve pairs of four rows and one of them judged again in vain, and a balanced selection."""
    run = {"dataset": "firm-edit", "planning": {"seed": 7}, "shards": {"train": 1}, "prompts": {}, "versions": {}}
    columns = [
        ("task", "string"),
        ("dimension", "string"),
        ("score", "float"),
        ("pair_id", "string"),
        ("rewrite", "string"),
    ]
    samples = []
    for label, images in (row for i in range(12) for row in edit_rows(i)):
        members = [
            ("image_1.jpg", images[0]),
            ("image_2.jpg", images[1]),
            ("json", json.dumps(label.to_json("train")).encode()),
        ]
        cells = {"task": label.task, "dimension": label.task, "score": label.score, "pair_id": label.pair.id}
        samples.append(ShardSample(label.id, members, cells, (label.pair.id,), len(samples)))
    conflict = Rejection(
        id=digest("conflict")[:32],
        ordinal=99,
        task="execution",
        stage="filter",
        reason="label_conflict",
        error_class=ErrorClass.FILTERED,
        detail="Execution of an opposite instruction is 2 at most, but the judge gave 5",
        label=edit_rows(4)[2][0].model_copy(update={"score": 5.0, "id": digest("conflict")[:32]}).model_dump_json(),
    )
    run_hash = write_run(str(folder), run)
    write_shard(
        str(folder), ShardName("train", 0, 1), samples, [conflict],
        run_hash=run_hash, planned=len(samples) + 1, columns=columns, usage={"judge-1": Usage(calls=48, usd=0.2)},
    )  # fmt: skip
    write_manifest(str(folder))
    copy_samples(str(folder), str(folder / "balanced"), [sample.id for sample in samples[::3]])
    write_manifest(str(folder), balance_of(str(folder)))
    return folder


def write_images(folder: Path) -> Path:
    """Twelve images of prompts, each with its checklist judged and its quality."""
    run = {"dataset": "firm-gen", "planning": {"seed": 7}, "shards": {"train": 1}, "prompts": {}, "versions": {}}
    columns = [
        ("task", "string"),
        ("dimension", "string"),
        ("score", "float"),
        ("prompt_id", "string"),
        ("painting", "int"),
    ]
    checklist = Checklist(items=(Criterion(name="Main Subject", questions=("Is there a cat?",)),), negative=("text",))
    samples = []
    for i in range(12):
        data = jpeg(400 + i, 64)
        shared = {
            "prompt_id": f"prompt-{i // 2}",
            "prompt": HOSTILE if i == 3 else f"a cat number {i // 2}",
            "painting": i % 2,
        }
        rows = [
            {"dimension": Dimension.INSTRUCTION_FOLLOWING, "checklist": checklist, "marks": (Mark.MET, Mark.PARTLY)},
            {"dimension": Dimension.QUALITY, "aspects": {"aesthetics": 4, "structure": 3, "technical": 5}},
        ]
        for row in rows:
            label = GenerationLabel(
                id=digest(f"{i} {row['dimension']}")[:32], score=float(1 + i % 5), reasoning="As it is.",
                student_prompt="<image_1> judge", student_answer="1. [cat]: there.", image=image("i", data),
                **shared, **row,
            )  # fmt: skip
            members = [("image_1.jpg", data), ("json", json.dumps(label.to_json("train")).encode())]
            cells = {"task": label.task, "dimension": label.task, "score": label.score, "painting": i % 2}
            samples.append(
                ShardSample(
                    label.id, members, {**cells, "prompt_id": label.prompt_id}, (label.prompt_id,), len(samples)
                )
            )
    run_hash = write_run(str(folder), run)
    write_shard(
        str(folder),
        ShardName("train", 0, 1),
        samples,
        [],
        run_hash=run_hash,
        planned=len(samples),
        columns=columns,
        usage={},
    )
    write_manifest(str(folder))
    return folder


def write_one(
    folder: Path,
    record: str,
    scores: dict[str, float],
    rejected: list[dict[str, float]],
    images: dict[str, bytes] | None = None,
    filters: dict[str, Any] | None = None,
) -> Path:
    """A run of one sample with this record, and rejections with these scores."""
    run_json = {"dataset": "realign", "shards": {"train": 1}, "prompts": {}, "versions": {}, "filters": filters or {}}
    sample = ShardSample("a" * 32, [*(images or {}).items(), ("json", record.encode())], scores, (), 0)
    rejections = [
        Rejection(
            id=f"{i:032}",
            ordinal=1 + i,
            task="add",
            stage="filter",
            reason="clip_text",
            error_class=ErrorClass.FILTERED,
            scores=found,
        )
        for i, found in enumerate(rejected)
    ]
    write_shard(
        str(folder),
        ShardName("train", 0, 1),
        [sample],
        rejections,
        run_hash=write_run(str(folder), run_json),
        planned=1 + len(rejections),
        columns=[("task", "string"), *((name, "float") for name in scores)],
        usage={},
    )
    write_manifest(str(folder))
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "realign": write_realign,
    "firm-edit": write_edits,
    "firm-gen": write_images,
}


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each dataset, with its report and its card."""
    from cli.report import run

    folder = tmp_path_factory.mktemp("outputs")
    made = {name: write(folder / name) for name, write in WRITERS.items()}
    for path in made.values():
        run(str(path), False, None, None)
    return made
