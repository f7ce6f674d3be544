"""Gemini's `generateContent` as plain JSON: the body of a request, and what an answer says. Pure, without the SDK.

The online provider and the batch API send and read the same: there is one way to ask, and one reading of answers.
Field names are REST's (camelCase); unknown fields, finish reasons and shapes never raise anything but the four classes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from annotators.config import ModelConfig
from annotators.errors import FinalError, RepairableError, RetryableError
from annotators.interface import RawAnswer, Request
from annotators.network.gemini_families import image_config, modalities, takes_system
from annotators.network.gemini_schema import gemini_schema
from annotators.network.reading import CUT_OFF, EMPTY, NOT_AN_IMAGE, as_count, as_dict, as_list
from annotators.network.showing import ShownMessage
from annotators.network.thinking import part_block

_NAMED = {"temperature": "temperature", "top_p": "topP", "max_tokens": "maxOutputTokens"}
_OURS = frozenset({*_NAMED, "seed", "thinking_budget", "max_side"})
_BESIDE = frozenset({"safety_settings", "tools", "tool_config", "labels", "cached_content", "service_tier", "store"})
_OF_IMAGES = frozenset({"response_modalities", "image_config"})
_SEEDS = 2**31  # the field is an int32

_UNSAFE = re.compile(r"SAFETY|PROHIBITED|BLOCK|SPII|RECITATION|JAILBREAK|ARMOR")
_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})
_BROKEN = re.compile(r"\A(OTHER|LANGUAGE|MALFORMED_.*|UNEXPECTED_.*|TOO_MANY_.*|MISSING_.*|NO_IMAGE|IMAGE_OTHER)\Z")


def generate_body(config: ModelConfig, request: Request, shown: Sequence[ShownMessage]) -> dict[str, Any]:
    """The REST body that asks `request`: a turn for each message, images as inline bytes, each after its label."""
    system_too = takes_system(config.model)
    system = [part for message in shown if _is_system(message, system_too) for part in _parts(message)]
    turns = [{"role": "user", "parts": _parts(m)} for m in shown if not _is_system(m, system_too)]
    body: dict[str, Any] = {"contents": turns}
    if system:
        body["systemInstruction"] = {"parts": system}
    generation = _generation(config.model, request)
    for name, value in request.sampling.items():
        if name in _OURS or (name in _OF_IMAGES and request.modality != "image"):
            continue
        value = value if name == "labels" else _rest(value)
        place = body if name in _BESIDE else generation
        under = place.get(_camel(name))
        place[_camel(name)] = {**under, **value} if isinstance(under, dict) and isinstance(value, dict) else value
    if generation:
        body["generationConfig"] = generation
    return body


def _generation(model: str, request: Request) -> dict[str, Any]:
    sampling = request.sampling
    found: dict[str, Any] = {rest: sampling[name] for name, rest in _NAMED.items() if sampling.get(name) is not None}
    if "seed" in sampling or request.draw > 0:
        found["seed"] = request.seed % _SEEDS
    if sampling.get("thinking_budget") is not None:
        found["thinkingConfig"] = {"thinkingBudget": sampling["thinking_budget"], "includeThoughts": False}
    if request.modality == "image":
        found["responseModalities"] = modalities(model)
        size = image_config(model, request.size)
        if size:
            found["imageConfig"] = size
    elif request.answer is not None:
        found["responseMimeType"] = "application/json"
        found["responseJsonSchema"] = gemini_schema(request.answer)
    return found


def _is_system(message: ShownMessage, system_too: bool) -> bool:
    # System instructions are texts; one that shows images is sent as part of the question.
    return system_too and message.speaker == "system" and not message.images


def _parts(message: ShownMessage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, str):
            found.append({"text": part})
        else:
            if part.label:
                found.append({"text": part.label})
            found.append({"inlineData": {"mimeType": part.media_type, "data": part.base64}})
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _rest(value: Any) -> Any:
    """A config's value with its field names as REST has them."""
    if isinstance(value, Mapping):
        return {_camel(str(key)): _rest(inner) for key, inner in value.items()}
    return [_rest(inner) for inner in value] if isinstance(value, list | tuple) else value


