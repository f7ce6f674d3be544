"""FIRM's EditRL (its README, "EditRL"): JSON lines of a prompt, one source image, and a requirement.

Its trainer bans and counts groups by the prompt's text alone, so an instruction that several images share would make
them one group. Each further one ends in white space of its own, which nobody reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from shards.export.folder import Folder
from shards.export.options import Options
from shards.export.prompts import plain
from shards.export.source import Row, Source


def write(source: Source, folder: Folder, options: Options) -> None:
    """SPLIT_metadata.jsonl and images/."""
    for split, kept in source.kept.items():
        if not kept:
            continue
        texts: Counter[bytes] = Counter()
        pairs: set[bytes] = set()
        with folder.lines(f"{split}_metadata.jsonl") as lines:
            for row in source.rows(split):
                if reason := _unfit(row, source.dataset, pairs):
                    folder.leave_out(reason)
                    continue
                instruction = plain(row.text("instruction")).strip()
                key = _digest(instruction)
                prompt = instruction + distinct_end(texts[key])
                texts[key] += 1
                image = folder.image(row.inputs[0])
                lines.write({"prompt": prompt, "image": image, "requirement": _requirement(row, source.dataset)})


def distinct_end(before: int) -> str:
    """White space that is another for each number of equal instructions before; none for the first."""
    end = ""
    while before:
        before, digit = divmod(before - 1, 2)
        end += " \t"[digit]
    return end


def _unfit(row: Row, dataset: str, pairs: set[bytes]) -> str:
    """Why EditRL cannot hold this sample; empty where it can."""
    if dataset == "realign":
        return "" if len(row.inputs) == 1 else "several_images"
    if row.json.get("rewrite"):
        return "rewritten"
    key = _digest(row.text("pair_id"))
    if key in pairs:
        return "same_pair"
    pairs.add(key)
    return ""


def _requirement(row: Row, dataset: str) -> str:
    """What must stay or come from the image: the first IC-CoT's relation. Edits of critics' data say none."""
    from schemas.iccot import ICCoT, ICCoTError

    reasonings = row.reasonings() if dataset == "realign" else []
    try:
        return plain(ICCoT.parse(reasonings[0], 1).relations[0]) if reasonings else ""
    except ICCoTError:
        return ""


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
