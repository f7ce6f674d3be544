"""A reference pool of the drawn world: `pool: toyworld` builds and indexes it.

Things come as RGBA cut-outs, alone, and as opaque pictures of them on a scene; scenes come empty, in several lights.
Captions are in the vocabulary and tell the truth, so a reference's `Picture` is known from its caption and its name.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from schemas.references import Reference
from storage.paths import join, write_atomic
from toyworld.captions import CaptionError, Wording, caption, parse
from toyworld.render import render, render_cutout
from toyworld.world import CLEAR, COLOURS, LIGHTS, PLAIN, SCENES, SHAPES, Picture, Thing, complete, variation_of

ATTRIBUTION = "Plumbline toy world"
"""Every reference of this pool carries it; with a caption that parses, it marks a toy reference."""

SIZE = 256
LICENSE = "CC0-1.0"

_PLACES = ("left", "right", "top", "bottom")


class Entry(NamedTuple):
    """One image to be drawn: its name is also its `id` in the pool, and numbers its free details."""

    name: str
    kind: str
    picture: Picture
    cutout: bool


def build(folder: str, size: int = SIZE) -> int:
    """Write `characters/`, `objects/`, `scenes/` and, last, `pool.jsonl` into `folder`; how many references.

    The same call writes the same bytes. `size` is the side of every image in pixels.
    """
    rows = []
    for entry in entries():
        path = f"{entry.kind}s/{entry.name}.{'png' if entry.cutout else 'jpg'}"
        write_atomic(join(folder, path), _encoded(entry, size))
        rows.append(_row(entry, path))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomic(join(folder, "pool.jsonl"), lines.encode())
    return len(rows)


def entries() -> Iterator[Entry]:
    """Every reference of the pool, in the order of `pool.jsonl`."""
    number = 0
    for shape in SHAPES:
        for colour in COLOURS:
            yield from _photos_of(shape, colour, number)
            number += 1
    for scene in SCENES:
        for light in LIGHTS:
            for copy in (1, 2):
                name = f"{scene}-{light}-{copy}"
                yield Entry(name, "scene", _numbered(Picture((), scene, light), name), False)


def is_toy(reference: Reference) -> bool:
    """Whether this is a reference of the drawn world, whose caption is the truth about it."""
    if reference.attribution != ATTRIBUTION:
        return False
    try:
        parse(reference.caption)
    except CaptionError:
        return False
    return True


def picture_of(reference: Reference) -> Picture:
    """The exact picture behind a toy reference, down to its tilt and clouds; drawn again it is the same image.

    Raises:
        ValueError: when its caption is not in the grammar, or tells things that would overlap.
    """
    return _numbered(complete(parse(reference.caption)), _name_of(reference))


def _photos_of(shape: str, colour: str, number: int) -> Iterator[Entry]:
    thing = Thing(shape, colour)
    kind = "character" if thing.character else "object"
    subject = f"{colour}-{shape}"
    sizes = ("big", "small") if number % 3 == 0 else ("big",)
    for size in sizes:
        name = f"{subject}-{size}"
        yield Entry(name, kind, _numbered(Picture((Thing(shape, colour, size, "middle"),), PLAIN, CLEAR), name), True)
    scene, place = SCENES[(number * 4 + number // 9) % len(SCENES)], _PLACES[number % len(_PLACES)]
    size, light = ("big", "small")[number // 2 % 2], (CLEAR, CLEAR, "warm", CLEAR, "cool", CLEAR)[number % 6]
    name = f"{subject}-in-{scene}"
    yield Entry(name, kind, _numbered(Picture((Thing(shape, colour, size, place),), scene, light), name), False)


def _numbered(picture: Picture, name: str) -> Picture:
    return variation_of(picture, zlib.crc32(name.encode()))


def _name_of(reference: Reference) -> str:
    return re.sub(r"\.\w+$", "", reference.source_id.rsplit("/", 1)[-1]) or reference.id


def _row(entry: Entry, path: str) -> dict[str, str]:
    picture = entry.picture
    thing = picture.things[0] if picture.things else None
    return {
        "id": entry.name,
        "kind": entry.kind,
        "path": path,
        "caption": caption(Picture(picture.things), Wording(places=False)) if entry.cutout else caption(picture),
        "subject": f"{thing.colour} {thing.shape}" if thing else f"{picture.scene} in {picture.light} light",
        "category": thing.shape if thing else picture.scene,
        "license": LICENSE,
        "attribution": ATTRIBUTION,
        "person": "none",
    }


def _encoded(entry: Entry, size: int) -> bytes:
    out = io.BytesIO()
    if entry.cutout:
        render_cutout(entry.picture.things[0], size).save(out, format="PNG", compress_level=3)
    else:
        render(entry.picture, size).save(out, format="JPEG", quality=95, subsampling=0)
    return out.getvalue()
