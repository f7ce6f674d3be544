"""TRL's SFTTrainer for vision-language models: Parquet of `prompt`, `completion` and `images`.

Message contents are lists of blocks, so that each image stands where the prompt has it; TRL puts images before a plain
text. With a prompt and a completion apart, the loss is on the completion alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shards.export.conversations import Conversation, held
from shards.export.folder import Folder
from shards.export.groups import Groups, features, image_lists, image_type
from shards.export.options import Options
from shards.export.source import Source

GROUP_ROWS = 64
_GROUP_BYTES = 32 << 20
_TEXT = {"dtype": "string", "_type": "Value"}


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT/part-*.parquet, which `datasets.load_dataset` reads from the folder."""
    import pyarrow as pa

    block = pa.struct([("type", pa.string()), ("text", pa.string())])
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(block))]))
    schema = pa.schema([("prompt", messages), ("completion", messages), ("images", pa.list_(image_type()))])
    turns = _list({"role": _TEXT, "content": _list({"type": _TEXT, "text": _TEXT})})
    described = {"prompt": turns, "completion": turns, "images": _list({"_type": "Image"})}
    for split, kept in source.kept.items():
        if not kept:
            continue
        with Groups(folder, split, schema, features(described)) as groups:
            for some in _grouped(source, split, folder):
                groups.write(_columns(some))


def _grouped(source: Source, split: str, folder: Folder) -> Iterator[list[Conversation]]:
    some: list[Conversation] = []
    size = 0
    for row in source.rows(split):
        for one in held(row, source.dataset, folder):
            some.append(one)
            size += sum(len(image.data) for image in one.images)
            if len(some) >= GROUP_ROWS or size >= _GROUP_BYTES:
                yield some
                some, size = [], 0
    if some:
        yield some


def _columns(found: list[Conversation]) -> dict[str, Any]:
    return {
        **{turn: [turns(one)[turn] for one in found] for turn in ("prompt", "completion")},
        "images": image_lists([one.images for one in found]),
    }


def turns(one: Conversation) -> dict[str, list[dict[str, Any]]]:
    """A row of TRL's without its images: `prompt` and `completion`, a message each, their contents lists of blocks.

    A judge that is asked live is shown images and text as blocks of their own, so no line breaks stand between these.
    """
    asked = (piece if isinstance(piece, int) else piece.strip("\n") for piece in one.prompt)
    prompt = [_block(piece) for piece in asked if isinstance(piece, int) or piece.strip()]
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": [_block(one.answer)]}],
    }


def _block(piece: int | str) -> dict[str, str | None]:
    return {"type": "image", "text": None} if isinstance(piece, int) else {"type": "text", "text": piece}


def _list(feature: dict[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "List"}
