"""The pictures of a report: each once, small, as a JPEG without metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from report.output import Place, read_place
from schemas.errors import ImageError

QUALITY = 74
_AHEAD = 256


class Pictures:
    """Numbers the pictures that entries show; equal bytes are one picture."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self._known: dict[str, int] = {}

    def number(self, place: Place | None) -> int:
        """The number of the picture at `place`; -1 for none."""
        if place is None:
            return -1
        if place.sha256 not in self._known:
            self._known[place.sha256] = len(self.places)
            self.places.append(place)
        return self._known[place.sha256]


def thumbnails(out: str, places: list[Place], px: int) -> Iterator[bytes]:
    """A JPEG of at most `px` on its longer side for each place, in order; empty where the image cannot be decoded.

    Raises:
        DamageError: a tar is missing or cut short.
    """
    # Pillow lets go of the interpreter while it decodes, scales and encodes.
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="thumbnails") as pool:
        for start in range(0, len(places), _AHEAD):
            yield from pool.map(lambda place: _thumbnail(read_place(out, place), px), places[start : start + _AHEAD])


def _thumbnail(data: bytes, px: int) -> bytes:
    from storage import images

    try:
        return images.encode_jpeg(images.decode(data, max_side=px), QUALITY, full_colour=False)
    except ImageError:
        return b""
