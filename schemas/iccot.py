"""IC-CoT: Re-Align's structured reasoning, its tag grammar, and its JSON view.

Grammar (arXiv 2601.05124, figures "pipeline" and "reasoning text"; N = number of references)::

    ic_cot      = "<out_caption>" TEXT "</out_caption>" relation_1 ... relation_N
    relation_i  = "<relation_i>" TEXT "</relation_i>"

TEXT is raw: it is never escaped, so it may hold no tag of the grammar. Inside it, references are called
`image_1`, `image_2`, ... The caption stands alone: it describes the target and names no image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import model_validator

from schemas.base import Record
from schemas.mentions import image_mentions

_TAG = re.compile(r"<(/?)(out_caption|relation_[0-9]{1,4})>")
_TAG_LIKE = re.compile(r"<\s*/?\s*(?:out_caption|relation_?\s*\d*)\b[^>]*>", re.IGNORECASE)


class ICCoTError(ValueError):
    """Text that is no IC-CoT. `defects` holds every defect found, each a plain sentence."""

    def __init__(self, defects: Sequence[str]) -> None:
        super().__init__(" ".join(defects))
        self.defects = tuple(defects)


class ICCoT(Record):
    """A caption of the target and, for each reference, what it contributes.

    Attributes:
        out_caption: stand-alone caption of the target image; names no reference by number.
        relations: `relations[i-1]` says what image i contributes; exactly one per reference.

    Raises:
        pydantic.ValidationError: on construction, when `defects` of the parts is not empty.
    """

    out_caption: str
    relations: tuple[str, ...]

    @model_validator(mode="after")
    def _sound(self) -> ICCoT:
        found = defects_of(self.out_caption, self.relations)
        if found:
            raise ValueError(" ".join(found))
        return self

    @classmethod
    def parse(cls, text: str, references: int) -> ICCoT:
        """Read the tag grammar strictly.

        Only white space may stand between, before and after the tags.

        Args:
            text: the model's answer, thinking already removed.
            references: how many references the sample has; there must be as many relations.

        Raises:
            ICCoTError: with every defect at once.
        """
        caption, relations, found = _split(text)
        found += _count_defects(len(relations), references) if not found else []
        found += defects_of(caption, relations, references)
        if found:
            raise ICCoTError(list(dict.fromkeys(found)))
        return cls(out_caption=caption, relations=tuple(relations))

    def __str__(self) -> str:
        """The tag grammar, one element after another with nothing between."""
        parts = [f"<out_caption>{self.out_caption}</out_caption>"]
        parts += [f"<relation_{i}>{text}</relation_{i}>" for i, text in enumerate(self.relations, 1)]
        return "".join(parts)

    def to_json(self) -> dict[str, object]:
        """The project page's JSON view: `{"out_caption": ..., "relations": [{"relation_1": ...}, ...]}`."""
        return {
            "out_caption": self.out_caption,
            "relations": [{f"relation_{i}": text} for i, text in enumerate(self.relations, 1)],
        }

    @classmethod
    def from_json(cls, view: dict[str, object]) -> ICCoT:
        """Read the JSON view back.

        Raises:
            ICCoTError: when the shape is not that of `to_json`, or a part is defective.
        """
        caption, items = view.get("out_caption"), view.get("relations")
        if set(view) != {"out_caption", "relations"} or not isinstance(caption, str) or not isinstance(items, list):
            raise ICCoTError(["The JSON view needs exactly the keys out_caption (text) and relations (list)."])
        relations = []
        for i, item in enumerate(items, 1):
            if (
                not isinstance(item, dict)
                or set(item) != {f"relation_{i}"}
                or not isinstance(item[f"relation_{i}"], str)
            ):
                raise ICCoTError([f"Item {i} of relations must be an object with the one key relation_{i} (text)."])
            relations.append(item[f"relation_{i}"])
        found = defects_of(caption, relations)
        if found:
            raise ICCoTError(found)
        return cls(out_caption=caption, relations=tuple(relations))


def defects_of(caption: str, relations: Sequence[str], references: int | None = None) -> list[str]:
    """Every defect of the texts themselves, as plain sentences a model can act on."""
    count = len(relations) if references is None else references
    found = _text_defects("out_caption", caption)
    if image_mentions(caption):
        found.append("out_caption must describe the target on its own, without naming any image by number.")
    for i, text in enumerate(relations, 1):
        found += _text_defects(f"relation_{i}", text)
        beyond = sorted(n for n in image_mentions(text) if not 1 <= n <= count)
        if beyond:
            names = ", ".join(f"image_{n}" for n in beyond)
            found.append(f"relation_{i} names {names}, but there {_are(count)}.")
        if i <= count and i not in image_mentions(text):
            found.append(f"relation_{i} must say what comes from image_{i}, naming it as image_{i}.")
    return found


def _text_defects(name: str, text: str) -> list[str]:
    if not text.strip():
        return [f"{name} is empty."]
    found = []
    if text != text.strip():
        found.append(f"{name} begins or ends with white space.")
    if _TAG_LIKE.search(text):
        found.append(f"{name} holds a tag of the grammar inside its text.")
    return found


def _count_defects(found: int, references: int) -> list[str]:
    if found == references:
        return []
    return [f"There must be exactly {references} relations, one per reference, but there are {found}."]


def _are(count: int) -> str:
    return "is only image_1" if count == 1 else f"are only image_1 to image_{count}"


def _split(text: str) -> tuple[str, list[str], list[str]]:
    """Walk the tags: (caption, relations, structural defects)."""
    parts: list[tuple[str, str]] = []
    found: list[str] = []
    position, open_name, open_at = 0, "", 0
    for tag in _TAG.finditer(text):
        closing, name = tag.group(1), tag.group(2)
        if not open_name:
            if text[position : tag.start()].strip():
                found.append(f"There is text outside the tags before <{closing}{name}>.")
            if closing:
                found.append(f"</{name}> closes nothing.")
            else:
                open_name, open_at = name, tag.end()
        elif closing and name == open_name:
            parts.append((name, text[open_at : tag.start()].strip()))
            open_name = ""
        else:
            found.append(f"<{closing}{name}> stands inside <{open_name}>.")
        position = tag.end()
    if open_name:
        found.append(f"<{open_name}> is never closed.")
    elif text[position:].strip():
        found.append("There is text outside the tags." if parts else "There is no <out_caption> tag.")
    return _in_order(parts, found)


def _in_order(parts: list[tuple[str, str]], found: list[str]) -> tuple[str, list[str], list[str]]:
    captions = [text for name, text in parts if name == "out_caption"]
    relations = [(int(name.removeprefix("relation_")), text) for name, text in parts if name != "out_caption"]
    padded = [name for name, _ in parts if name.startswith("relation_0")]
    if len(captions) != 1:
        found.append(f"There must be exactly one <out_caption>, but there are {len(captions)}.")
    elif parts[0][0] != "out_caption":
        found.append("<out_caption> must come first.")
    if padded or [n for n, _ in relations] != list(range(1, len(relations) + 1)):
        found.append("The relations must be numbered 1, 2, 3, ... in order, each once.")
    return (captions[0] if captions else ""), [text for _, text in relations], found
