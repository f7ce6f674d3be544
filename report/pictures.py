"""The pictures of a report: each once, small, as a JPEG without metadata."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from report.output import Place, is_intact, read_place
from schemas.errors import ImageError

QUALITY = 68
_AHEAD = 256


class Picture(NamedTuple):
    """Where a picture lies. `lesser`: it is shown at four fifths of the size, as references are beside their target."""

    place: Place
    lesser: bool = False


class Pictures:
    """Numbers the pictures that entries show; equal bytes are one picture."""

    def __init__(self) -> None:
        self.listed: list[Picture] = []
        self._known: dict[str, int] = {}

    def number(self, place: Place | None, *, lesser: bool = False) -> int:
        """The number of the picture at `place`; -1 for none."""
        if place is None:
            return -1
        if place.sha256 not in self._known:
            self._known[place.sha256] = len(self.listed)
            self.listed.append(Picture(place, lesser))
        return self._known[place.sha256]


def thumbnails(out: str, pictures: list[Picture], px: int) -> Iterator[bytes | None]:
    """A JPEG of at most `px` on its longer side for each picture, in order; empty where it cannot be decoded.

    None where the bytes are not those that the index tells of: another picture may lie there.

    Raises:
        DamageError: a tar is missing or cut short.
    """

    def small(picture: Picture) -> bytes | None:
        from storage import images

        try:
            data = read_place(out, picture.place)
            if not is_intact(picture.place, data):
                return None
            return images.thumbnail(data, px * 4 // 5 if picture.lesser else px, QUALITY)
        except ImageError:
            return b""

    # Pillow lets go of the interpreter while it decodes, scales and encodes.
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="thumbnails") as pool:
        begun: deque[Future[bytes | None]] = deque()
        for picture in pictures:
            begun.append(pool.submit(small, picture))
            if len(begun) > _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
