"""Columns of a user's list that are ignored although they look like ones that are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_CLOSE = 0.8
_SHOWN = 12
_ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("uid", "key", "pairid", "promptid", "imageid", "sampleid", "name"),
    "prompt": ("text", "caption", "instruction", "description"),
    "instruction": ("editinstruction", "editprompt", "prompt", "edit", "text", "caption", "command"),
    "image": (
        "images", "img", "imagepath", "imagefile", "imageurl", "filename", "filepath", "file", "path", "photo",
    ),
    "source_image": (
        "source", "src", "sourceimg", "srcimage", "sourcepath", "sourceimagepath", "inputimage", "input",
        "originalimage", "original", "before", "image",
    ),
    "edited_image": (
        "edited", "edit", "editedimg", "editedpath", "editedimagepath", "editimage", "targetimage", "target",
        "targetimg", "outputimage", "output", "resultimage", "result", "after",
    ),
}  # fmt: skip


def lookalikes(lacking: Iterable[str], there: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """For each of `lacking` the column that was probably meant, where there is one; no column is meant twice.

    Args:
        there: the columns of the list.
        known: the columns that are read, which are meant for themselves.
    """
    free = {_plain(name): name for name in reversed(there) if name not in known}
    found = {}
    for name in lacking:
        wanted = _plain(name)
        close = get_close_matches(wanted, list(free), n=1, cutoff=_CLOSE)
        for plain in (wanted, *_ALIASES.get(name, ()), *close):
            if plain in free:
                found[name] = free.pop(plain)
                break
    return found


def listed(columns: Sequence[str]) -> str:
    """The columns as a message names them, the first dozen."""
    return ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
