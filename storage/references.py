"""Reading what an `ImageRef` names, and making sure that it still is what was named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from schemas.errors import ImageError
from schemas.references import ImageRef
from storage.paths import read_bytes


def image_bytes(image: ImageRef, read: Callable[[str], bytes] = read_bytes) -> bytes:
    """The bytes at the image's address.

    A sample names its images by digest, and what was computed of them is kept by digest: other bytes would make a
    lie of both.

    Raises:
        ImageError: `missing`, `unreadable`, or `changed` since the digest was taken.
    """
    try:
        data = read(image.uri)
    except FileNotFoundError as error:
        raise ImageError("missing", f"{image.uri} is not there") from error
    except OSError as error:
        raise ImageError("unreadable", f"{image.uri}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise ImageError("changed", f"{image.uri} no longer holds the bytes {image.sha256[:12]}")
    return data
