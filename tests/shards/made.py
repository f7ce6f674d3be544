"""Samples and rejections for the tests of shards: small, distinct and the same every time."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from schemas.draft import ErrorClass, Rejection
from schemas.usage import Usage
from shards.commit import ShardSample, write_shard
from shards.names import ShardName

COLUMNS = [("task", "string"), ("clip_text", "float"), ("width", "int"), ("never_computed", "float")]
RUN = {
    "dataset": "realign",
    "seed": 7,
    "shards": {"train": 2, "test": 1},
    "prompts": {"realign/writer": "ab12"},
    "notes": {"clip_text": "not computed: no weights"},
}


def jpeg(seed: int, side: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(out, "JPEG", quality=90)
    return out.getvalue()


def sample(split: str, ordinal: int, references: int | None = None) -> ShardSample:
    count = references or 1 + ordinal % 3
    key = hashlib.sha256(f"{split} {ordinal}".encode()).hexdigest()[:32]
    ids = [hashlib.sha256(f"{split} {ordinal} {i}".encode()).hexdigest() for i in range(count)]
    view = {
        "id": key,
        "task": "add",
        "split": split,
        "references": [{"id": i, "kind": "object"} for i in ids],
        "scores": {"clip_text": 0.25 if ordinal % 2 else -1.0},
    }
    members = [(f"image_{i}.jpg", jpeg(10 * ordinal + i)) for i in range(1, count + 1)]
    members += [("target.jpg", jpeg(1000 + ordinal)), ("json", json.dumps(view).encode())]
    columns = {"task": "add", "clip_text": 0.25 if ordinal % 2 else None, "width": 32}
    return ShardSample(key, members, columns, tuple(f"{split}-{i[:8]}" for i in ids), ordinal)


def rejection(split: str, ordinal: int, reason: str = "no_op") -> Rejection:
    key = hashlib.sha256(f"rejected {split} {ordinal}".encode()).hexdigest()[:32]
    return Rejection(
        id=key,
        ordinal=ordinal,
        split=split,
        task="add",
        stage="filter",
        reason=reason,
        error_class=ErrorClass.FILTERED,
        detail="the target is the base, unedited",
        scores={"similarity": 0.99},
        usage={"offline": Usage(calls=2, usd=0.5)},
    )


def write_one(out: Path, name: ShardName, run_hash: str, size: int = 4) -> None:
    start = name.index * (size + 1)
    write_shard(
        str(out),
        name,
        [sample(name.split, start + i) for i in range(size)],
        [rejection(name.split, start + size)],
        run_hash=run_hash,
        planned=size + 1,
        columns=COLUMNS,
        usage={"offline": Usage(calls=10, tokens_in=100, usd=0.25)},
    )
