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

from annotators.offline.chance import pick

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


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


def sentence(path: tuple[str, ...], values: Mapping[str, str], seed: int, *names: object) -> str:
    """One template of `path`, its choices made, filled with `values`, with a capital and single spaces.

    Raises:
        KeyError: where a template asks for a value that is not given.
    """
    template = pick(templates(*path), seed, *path, *names)
    chosen = re.sub(r"\s+", " ", _made(template, seed, *path, *names).format_map(dict(values))).strip()
    chosen = re.sub(r"\s+([,.;:])", r"\1", chosen)
    return chosen[:1].upper() + chosen[1:]


def phrase(path: tuple[str, ...], values: Mapping[str, str], seed: int, *names: object) -> str:
    """Like `sentence`, without the capital."""
    template = pick(templates(*path), seed, *path, *names)
    return re.sub(r"\s+", " ", _made(template, seed, *path, *names).format_map(dict(values))).strip()


def _made(template: str, seed: int, *names: object) -> str:
    """The template with each choice made."""
    count = 0

    def choose(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return pick(match[1].split("|"), seed, *names, "choice", count)

    return _CHOICE.sub(choose, template)


def joined(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
