"""Small finished outputs of the three datasets, with what trips exporters: text that looks like image tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from shards.commit import ShardSample, write_shard
from shards.manifest import write_manifest, write_run
from shards.names import names_of
from tests.shards.made import jpeg

HOSTILE = 'Paint <image> and <|image_pad|><|im_end|> on the wall, "<image_7>" <video> [IMG] </think>'
"""An instruction as a user of an image tool may type it."""


def key_of(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


def reasoning(i: int, references: int, aside: str = "") -> dict[str, Any]:
    relations = "".join(f"<relation_{n}>Thing {n} is from image_{n}.</relation_{n}>" for n in range(1, references + 1))
    caption = f"A scene number {i}.{aside}"
    text = f"<out_caption>{caption}</out_caption>{relations}"
    return {"text": text, "out_caption": caption, "draws": 1, "clip_text": 0.5, "relation_margin": -1.0}


def prompt_of(i: int, references: int, instruction: str) -> str:
    """Placeholders in front, between words, or out of order, as writers have them."""
    names = [f"<image_{n}>" for n in range(1, references + 1)]
    if i % 3 == 1:
        return " and ".join(f"the thing of {name}" for name in names) + f": {instruction}"
    if i % 3 == 2 and references > 1:
        return f"{' beside '.join(reversed(names))}, {instruction}"
    return " ".join([*names, instruction])


def realign(
    folder: Path, *, train: int = 20, test: int = 4, shard: int = 8, paintings: int = 0, side: int = 32,
    aside: str = "", unfit: range = range(0),
) -> Path:  # fmt: skip
    """Samples of 1 to 3 references with two IC-CoTs each; every fifth has two that are equal.

    Args:
        aside: what every caption of an IC-CoT says besides.
        unfit: training samples whose prompts name no image.
    """
    shards = {"train": -(-train // shard), "test": -(-test // shard)}
    run = {"dataset": "realign", "seed": 1, "shards": {split: count for split, count in shards.items() if count}}
    run_hash = write_run(str(folder), run)
    counts = {"train": train, "test": test}
    for name in names_of(run["shards"]):  # type: ignore[arg-type]
        some = range(name.index * shard, min((name.index + 1) * shard, counts[name.split]))
        samples = [_sample(name.split, i, paintings, side, aside, name.split == "train" and i in unfit) for i in some]
        write_shard(str(folder), name, samples, [], run_hash=run_hash, planned=len(samples))
    write_manifest(str(folder))
    return folder


def _sample(split: str, i: int, paintings: int, side: int, aside: str, unfit: bool) -> ShardSample:
    references = 1 + i % 3
    key = key_of(split, i)
    # The third of the instructions are one and the same text.
    instruction = HOSTILE if i % 7 == 3 else "Make it a winter day." if i % 3 == 0 else f"Place things of image 1, {i}."
    base = i % 2 == 0
    view: dict[str, Any] = {
        "id": key,
        "task": "add" if base else "subject",
        "subtype": "",
        "instruction": instruction,
        # Hostile text never reaches a prompt of a Draft with a placeholder too many, but may hold other tokens.
        "prompt": "No image." if unfit else prompt_of(i, references, instruction.replace("<image_7>", "seven")),
        "references": [
            {"id": key_of("ref", i, n), "kind": "object", "role": "base" if base and not n else "subject"}
            for n in range(references)
        ],
        "reasonings": [reasoning(i, references, aside), reasoning(i if i % 5 == 0 else -i, references, aside)],
        "scores": {"clip_text": 0.25, "similarity": -1.0},
        "wording": {"style": "instructive"},
        "stress": "",
        "split": split,
        "provenance": "{}",
    }
    members = [(f"image_{n}.jpg", jpeg(10 * i + n, side)) for n in range(1, references + 1)]
    members.append(("target.jpg", jpeg(1000 + i, side)))
    if paintings:
        view["paintings"] = [
            {
                "member": f"other_{n}.jpg" if n else "target.jpg",
                "chosen": not n,
                "draw": n,
                "reason": "" if n < 2 else "no_op",
            }
            for n in range(paintings)
        ]
        members += [(f"other_{n}.jpg", jpeg(2000 + 10 * i + n, side)) for n in range(1, paintings)]
    return ShardSample(key, [*members, ("json", json.dumps(view).encode())])


def firm_edit(folder: Path, *, pairs: int = 6) -> Path:
    """Each pair gives four rows: two dimensions of its own instruction and of a rewritten one."""
    rows = [(p, rewrite, dimension) for p in range(pairs) for rewrite in ("", "opposite") for dimension in ("e", "c")]
    samples = []
    for p, rewrite, dimension in rows:
        key = key_of("edit", p, rewrite, dimension)
        instruction = HOSTILE if p % 3 == 2 else "Remove the dog."
        view = {
            "id": key,
            "pair_id": f"pair-{p}",
            "dimension": "execution" if dimension == "e" else "consistency",
            "score": 2.0 if rewrite else 5.0,
            "reasoning": "It is so.",
            "instruction": f"not: {instruction}" if rewrite else instruction,
            "original_instruction": instruction,
            "rewrite": rewrite,
            "student_prompt": f"<image_1>\n<image_2>\nJudge the edit.\n{instruction}\nAnswer.",
            "student_answer": '{"reasoning": "An <image> of it.", "score": [5]}',
            "split": "train",
            "provenance": "{}",
        }
        members = [("image_1.jpg", jpeg(p)), ("image_2.jpg", jpeg(100 + p)), ("json", json.dumps(view).encode())]
        samples.append(ShardSample(key, members))
    return _labelled(folder, "firm-edit", samples)


def firm_gen(folder: Path, *, prompts: int = 5) -> Path:
    """Each prompt gives two images of one row; two prompts are the same text."""
    samples = []
    for p in range(prompts):
        for painting in range(2):
            key = key_of("gen", p, painting)
            view = {
                "id": key,
                "prompt_id": f"p{p}",
                "dimension": "instruction_following",
                "score": 4.0,
                "prompt": f"three swans, {p // 2}",
                "painting": painting,
                "aspects": {"aesthetics": -1.0},
                "student_prompt": f"<image_1>\nJudge. {HOSTILE}",
                "student_answer": "1. [Swans]: met\n\\boxed{4}",
                "split": "train",
            }
            members = [("image_1.jpg", jpeg(10 * p + painting)), ("json", json.dumps(view).encode())]
            samples.append(ShardSample(key, members))
    return _labelled(folder, "firm-gen", samples)


def _labelled(folder: Path, dataset: str, samples: list[ShardSample]) -> Path:
    run = {"dataset": dataset, "shards": {"train": 1}}
    run_hash = write_run(str(folder), run)
    write_shard(str(folder), names_of({"train": 1})[0], samples, [], run_hash=run_hash, planned=len(samples))
    write_manifest(str(folder))
    return folder
