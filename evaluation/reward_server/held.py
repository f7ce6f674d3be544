"""Images of requests under way, in memory, where an `ImageRef` finds them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Any

from evaluation.reward_server.samples import Picture
from schemas.references import ImageRef


class HeldPictures:
    """Holds images in this process's memory; nothing is written to a disk.

    One that several samples share is held once, and let go with the last of them.
    """

    def __init__(self) -> None:
        import fsspec

        self._folder = f"/plumbline-rewards-{uuid.uuid4().hex}"
        self._files: Any = fsspec.filesystem("memory")
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, picture: Picture) -> ImageRef:
        """Its reference, good until it is released as often as it was held."""
        path = f"{self._folder}/{picture.sha256}"
        with self._lock:
            self._held[path] = self._held.get(path, 0) + 1
            if self._held[path] == 1:
                self._files.pipe_file(path, picture.data)
        return ImageRef(
            uri=f"memory:/{path}",
            sha256=picture.sha256,
            width=picture.width,
            height=picture.height,
            media_type=picture.media_type,
        )

    def release(self, refs: Sequence[ImageRef]) -> None:
        """Let go of each once."""
        for ref in refs:
            path = f"{self._folder}/{ref.sha256}"
            with self._lock:
                self._held[path] -= 1
                if not self._held[path]:
                    del self._held[path]
                    self._files.rm_file(path)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for path in self._held:
                self._files.rm_file(path)
            self._held.clear()
