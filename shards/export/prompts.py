"""Where the images stand in a prompt: `<image_i>` placeholders, told from text that merely looks like them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.mentions import PLACEHOLDER

Piece = int | str
"""Image i (from 1), or text."""

# What chat templates and loaders count or turn into special tokens: <image>, <image_2>, <video>, <img>,
# <start_of_image>, <IMG_CONTEXT>, <|image_pad|>, <|im_end|>, [IMG], ...; the ends of a text (Llama, T5, Gemma), turns
# (Gemma, Mistral), thoughts and tool calls (Qwen), regions (InternVL). Tokenizers cut these out of any text they get.
_NAME = r"[^<>\[\]()\s]{0,64}?"
_WORDS = (
    r"s|bos|eos|pad|unk|mask|sys|eot|end_of_text|start_of_turn|end_of_turn|think|thinking|tools?|tool_calls?"
    r"|tool_response|function|ref|box|quad|unused\d+|extra_id_\d+"
)
_SQUARE = r"/?inst|img(?:_\w+)?|/?tool_calls|/?tool_results|/?available_tools|/?system_prompt"
_SPECIAL = re.compile(
    rf"<(/?{_NAME}(?:image|img|video|audio|vision){_NAME}|/?(?:{_WORDS}))>"
    rf"|<[|｜]([^<>\[\]()\n]{{0,64}}?)[|｜]>|\[({_SQUARE})\]",
    re.IGNORECASE,
)
_SQUARE_NAME = re.compile(_SQUARE, re.IGNORECASE)
_LEADING = re.compile(rf"\s*{PLACEHOLDER.pattern}")


class PlaceholderError(ValueError):
    """A prompt that does not name each of its images exactly once."""


def pieces(prompt: str, images: int) -> list[Piece]:
    """An interleaved prompt in order: each image once, and the text between, without anything special left in it.

    The images come out in ascending order, for a trainer numbers them as they come and texts speak of "image 2": where
    the prompt has them otherwise, all stand first and the text says `image i` instead.

    Raises:
        PlaceholderError: it does not hold each of `<image_1>` to `<image_N>` exactly once.
    """
    found: list[Piece] = []
    at = 0
    for match in PLACEHOLDER.finditer(prompt):
        found += [plain(prompt[at : match.start()]), int(match.group(1))]
        at = match.end()
    found.append(plain(prompt[at:]))
    checked = _checked(found, images)
    if order_of(checked) == list(range(1, images + 1)):
        return checked
    text = "".join(f"image {piece}" if isinstance(piece, int) else piece for piece in checked)
    return [*range(1, images + 1), text]


def leading_pieces(prompt: str, images: int) -> list[Piece]:
    """The same for a critic's prompt, whose images stand at its beginning: whatever looks like one later is text.

    Raises:
        PlaceholderError: it does not begin with each of `<image_1>` to `<image_N>` once.
    """
    found: list[Piece] = []
    at = 0
    for _ in range(images):
        match = _LEADING.match(prompt, at)
        if match is None:
            break
        found += [prompt[at : match.start(1) - len("<image_")], int(match.group(1))]
        at = match.end()
    found.append(plain(prompt[at:]))
    return _checked(found, images)


def order_of(found: Sequence[Piece]) -> list[int]:
    """The images in the order in which they stand."""
    return [piece for piece in found if isinstance(piece, int)]


def with_token(found: Sequence[Piece], token: str = "<image>") -> str:
    """One text with `token` for each image, which trainers fill in order; hence with as many tokens as images."""
    return "".join(token if isinstance(piece, int) else piece for piece in found)


def plain_prompt(prompt: str) -> str:
    """An interleaved prompt with its placeholders where they are, and nothing else special left in it."""
    parts = PLACEHOLDER.split(prompt)
    return "".join(f"<image_{part}>" if n % 2 else plain(part) for n, part in enumerate(parts))


def plain(text: str) -> str:
    """Text in which nothing is taken for an image or a special token: `<image>` becomes `[image]`.

    The tags of an IC-CoT (`<out_caption>`, `<relation_i>`) stay.
    """
    return _SPECIAL.sub(lambda match: _bracketed(next(filter(None, match.groups()), "")), text)


def _bracketed(name: str) -> str:
    # `[IMG]` is itself special to some tokenizers.
    name = name.strip("|｜")
    return f"({name})" if _SQUARE_NAME.fullmatch(name) else f"[{name}]"


def _checked(found: list[Piece], images: int) -> list[Piece]:
    if sorted(order_of(found)) != list(range(1, images + 1)):
        raise PlaceholderError(f"it names the images {order_of(found)}, not each of 1 to {images} once")
    return [piece for piece in found if piece != ""]
