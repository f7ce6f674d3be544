"""What the practice server answers: made from the request's digest alone, valid for what was asked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import orjson

from tests.servers.asked import IMAGE_ANSWER_TOKENS, Asked, image_size, text_tokens
from tests.servers.faults import share_of
from tests.servers.pictures import not_an_image, picture
from tests.servers.schema_examples import example
from tests.servers.settings import Settings

_COLOURS = (
    *("copper", "pale blue", "mustard", "charcoal", "moss green", "ivory", "rust red", "slate grey"),
    *("honey", "teal", "plum", "sand", "cobalt", "rose", "olive", "pearl white"),
)
_THINGS = (
    *("bicycle", "armchair", "lantern", "terrier", "teapot", "sailing boat", "raincoat", "tram"),
    *("cello", "greenhouse", "heron", "suitcase", "market stall", "clock tower", "paper kite", "ferry"),
)
_PLACES = (
    *("beside a stone wall", "under a striped awning", "on a gravel path", "near an open window"),
    *("in front of a brick arch", "along a quiet canal", "on a worn wooden table", "between two lamp posts"),
    *("at the edge of a meadow", "below a tiled roof", "on wet cobbles", "by a garden gate"),
    *("over a calm harbour", "against a whitewashed house", "on a steep stairway", "among tall reeds"),
)
_LIGHTS = (
    *("in low evening light", "in flat noon light", "in a soft morning haze", "under an overcast sky"),
    *("in warm lamp light", "in a cool blue dusk", "with long shadows", "with a bright rim of sun"),
)
_PARTS = (
    *("the scratched metal trim", "the frayed hem", "the reflection in the glass", "the chipped paint"),
    *("the woven strap", "the fine grain of the wood", "the brass buckle", "the shadow it casts"),
)
_REFUSED = "I cannot help with that."


@dataclass
class Made:
    """An answer before its protocol's envelope.

    Attributes:
        finish: `stop`, `length`, or the name of a refusal in `faults.REFUSALS`.
        thinking: text of the thoughts, or nothing.
        tokens_out: of the answer alone; thoughts are counted in `tokens_thinking`.
    """

    text: str = ""
    image: bytes = b""
    media_type: str = ""
    size: tuple[int, int] = (0, 0)
    finish: str = "stop"
    thinking: str = ""
    tokens_out: int = 0
    tokens_thinking: int = 0


def answer(asked: Asked, settings: Settings, fault: str = "") -> Made:
    """The answer to `asked`, spoilt where `fault` says so."""
    if fault in ("safety", "safety_prompt", "safety_image", "prohibited"):
        return Made(finish=fault)
    made = Made()
    if asked.thinking or (settings.thinking and asked.kind != "image"):
        budget = asked.thinking_budget
        made.tokens_thinking = min(budget, settings.thinking_tokens) if budget > 0 else settings.thinking_tokens
        made.thinking = f"First I look at {_phrase(asked.identity, 3)}. Then I decide."
    if fault == "empty_answer":
        return made
    if asked.kind == "image" and fault != "text_for_image":
        _paint(made, asked, settings, fault)
        return made
    made.text = _REFUSED if fault == "text_for_image" else _text(asked, settings)
    if fault == "length":
        made.text, made.finish = made.text[: len(made.text) // 2], "length"
    elif fault == "broken":
        made.text = _broken(made.text, asked)
    made.tokens_out = text_tokens(made.text)
    return made


def tokens_out(asked: Asked, settings: Settings) -> int:
    """What the good answer will cost, without painting it."""
    if asked.kind == "image":
        return IMAGE_ANSWER_TOKENS * asked.count
    return text_tokens(_text(asked, settings))


def _paint(made: Made, asked: Asked, settings: Settings, fault: str) -> None:
    made.size = _image_size_for(asked, settings.image_side)
    form = asked.image_format or settings.image_format
    made.media_type = f"image/{form}"
    made.image = not_an_image() if fault == "not_an_image" else picture(made.size, asked.identity, form)
    made.tokens_out = IMAGE_ANSWER_TOKENS
    if fault == "length":
        made.image, made.finish = b"", "length"


def _image_size_for(asked: Asked, side: int) -> tuple[int, int]:
    """The size asked for; else the aspect asked for, or that of an image shown, with `side` as the longer side."""
    if asked.size:
        return asked.size
    aspect = asked.aspect
    if aspect is None and asked.images:
        # DashScope takes the last image's aspect, the others the first one's.
        width, height = image_size(asked.images[-1 if asked.protocol == "dashscope" else 0])
        aspect = width / height
    aspect = min(max(aspect or 1.0, 1 / 8), 8.0)
    return (side, max(1, round(side / aspect))) if aspect >= 1 else (max(1, round(side * aspect)), side)


def _text(asked: Asked, settings: Settings) -> str:
    if settings.text is not None:
        return settings.text
    if asked.kind == "schema":
        return _structured(asked, settings)
    whole = "\n".join(asked.texts)
    if "[Main Subject]:" in whole:
        return _checklist(asked.identity)
    if "Final Alignment Rating: n" in whole:
        return _following(asked.identity, whole)
    return _ic_cot(asked.identity, len(asked.images))


def _checklist(digest: bytes) -> str:
    """A plan of two to five items, and now and then of what must not appear."""
    items = "\n".join(
        f"{n}. [{_noun(digest, n)}]:\n- Is {_noun(digest, n)} there?\n- Is it {_PLACES[digest[n] & 15]}?"
        for n in range(1, 3 + digest[0] % 4)
    )
    negative = "\n[Negative Constraints]:\n- lettering" if digest[1] & 1 else ""
    return f"To judge how far the image follows the prompt, go through these points:\n{items}{negative}\nThat is all."


def _following(digest: bytes, whole: str) -> str:
    """A judgement of as many criteria as the question names (three where it names none), whose rating follows."""
    named = re.search(r"each of the (\d+) criteria", whole)
    count = int(named[1]) if named else 3
    marks = [("met", "met", "partly met", "not met")[digest[n % 20] & 3] for n in range(count)]
    missed, met = sum(mark != "met" for mark in marks), marks.count("met")
    if missed == 0:
        rating = 5
    elif missed == 1 and marks[0] != "not met":
        rating = 4
    else:
        rating = 3 if "met" in marks[:-1] or "partly met" in marks[:-1] else 2 if met else 1
    lines = "\n".join(f"{n}. [{_noun(digest, n)}]: so it is. Verdict: {mark}" for n, mark in enumerate(marks, 1))
    return f"{lines}\n\nFinal Analysis: {missed} missed.\n\nFinal Alignment Rating: {rating}\n\\boxed{{{rating}}}"


def _structured(asked: Asked, settings: Settings) -> str:
    schema = asked.schema or {}
    wanted = schema.get("properties", {})
    if {"feasible", "instruction"} <= set(wanted):
        feasible = share_of(asked.base, "infeasible") >= settings.infeasible
        value = {
            "feasible": feasible,
            "reason": "" if feasible else "The second image is too blurred to take anything from.",
            "instruction": _instruction(asked.identity, len(asked.images)) if feasible else "",
        }
        return json.dumps({name: value[name] for name in wanted if name in value})
    return orjson.dumps(example(schema, asked.identity)).decode()


def _instruction(digest: bytes, images: int) -> str:
    named = [f"{_part(digest, i)} from image {i}" for i in range(1, images + 1)]
    taken = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"Show {_phrase(digest, 0)}" + (f", with {taken}." if taken else ".")


def _ic_cot(digest: bytes, images: int) -> str:
    relations = "".join(
        f"<relation_{i}>{_part(digest, i).capitalize()} of {_noun(digest, i)} "
        f"{'is consistent with' if i == 1 else 'is from'} image_{i}.</relation_{i}>"
        for i in range(1, images + 1)
    )
    return f"<out_caption>{_phrase(digest, 0).capitalize()}.</out_caption>{relations}"


def _broken(text: str, asked: Asked) -> str:
    """The same answer with a defect; which one depends on the request."""
    which = asked.base[0] % 4
    if asked.kind == "schema":
        return (
            text[:-1],
            "Sure, here it is: " + text,
            '{"feasible": "perhaps", "surprise": [1]}',
            "[]",
        )[which]
    if not text.startswith("<out_caption>") or not asked.images:
        return ""
    last = f"<relation_{len(asked.images)}>"
    return (
        text[: text.index(last)],
        text.replace("</out_caption>", "", 1),
        "Here is my reasoning. " + text,
        text.replace("</out_caption>", ", as in image 1</out_caption>", 1),
    )[which]


def _noun(digest: bytes, at: int) -> str:
    return f"the {_COLOURS[digest[at % 10] & 15]} {_THINGS[digest[at % 10 + 4] & 15]}"


def _part(digest: bytes, at: int) -> str:
    return _PARTS[digest[(at * 3) % 20] & 7]


def _phrase(digest: bytes, at: int) -> str:
    return (
        f"a {_COLOURS[digest[at] & 15]} {_THINGS[digest[at + 1] & 15]} and a {_COLOURS[digest[at + 2] & 15]} "
        f"{_THINGS[digest[at + 3] & 15]} {_PLACES[digest[at + 4] & 15]} {_LIGHTS[digest[at + 5] & 7]}"
    )
