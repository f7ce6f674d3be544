"""From a stored answer to the value a recipe asked for, or to the sentences that say what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from annotators.errors import FinalError, RepairableError
from annotators.interface import Request
from annotators.ledger import Entry
from schemas.messages import Message, TextPart

NO_IMAGE = "The answer must be an image, but it held only text."
NOT_AN_IMAGE = "The answer must be an image, but its bytes are no readable image."
Parser = Callable[[str], Any]
_MOST_DEFECTS = 20
_FENCED = re.compile(r"\s*```[a-zA-Z]*\s*\n(.*)\n\s*```\s*", re.DOTALL)


def parsed_answer(request: Request, entry: Entry, parser: Parser | None) -> Any:
    """The value of an answer: a pydantic object, what `parser` makes of the text, the text, or None for an image.

    Raises:
        FinalError: the provider refused.
        RepairableError: the answer is not what was asked for.
    """
    if entry.refusal and entry.repairable:
        raise RepairableError(entry.detail.split("\n"), entry.refusal)
    if entry.refusal:
        raise FinalError(entry.refusal, entry.detail)
    if request.modality == "image":
        if not entry.blob:
            raise RepairableError([NO_IMAGE], "no_image")
        if not entry.width:
            raise RepairableError([NOT_AN_IMAGE], "bad_image")
        return None
    if request.answer is not None:
        return _by_schema(request.answer, entry.text)
    return entry.text if parser is None else _by_parser(parser, entry.text)


def repair_message(defects: Sequence[str], number: int = 1) -> Message:
    """What repair `number` adds to the question: the list of errors, and nothing of the answer that had them.

    The second says that it is the second: a model that answers the same to the same must not be asked the same.
    """
    listed = "\n".join(f"- {defect}" for defect in defects[:_MOST_DEFECTS])
    again = "" if number == 1 else " Nor was the next one."
    begun = f"An answer to this was not usable.{again} Its errors:"
    text = f"{begun}\n{listed}\nAnswer again, in full, without these errors."
    return Message(speaker="user", parts=(TextPart(text=text),))


def _by_schema(schema: type[BaseModel], text: str) -> BaseModel:
    fenced = _FENCED.fullmatch(text)
    text = fenced.group(1) if fenced else text
    twice = [name for name in schema.model_fields if text.count(f'"{name}"') > 1 and _repeats(text, name)]
    if twice:
        raise RepairableError([f"{name}: stands there twice; give it once." for name in twice])
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise RepairableError(_sentences(error)) from error


def _repeats(text: str, name: str) -> bool:
    """Whether one object of a JSON text has the key twice: a reader would take the last without a word."""
    found = False

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or sum(key == name for key, _ in pairs) > 1
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=noted)
    except ValueError:
        return False  # the schema's own reader says what is wrong
    return found


def _by_parser(parser: Parser, text: str) -> Any:
    try:
        return parser(text)
    except ValidationError as error:
        raise RepairableError(_sentences(error), "grammar") from error
    except ValueError as error:
        defects = getattr(error, "defects", None) or [str(error)]
        raise RepairableError([str(d) for d in defects], "grammar") from error


def _sentences(error: ValidationError) -> list[str]:
    """One plain sentence per error; the values found are left out, for they are the model's own text."""
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"])
        found.append(f"{place}: {item['msg']}." if place else f"{item['msg']}.")
    return [sentence.replace("..", ".") for sentence in found]
