"""The compositional grammar: sentence templates of grammar.yaml, chosen and filled by a seed.

A template is English with two devices: `[Place|Put|Set]` is a choice, and `{things}` is filled in. Which template
and which choice follow from a seed and names alone, so the same plan always says the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from annotators.offline.chance import number, pick

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")
# Fields that a template does without where there is nothing to say.
_OPTIONAL = frozenset({"placed", "placed_apart", "extra", "d_colours"})


@lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("grammar.yaml").read_text(encoding="utf-8"))
    return loaded


def templates(*path: str) -> list[str]:
    """The templates under a path of keys, such as `templates("writer", "replace", "instructive")`."""
    found: Any = _file()
    for key in path:
        found = found[key]
    return list(found)


def phrase(
    path: tuple[str, ...],
    values: Mapping[str, str],
    seed: int,
    *names: object,
    about: tuple[str, ...] = (),
    turn: int = 0,
) -> str:
    """One template of `path`, its choices made, filled with `values`, with single spaces.

    A template is passed over where one of its fields has an empty value, since nothing is known to say there.

    Args:
        about: fields of which the template should have one, where any such template is usable.
        turn: how many templates to go on from the one that the seed gives, so that draws do not repeat one another.

    Raises:
        KeyError: where a template asks for a value that is not given.
    """
    usable = [
        t for t in templates(*path) if all(values.get(field, " ") or field in _OPTIONAL for field in _FIELD.findall(t))
    ]
    usable = [t for t in usable if set(about) & set(_FIELD.findall(t))] or usable
    template = usable[(number(seed, *path, *names) + turn) % len(usable)]
    text = _made(template, seed, *path, *names, turn).format_map(dict(values))
    return re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\s+", " ", text)).strip()


def sentence(
    path: tuple[str, ...],
    values: Mapping[str, str],
    seed: int,
    *names: object,
    about: tuple[str, ...] = (),
    turn: int = 0,
) -> str:
    """Like `phrase`, beginning with a capital."""
    text = phrase(path, values, seed, *names, about=about, turn=turn)
    return re.sub(r"\.\.+", ".", text[:1].upper() + text[1:])


def _made(template: str, seed: int, *names: object) -> str:
    """The template with each choice made."""
    count = 0

    def choose(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return pick(str(match[1]).split("|"), seed, *names, "choice", count)

    return _CHOICE.sub(choose, template)


def joined(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
