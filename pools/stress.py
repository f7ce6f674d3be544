"""The defects a plan may ask for that lie in the pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from schemas.errors import ImageError
from schemas.plan import PlannedReference, Stress

if TYPE_CHECKING:
    from PIL import Image


def apply(image: Image.Image, stress: Stress) -> Image.Image:
    """The image as it is sent and written: blurred where the plan says so, else unchanged.

    The blur is Gaussian with a radius of a fiftieth of the longer side, at least 2 pixels: the subject can still be
    told, its details cannot. A mismatched or distracting reference is a whole picture; only its place is wrong.
    """
    if stress is not Stress.BLURRED:
        return image
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(max(2.0, max(image.size) / 50)))


class Store(Protocol):
    """Where a changed image is kept, under its digest."""

    def put(self, data: bytes, media_type: str) -> str: ...

    def uri(self, sha256: str, media_type: str) -> str: ...


def blurred(planned: PlannedReference, store: Store) -> PlannedReference:
    """A reference whose label says `blurred`, now with blurred pixels of its own; any other as it is.

    The reference keeps its id, which is that of the sharp image; address and digest become those of the blurred one.
    An unreadable image is left alone: whoever decodes it next says why it is rejected.
    """
    if planned.stress is not Stress.BLURRED:
        return planned
    from storage import images, paths

    reference = planned.reference
    try:
        image = images.decode_rgba(paths.read_bytes(reference.uri))
    except (ImageError, OSError):
        return planned
    soft = apply(image, planned.stress)
    if reference.alpha:
        out = io.BytesIO()
        soft.save(out, format="PNG")
        data, media_type = out.getvalue(), "image/png"
    else:
        data, media_type = images.encode_jpeg(soft.convert("RGB")), "image/jpeg"
    sha256 = store.put(data, media_type)
    changes = {"uri": store.uri(sha256, media_type), "sha256": sha256, "media_type": media_type}
    return planned.model_copy(update={"reference": reference.model_copy(update=changes)})
