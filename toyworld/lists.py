"""Edit pairs and prompts of the drawn world, as FIRM's input files: `pairs: toyworld`, `prompts_file: toyworld`.

A pair's id ends in the scores that are true of it (`-e3-c4`: Execution 3, Consistency 4; see `toyworld.edit_truth`), so
that what a judge says can be held against the truth. No judge is shown an id.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Sequence

from PIL import Image

from storage.paths import join, write_atomic
from toyworld.edits import edit_of
from toyworld.prompts import prompt_of
from toyworld.render import render
from toyworld.world import Picture

PAIRS, PROMPTS = 200, 200
SIZE = 256

_EDITS = (
    # Failure, Execution, Consistency: half of the edits are good, as in data that people share.
    *(("attribute", 5, 5), ("spatial", 5, 5), ("count", 5, 5), ("neglect", 5, 5), ("attribute", 5, 4)),
    *(("neglect", 3, 5), ("spatial", 4, 5), ("count", 3, 4), ("attribute", 2, 5), ("identical", 1, 5)),
    *(("spatial", 5, 3), ("neglect", 2, 4), ("count", 5, 2), ("attribute", 4, 5), ("spatial", 1, 4)),
)
_FAILURES = ("neglect", "spatial", "count", "attribute")
_TRUTH = re.compile(r"-e([1-5])-c([1-5])$")


def build_pairs(folder: str, count: int = PAIRS) -> str:
    """Write `count` edit pairs with their pictures and, last, `pairs.jsonl`; its path. Twice gives the same bytes."""
    rows = []
    for number in range(count):
        failure, executed, kept = _EDITS[number % len(_EDITS)]
        made = edit_of(failure, executed, kept, random.Random(f"pair {number}"))
        id = f"drawn-{number:04d}-{failure}-e{executed}-c{kept}"
        names = [f"images/{id}-{part}.png" for part in ("source", "edited")]
        for name, picture in zip(names, (made.source, made.shown), strict=True):
            write_atomic(join(folder, name), _png(picture))
        rows.append({"id": id, "instruction": made.instruction, "source_image": names[0], "edited_image": names[1]})
    return _written(folder, "pairs.jsonl", rows)


def build_prompts(folder: str, count: int = PROMPTS) -> str:
    """Write `count` prompts as `prompts.jsonl`, without images; its path."""
    rows = []
    for number in range(count):
        text, _ = prompt_of(_FAILURES[number % len(_FAILURES)], 5, random.Random(f"prompt {number}"))
        rows.append({"id": f"drawn-{number:04d}", "prompt": text})
    return _written(folder, "prompts.jsonl", rows)


def truth_of(pair_id: str) -> tuple[int, int] | None:
    """(Execution, Consistency) that are true of a drawn pair; None for any other."""
    found = _TRUTH.search(pair_id) if pair_id.startswith("drawn-") else None
    return (int(found[1]), int(found[2])) if found else None


def _png(picture: Picture) -> bytes:
    out = io.BytesIO()
    drawn: Image.Image = render(picture, SIZE)
    drawn.save(out, format="PNG", compress_level=3)
    return out.getvalue()


def _written(folder: str, name: str, rows: Sequence[dict[str, str]]) -> str:
    path = join(folder, name)
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path
