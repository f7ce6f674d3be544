"""Flow-Factory: prompts with images for online RL, and strict V2 records of demonstrations and of preferences.

As its guidance/datasets.md and data_utils/schema.py say. Online rows name images relative to `images/`; V2 rows
relative to their own folder. A V2 file holds one kind of supervision, hence three folders; what a trainer tests itself
on is in the online form, so V2 files are of the training split.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import Any

from shards.export.folder import Folder, Lines
from shards.export.options import Options
from shards.export.prompts import plain
from shards.export.source import ImageBytes, Row, Source

_SUPERVISED = "train"


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT.jsonl and images/; of Re-Align samples demonstrations/train.jsonl and preferences/train.jsonl, too."""
    for split, kept in source.kept.items():
        if not kept:
            continue
        with folder.lines(f"{split}.jsonl") as online:
            if source.dataset == "realign":
                _samples(source, split, folder, online)
            else:
                _prompts(source, split, folder, online)


def _samples(source: Source, split: str, folder: Folder, online: Lines) -> None:
    """Re-Align samples, in all three forms."""
    with ExitStack() as stack:
        demonstrations: Lines | None = None
        preferences: Lines | None = None
        for row in source.rows(split):
            instruction = plain(row.text("instruction"))
            online.write(_online(folder, row, instruction, row.inputs, row.text("task")))
            if split != _SUPERVISED:
                continue
            demonstrations = demonstrations or stack.enter_context(folder.lines("demonstrations/train.jsonl"))
            given = {"prompt": instruction, "media": _media(folder, row.inputs)}
            target = {"media": _media(folder, [row.image("target")])}
            about = {"id": row.id, "task": row.text("task")}
            demonstrations.write(_record(given, {"type": "demonstration", "target": target}, about))
            for painting in row.records("paintings"):
                if painting.get("chosen"):
                    continue
                preferences = preferences or stack.enter_context(folder.lines("preferences/train.jsonl"))
                other = row.image(str(painting.get("member", "")).removesuffix(".jpg"))
                rejected = {"media": _media(folder, [other])}
                about = {"id": row.id, "task": row.text("task"), "reason": str(painting.get("reason", ""))}
                preferences.write(_record(given, {"type": "preference", "chosen": target, "rejected": rejected}, about))


def _prompts(source: Source, split: str, folder: Folder, online: Lines) -> None:
    """Of critic rows: each edit's own instruction with its source image, or each prompt, once."""
    edits = source.dataset == "firm-edit"
    seen: set[bytes] = set()
    for row in source.rows(split):
        if edits and row.json.get("rewrite"):
            folder.leave_out("rewritten")
            continue
        key = hashlib.blake2b(row.text("pair_id" if edits else "prompt").encode(), digest_size=12).digest()
        if key in seen:
            folder.leave_out("same_pair" if edits else "same_prompt")
            continue
        seen.add(key)
        text = plain(row.text("instruction" if edits else "prompt"))
        online.write(_online(folder, row, text, row.inputs[:1] if edits else [], "edit" if edits else "generation"))


def _online(folder: Folder, row: Row, prompt: str, images: list[ImageBytes], task: str) -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": prompt}
    if images:
        found["images"] = [folder.image(image).removeprefix("images/") for image in images]
    # Further columns become the metadata that rewards are given.
    return {**found, "id": row.id, "task": task}


def _media(folder: Folder, images: list[ImageBytes]) -> list[dict[str, str]]:
    return [{"type": "image", "path": f"../{folder.image(image)}"} for image in images]


def _record(given: dict[str, Any], supervision: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    return {"schema_version": 2, "input": given, "supervision": supervision, "metadata": about}
