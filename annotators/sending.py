"""The bytes of an image that go to a model: upright, without metadata, no larger than the model wants."""

from __future__ import annotations

from schemas.references import ImageRef

QUALITY = 95


def sendable(image: ImageRef, max_side: int = 2048) -> tuple[bytes, str]:
    """(bytes, media type) of an image as every network provider sends it.

    An upright JPEG within `max_side` keeps its coded bytes, without EXIF, GPS and comments; anything else is encoded
    anew, orientation applied, alpha over white. Blocks: call it off the loop.

    Raises:
        ImageError: `missing`, `changed` since it was indexed, `unreadable` or `bomb`.
    """
    from storage import images
    from storage.references import image_bytes

    clean = images.clean(image_bytes(image), max_side=max_side, quality=QUALITY)
    return clean.data, clean.media_type
