"""What is sent to a model: text and images in order, each image under its label."""

from __future__ import annotations

from typing import Literal

from schemas.base import Record
from schemas.references import ImageRef


class TextPart(Record):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Record):
    """An image in its place. `label` is the text just before it: `Image 1 (base):`; empty for none."""

    type: Literal["image"] = "image"
    label: str
    image: ImageRef


class Message(Record):
    speaker: Literal["system", "user"]
    parts: tuple[TextPart | ImagePart, ...]


def digest_view(messages: tuple[Message, ...]) -> list[object]:
    """The messages as the ledger hashes them: texts as they are, images by digest, no address.

    Moving a pool to another folder must not change a request's key, so `uri` is left out.
    """
    return [
        [
            m.speaker,
            [["image", p.label, p.image.sha256] if isinstance(p, ImagePart) else ["text", p.text] for p in m.parts],
        ]
        for m in messages
    ]
