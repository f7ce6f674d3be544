"""FIRM's GenerationRL: a JSON list of prompts. Its trainer splits the list itself and groups by the prompt's text."""

from __future__ import annotations

import hashlib

from shards.export.folder import Folder
from shards.export.options import Options
from shards.export.prompts import plain
from shards.export.source import Source


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT.json, each prompt once."""
    import orjson

    for split, kept in source.kept.items():
        if not kept:
            continue
        name = f"{split}.json"
        seen: set[bytes] = set()
        with open(folder.path(name), "wb") as file:
            file.write(b"[")
            for row in source.rows(split):
                prompt = plain(row.text("prompt")).strip()
                key = hashlib.blake2b(prompt.encode(), digest_size=12).digest()
                if key in seen:
                    folder.leave_out("same_prompt")
                    continue
                file.write((b",\n " if seen else b"\n ") + orjson.dumps({"input_prompt": prompt}))
                seen.add(key)
                folder.rows[name] += 1
            file.write(b"\n]\n")
