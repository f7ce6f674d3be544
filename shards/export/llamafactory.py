"""LLaMA-Factory: `messages` with one `<image>` for each of `images`; with `keys: swift` the same for ms-swift.

LLaMA-Factory refuses a row whose `<image>` tokens are not as many as its images, so whatever looks like one in a
user's text is defused. It finds images relative to its `dataset_dir`, ms-swift relative to where it runs.
"""

from __future__ import annotations

import json

from shards.export.conversations import held
from shards.export.folder import Folder
from shards.export.options import Options
from shards.export.prompts import with_token
from shards.export.source import Source


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT.jsonl and images/; for LLaMA-Factory dataset_info.json, too."""
    swift = options.keys == "swift"
    where = (options.data_dir.rstrip("/") or folder.final) + "/" if swift else ""
    splits = [split for split, kept in source.kept.items() if kept]
    for split in splits:
        with folder.lines(f"{split}.jsonl") as lines:
            for row in source.rows(split):
                for prompt, answer, images in held(row, source.dataset, folder):
                    user = {"role": "user", "content": with_token(prompt)}
                    names = [where + folder.image(image) for image in images]
                    lines.write({"messages": [user, {"role": "assistant", "content": answer}], "images": names})
    if not swift:
        name = source.dataset.replace("-", "_")
        info = {f"{name}_{split}": _described(f"{split}.jsonl") for split in splits}
        folder.text("dataset_info.json", json.dumps(info, indent=2) + "\n")


def _described(file: str) -> dict[str, object]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    return {"file_name": file, "formatting": "sharegpt", "columns": columns, "tags": tags}
