"""The features of the card: what `datasets` must be told so that it reads every key of every sample.

Left to itself it infers them from the first five samples: a key that comes later is dropped, 4.5 after whole numbers
becomes 4, and samples with different numbers of images are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.errors import DamageError

Json = dict[str, Any]
Type = Any  # "string", "int64", "float64", "bool", {"struct": {name: Type}}, {"list": Type} or None: not known yet

LEAST_IMAGES = 5
_PLAIN = {bool: "bool", str: "string", int: "int64", float: "float64"}


def type_of(value: object) -> Type:
    """The type of a JSON value; None for null and of the items of an empty list."""
    if isinstance(value, dict):
        return {"struct": {str(key): type_of(part) for key, part in value.items()}}
    if isinstance(value, list):
        found: Type = None
        for item in value:
            found = joined(found, type_of(item))
        return {"list": found}
    return _PLAIN.get(type(value))


def joined(one: Type, other: Type, path: str = "") -> Type:
    """The type that holds both: every key of either, a float where one is whole.

    Raises:
        DamageError: there is none.
    """
    if one is None or other is None or one == other:
        return other if one is None else one
    if {repr(one), repr(other)} == {"'int64'", "'float64'"}:
        return "float64"
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        if "list" in one:
            return {"list": joined(one["list"], other["list"], f"{path}[]")}
        both, more = one["struct"], other["struct"]
        names = [*both, *(name for name in more if name not in both)]
        return {"struct": {n: joined(both.get(n), more.get(n), f"{path}.{n}" if path else n) for n in names}}
    raise DamageError(f"{path or 'the JSON'} is of different kinds in different samples; run `verify`")


def features(record: Type, members: Iterable[str]) -> list[Json]:
    """The `features` of a card, in the form of its YAML.

    Args:
        record: the type of the samples' JSON.
        members: every name that a member has without its sample's id: `image_1.jpg`, `target.jpg`, `json`.
    """
    images = sorted((name for name in members if name != "json"), key=_natural)
    found: list[Json] = [{"name": name, "dtype": "image"} for name in images]
    found.append({"name": "json", **_yaml(record)})
    return [*found, {"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}]


def member_names(dataset: str, found: Iterable[str]) -> set[str]:
    """The names that are there, and of a dataset whose references vary in number `image_1.jpg` to `image_5.jpg`."""
    names = set(found)
    if dataset == "realign":
        names |= {f"image_{number}.jpg" for number in range(1, LEAST_IMAGES + 1)}
    return names


def _yaml(found: Type) -> Json:
    if isinstance(found, dict) and "struct" in found:
        return {"struct": [{"name": name, **_yaml(part)} for name, part in found["struct"].items()]}
    if isinstance(found, dict):
        item = _yaml(found["list"])
        return {"list": item.get("struct") or item.get("dtype") or item}
    return {"dtype": found or "string"}


def _natural(name: str) -> tuple[str, int, str]:
    stem, _, rest = name.partition(".")
    word, _, number = stem.rpartition("_")
    return (word, int(number), rest) if number.isdigit() else (stem, 0, rest)
