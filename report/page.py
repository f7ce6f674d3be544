"""`report.html`: one file that holds its data, its pictures and its script, and asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from report.choice import choose
from report.diversity import diversity
from report.entries import entries
from report.figures import figures
from report.output import Json, Output
from report.pictures import Pictures, thumbnails
from report.wording import writable
from storage import paths

REPORT = "report.html"
SAMPLES = 5000
TITLES = {"realign": "Re-Align", "firm-edit": "FIRM-Edit", "firm-gen": "FIRM-Gen"}
_CHUNK = 50
_BLOCK = 100
_THUMB = {"firm-edit": 320, "firm-gen": 320}
_THUMB_OTHERWISE = 160
_SCRIPTS = ("dom.js", "charts.js", "cards.js", "page.js")


class Written(NamedTuple):
    """What a report came to: entries shown, entries there are, bytes, and pictures that are not what the index says."""

    shown: int
    of: int
    bytes: int
    damaged: int


def write_report(output: Output, samples: int = SAMPLES, thumb: int | None = None) -> Written:
    """Write `OUT/report.html`; the same output gives the same bytes.

    Args:
        samples: the most entries that it shows, fairly chosen; its figures are always of all.
        thumb: the longer side of its pictures, in pixels; by default 160, and 320 where an entry has one or two.

    Raises:
        DamageError: a tar or a rejects file cannot be read.
    """
    px = thumb or _THUMB.get(output.dataset, _THUMB_OTHERWISE)
    chosen, pictures = choose(output, samples), Pictures()
    made, records = entries(output, chosen, pictures)
    head = {
        "figures": figures(output),
        "diversity": diversity(records),
        "heads": [entry.head for entry in made],
        "of_kept": chosen.of_kept,
        "of_rejected": chosen.of_rejected,
        "chunk": _CHUNK,
        "block": _BLOCK,
    }
    written, damaged = 0, list[str]()
    with paths.open_atomic(paths.join(output.out, REPORT)) as file:
        for part in _page(output, head, [entry.detail for entry in made], pictures, px, damaged):
            written += file.write(part.encode("utf-8", "replace"))
    return Written(len(made), chosen.of_kept + chosen.of_rejected, written, len(damaged))


def title_of(dataset: str) -> str:
    """What people call a dataset."""
    return TITLES.get(dataset, dataset or "Dataset")


def _page(
    output: Output, head: Json, details: list[Json], pictures: Pictures, px: int, damaged: list[str]
) -> Iterator[str]:
    """The page in order: the data before the script, which starts before the pictures are read."""
    script = "\n".join(_file(name) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    before, _, rest = _file("page.html").partition("@@DATA@@")
    middle, _, after = rest.partition("@@PICTURES@@")
    title = html.escape(f"{title_of(output.dataset)} dataset")
    yield (
        before.replace("@@TITLE@@", title)
        .replace("@@SCRIPT_HASH@@", f"'sha256-{digest}'")
        .replace("@@CSS@@", _file("page.css").replace("@@THUMB@@", str(px)))
    )
    yield _block("head", json_text(head))
    for number in range(-(-len(details) // _CHUNK)):
        yield _block(f"detail-{number}", json_text(details[number * _CHUNK : (number + 1) * _CHUNK]))
    yield middle.replace("@@SCRIPT@@", script)
    yield from _pictures(output, pictures, px, damaged)
    # Known only when every picture was read, which is after the page's head was written.
    yield _block("damaged", json_text(sorted(damaged)))
    yield after


def _pictures(output: Output, pictures: Pictures, px: int, damaged: list[str]) -> Iterator[str]:
    """Blocks of base64 lines; `-` for a picture that cannot be shown. Fills `damaged` with members' names."""
    lines: list[str] = []
    for number, data in enumerate(thumbnails(output.out, pictures.listed, px)):
        if data is None:
            damaged.append(pictures.listed[number].place.name)
        lines.append(base64.b64encode(data).decode() if data else "-")
        if len(lines) == _BLOCK or number + 1 == len(pictures.listed):
            yield f'<script type="text/plain" id="pictures-{number // _BLOCK}">\n' + "\n".join(lines) + "\n</script>\n"
            lines = []


def json_text(value: object) -> str:
    """JSON that may stand in a script element: no `<`, so no `</script>` and no `<!--`; null for NaN and infinity."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return writable(text).replace("<", "\\u003c")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _block(name: str, text: str) -> str:
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _file(name: str) -> str:
    return resources.files("report").joinpath(name).read_text(encoding="utf-8")
