"""The images that a judge is shown: found below a folder, told by digest, and resized where a protocol says so."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import ImageError, InputError
from schemas.references import ImageRef
from storage import images, paths

Size = Callable[[int, int], tuple[int, int]]
"""From an image's (width, height) to those it is shown at."""


class Picture(NamedTuple):
    """Where an image lies: a path, relative or absolute, which may not leave the folder."""

    folder: str
    name: str


class Workspace:
    """A temporary folder for images that lie in no file of their own, or are shown at another size."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plumbline-judged-")
        self._resized: dict[tuple[str, tuple[int, int]], ImageRef] = {}
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> Picture:
        """Bytes that a table holds, as a picture."""
        name = hashlib.sha256(data).hexdigest()
        target = paths.join(self._folder.name, name)
        if not paths.exists(target):
            paths.write_atomic(target, data)
        return Picture(self._folder.name, name)

    def shown(self, picture: Picture, size: Size | None = None) -> ImageRef:
        """The image as it is to be shown. Blocks: call it off the loop.

        Args:
            size: the protocol's; an image that already has it is shown as it lies, others as JPEGs of quality 95.

        Raises:
            ImageError: `missing`, `outside` of its folder, `unreadable` or `bomb`.
        """
        found, data = _read(picture)
        wanted = (found.width, found.height) if size is None else size(found.width, found.height)
        if wanted == (found.width, found.height):
            return found
        with self._lock:
            known = self._resized.get((found.sha256, wanted))
        if known is not None:
            return known
        small = images.encode_jpeg(images.decode(data).resize(wanted))
        uri = paths.join(*self.keep(small))
        digest = hashlib.sha256(small).hexdigest()
        made = ImageRef(uri=uri, sha256=digest, width=wanted[0], height=wanted[1], media_type="image/jpeg")
        with self._lock:
            self._resized[found.sha256, wanted] = made
        return made

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self._folder.cleanup()


def some_exist(option: str, pictures: list[Picture]) -> None:
    """Nothing, where at least one of the pictures is there: a wrong folder is told before anything is asked.

    Raises:
        InputError: none is.
    """
    if pictures and not any(paths.exists(paths.join(*picture)) for picture in pictures):
        folder, name = pictures[0]
        raise InputError(f"{option} {folder}: has none of the {len(pictures):,} images, such as {name}")


def _read(picture: Picture) -> tuple[ImageRef, bytes]:
    folder, name = picture
    try:
        uri = paths.inside(folder, name)
        data = paths.read_bytes(uri)
    except ValueError:
        raise ImageError("outside", f"{name} leaves the folder {folder}") from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ImageError("missing", f"there is no {name} in {folder}") from None
    except OSError as error:
        raise ImageError("unreadable", f"{name}: {error.strerror or error}") from None
    try:
        probe = images.probe(data)
    except ImageError as error:
        raise ImageError(error.reason, f"{name}: {error.detail}") from None
    digest = hashlib.sha256(data).hexdigest()
    ref = ImageRef(uri=uri, sha256=digest, width=probe.width, height=probe.height, media_type=probe.media_type)
    return ref, data