def read_generate(payload: Any, request: Request) -> RawAnswer:
    """What an answer says: the text or the first image of the first candidate, thinking parted from it.

    Raises:
        FinalError: `safety`: the prompt or the answer was blocked; `raw` has what was paid.
        RepairableError: `truncated`, `no_image`, `bad_image`, `empty`, `unfinished`.
        RetryableError: `malformed`: no answer in a known shape.
    """
    if not isinstance(payload, dict):
        raise RetryableError("malformed", f"the answer is a JSON {type(payload).__name__}, not an object")
    usage = as_dict(payload.get("usageMetadata"))
    paid = RawAnswer(
        tokens_in=as_count(usage.get("promptTokenCount")) + as_count(usage.get("toolUsePromptTokenCount")),
        tokens_out=as_count(usage.get("candidatesTokenCount")) + as_count(usage.get("thoughtsTokenCount")),
    )
    blocked = _word(as_dict(payload.get("promptFeedback")).get("blockReason"))
    if blocked:
        said = _sentence(as_dict(payload.get("promptFeedback")).get("blockReasonMessage"))
        raise FinalError("safety", f"the prompt was blocked: {blocked}{said}", raw=_if_paid(paid))
    candidates = [c for c in as_list(payload.get("candidates")) if isinstance(c, dict)]
    if not candidates and not _if_paid(paid):
        raise RetryableError("malformed", "the answer has no candidates")
    candidates = candidates or [{}]  # paid for and empty: the same as a candidate without parts
    reason, said = _word(candidates[0].get("finishReason")), _sentence(candidates[0].get("finishMessage"))
    parts = [p for p in as_list(as_dict(candidates[0].get("content")).get("parts")) if isinstance(p, dict)]
    parts = [p for p in parts if not p.get("thought")]
    # Its thinking comes as parts of its own: no text is searched for it further than a block at the beginning.
    text = part_block("".join(p["text"] for p in parts if isinstance(p.get("text"), str)))[1]
    raw = RawAnswer(text=text, tokens_in=paid.tokens_in, tokens_out=paid.tokens_out)
    if _UNSAFE.search(reason):
        raise FinalError("safety", f"the answer was blocked: {reason}{said}", raw=_if_paid(raw))
    if request.modality == "image":
        return _painted(raw, parts, reason, said)
    return _written(raw, reason, said)


def _written(raw: RawAnswer, reason: str, said: str) -> RawAnswer:
    if reason in _CUT:
        raise RepairableError([CUT_OFF], "truncated", raw=raw)
    if _BROKEN.match(reason):
        raise RepairableError([f"The answer was not finished: {reason}{said}."], "unfinished", raw=raw)
    if not raw.text.strip():
        raise RepairableError([EMPTY], "empty", raw=raw)
    return raw


def _painted(raw: RawAnswer, parts: list[dict[str, Any]], reason: str, said: str) -> RawAnswer:
    unreadable = False
    for part in parts:
        inline = as_dict(part.get("inlineData"))
        media_type = inline.get("mimeType")
        if isinstance(media_type, str) and media_type.startswith("image/"):
            image = _bytes(inline.get("data"))
            if image:
                return RawAnswer(
                    text=raw.text,
                    image=image,
                    media_type=media_type.split(";")[0],
                    tokens_in=raw.tokens_in,
                    tokens_out=raw.tokens_out,
                )
            unreadable = True
    if unreadable:
        raise RepairableError([NOT_AN_IMAGE], "bad_image", raw=raw)
    if reason in _CUT:
        raise RepairableError(["The answer was cut off before its image."], "truncated", raw=raw)
    why = "" if reason in ("", "STOP") else f" ({reason}{said})"
    raise RepairableError([f"The answer must be an image, but it held none{why}."], "no_image", raw=raw)


def _bytes(data: Any) -> bytes:
    """The bytes of base64 in either alphabet; empty where it is none."""
    if not isinstance(data, str):
        return b""
    try:
        return base64.b64decode(data, validate=True)  # as the endpoint itself writes it: nothing else costs a copy
    except ValueError:
        pass
    try:
        plain = data.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"), b" \r\n\t=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""


def _if_paid(raw: RawAnswer) -> RawAnswer | None:
    return raw if raw.tokens_in or raw.tokens_out else None


def _word(value: Any) -> str:
    """An enum's value: its name, or its number where the endpoint's own library is too old to know the name."""
    return str(value).upper()[:64] if isinstance(value, str | int) and not isinstance(value, bool) and value else ""


def _sentence(value: Any) -> str:
    return f": {' '.join(value.split())[:300].rstrip('.')}" if isinstance(value, str) and value.strip() else ""
