"""Images as a judge is shown them: resized once per process, and kept among the ledger's blobs."""

from __future__ import annotations

import threading
from collections import OrderedDict

from annotators.blobs import Blobs
from schemas.references import ImageRef
from storage import images
from storage.references import image_bytes

_MOST = 20_000


class ShownImages:
    """Brings an image to another size, as a JPEG of quality 95; one that has that size is left as it lies.

    A reference serves many samples, so the latest are remembered. Safe among threads.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs, self._lock = blobs, threading.Lock()
        self._made: OrderedDict[tuple[str, tuple[int, int]], ImageRef] = OrderedDict()

    def __call__(self, image: ImageRef, size: tuple[int, int]) -> ImageRef:
        """The image at `size` (width, height) in pixels. Blocks: call it off the loop.

        Raises:
            ImageError: its bytes are missing, changed or cannot be decoded.
        """
        if size == (image.width, image.height):
            return image
        key = (image.sha256, size)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        small = images.encode_jpeg(images.decode(image_bytes(image)).resize(size))
        digest = self._blobs.put(small, "image/jpeg")
        uri = self._blobs.uri(digest, "image/jpeg")
        made = ImageRef(uri=uri, sha256=digest, width=size[0], height=size[1], media_type="image/jpeg")
        with self._lock:
            self._made[key] = made
            if len(self._made) > _MOST:
                self._made.popitem(last=False)
        return made
