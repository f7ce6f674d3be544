"""Samples out of a request's body: JSON with base64 images, each checked before anything is asked or paid."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from evaluation.reward_server.config import Kind, Limits
from schemas.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

TEXT = {"cme": "instruction", "qma": "prompt", "clip_surrogate": "caption"}
"""The field that an image is judged by."""
IMAGES = {"cme": 2, "qma": 1, "clip_surrogate": 1}
_SHOWN = {2: "the source and its edit", 1: "the generated image"}
_TOP = ("samples", "reward")
_LONGEST_ID = 200
_CHECKED_SIDE = 64  # a JPEG decodes straight to a smaller size, which proves its bytes as well


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        line: one line for the caller; names the sample and the field where it is one's fault.
        retry_after: seconds, where asking again later helps.
    """

    def __init__(self, status: int, line: str, retry_after: float | None = None) -> None:
        super().__init__(line)
        self.status, self.line, self.retry_after = status, line, retry_after


@dataclass(frozen=True)
class Picture:
    """An image as it came. `pixels`: RGB, upright, where they were asked for."""

    data: bytes
    sha256: str
    width: int
    height: int
    media_type: str
    pixels: Image | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Sample:
    """One image to be rewarded, or one edit with its source.

    Attributes:
        id: the caller's own, or its place in the request.
        text: instruction, prompt or caption; None for a rollout that has no caption.
    """

    id: str
    images: tuple[Picture, ...]
    text: str | None

    @property
    def seed(self) -> int:
        """Of what is asked, so that the same question goes to the same model of a mix."""
        digest = hashlib.sha256("\n".join([*(one.sha256 for one in self.images), self.text or ""]).encode())
        return int.from_bytes(digest.digest()[:7], "big")


def raw_samples(body: bytes, kind: Kind, limits: Limits) -> list[Any]:
    """What stands under `samples`, one item each, not looked at yet.

    Raises:
        Refused: 400 for what is not such a request, 413 for too many samples.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise Refused(400, 'the body must be an object: {"samples": [...]}')
    for name in tree:
        if name not in _TOP:
            raise Refused(400, f"{_quoted(name)} is no field of a request{_meant(name, _TOP)}")
    asked = tree.get("reward", kind)
    if asked != kind:
        raise Refused(400, f"reward is {_quoted(asked)}, but this server answers {kind}")
    samples = tree.get("samples")
    if not isinstance(samples, list) or not samples:
        raise Refused(400, "samples is missing or empty: a list of samples is wanted")
    if len(samples) > limits.max_batch:
        raise Refused(413, f"samples has {len(samples):,} items: {limits.max_batch:,} are the most in one request")
    return samples


def checked_samples(raw: list[Any], kind: Kind, limits: Limits, side: int | None = None) -> list[Sample]:
    """The samples of a request. Blocks: it decodes every image.

    Args:
        side: keep the decoded pixels, no larger than this; None keeps none.

    Raises:
        Refused: 400, or 413 for an image or text that is too large; the line names the sample and the field.
    """
    known: dict[str, Picture] = {}
    return [_sample(one, place, kind, limits, side, known) for place, one in enumerate(raw)]


def _sample(raw: Any, place: int, kind: Kind, limits: Limits, side: int | None, known: dict[str, Picture]) -> Sample:
    where = f"samples[{place}]"
    text_field = TEXT[kind]
    if not isinstance(raw, dict):
        raise Refused(400, f"{where} is {_kind_of(raw)}: an object with images and {text_field} is wanted")
    id = raw.get("id", str(place))
    if not isinstance(id, str) or not 0 < len(id) <= _LONGEST_ID:
        raise Refused(400, f"{where}.id is {_quoted(id)}: a text of 1 to {_LONGEST_ID} characters is wanted")
    if "id" in raw:
        where += f" ({_quoted(id)})"
    fields = ("id", "images", text_field)
    for name in raw:
        if name not in fields:
            raise Refused(400, f"{where}: {_quoted(name)} is no field of a sample for {kind}{_meant(name, fields)}")
    text = _text(raw, where, kind, limits)
    images = raw.get("images")
    wanted = IMAGES[kind]
    if not isinstance(images, list):
        raise Refused(400, f"{where}.images is {_kind_of(images) if 'images' in raw else 'missing'}: a list is wanted")
    if len(images) != wanted:
        raise Refused(400, f"{where}.images has {len(images)}: {kind} wants {wanted}, {_SHOWN[wanted]}")
    pictures = tuple(_picture(one, f"{where}.images[{i}]", limits, side, known) for i, one in enumerate(images))
    return Sample(id, pictures, text)


def _text(raw: dict[str, Any], where: str, kind: Kind, limits: Limits) -> str | None:
    name = TEXT[kind]
    if name not in raw:
        raise Refused(400, f"{where}.{name} is missing")
    text = raw[name]
    if text is None and kind == "clip_surrogate":
        return None
    if not isinstance(text, str) or not text.strip():
        raise Refused(400, f"{where}.{name} is {_quoted(text) if text == '' else _kind_of(text)}: a text is wanted")
    if len(text) > limits.max_text:
        raise Refused(413, f"{where}.{name} has {len(text):,} characters: {limits.max_text:,} are the most")
    return text


def _picture(raw: Any, where: str, limits: Limits, side: int | None, known: dict[str, Picture]) -> Picture:
    if not isinstance(raw, str):
        raise Refused(400, f"{where} is {_kind_of(raw)}: base64 text is wanted")
    if raw.startswith("data:"):
        raw = raw.partition(",")[2]
    if len(raw) // 4 * 3 - 2 > limits.max_image_bytes:
        raise Refused(413, f"{where} has about {len(raw) * 3 // 4:,} bytes: {limits.max_image_bytes:,} are the most")
    try:
        data = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"{where} is not base64 without line breaks: {error}") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 not in known:  # the source of a group's rollouts comes once with each
        known[sha256] = _decoded(data, sha256, where, limits, side)
    return known[sha256]


def _decoded(data: bytes, sha256: str, where: str, limits: Limits, side: int | None) -> Picture:
    from storage import images

    try:
        probe = images.probe(data)
        if probe.width * probe.height > limits.max_pixels:
            size = f"{probe.width} x {probe.height}"
            raise ImageError("bomb", f"{size} is more than the {limits.max_pixels:,} pixels that are taken")
        pixels = images.decode(data, max_side=side or _CHECKED_SIDE)
    except ImageError as error:
        said = {"unreadable": "cannot be read as an image"}.get(error.reason, f"is refused as a {error.reason}")
        raise Refused(400, f"{where} {said}: {_one_line(error.detail)}") from None
    return Picture(data, sha256, probe.width, probe.height, probe.media_type, pixels if side else None)


def _quoted(value: Any) -> str:
    text = _one_line(value) if isinstance(value, str) else _one_line(orjson.dumps(value).decode())
    text = text if len(text) <= 60 else text[:57] + "..."
    return f'"{text}"' if isinstance(value, str) else text


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "blank", list: "a list", dict: "an object"}
    return kinds[type(value)]


def _meant(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f": {', '.join(known)} are"
