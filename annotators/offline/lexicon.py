"""The word lists of lexicon.yaml, read once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml


@lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    text = Path(__file__).with_name("lexicon.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=_PlainLoader)
    return loaded


class _PlainLoader(yaml.SafeLoader):
    """YAML without its reading of `on` and `off` as booleans, which are words here."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@lru_cache(maxsize=128)
def words(section: str, name: str) -> frozenset[str]:
    """One word list of a section, such as `words("nouns", "colours")`."""
    listed = _file()[section][name]
    return frozenset(listed.split() if isinstance(listed, str) else listed)


@lru_cache(maxsize=1)
def kind_of_word() -> dict[str, str]:
    """The kind of thing that a noun names: `{"kitten": "animal", ...}`."""
    return {word: kind for kind, listed in _file()["kinds"].items() for word in listed.split()}


@lru_cache(maxsize=1)
def preposition_of_word() -> dict[str, str]:
    """Where one stands with regard to a scene: `{"bathroom": "in", "lake": "by", ...}`."""
    return {word: preposition for preposition, listed in _file()["scenery"].items() for word in listed.split()}


def surface(kind: str) -> str:
    """The surface of a kind of thing: `fur`."""
    found: str = _file()["details"][kind]["surface"]
    return found


def parts(kind: str) -> list[str]:
    """The small parts of a kind of thing: `["eyes", "ears", ...]`."""
    return list(_file()["details"][kind]["parts"])


@lru_cache(maxsize=8)
def listed_words(section: str) -> dict[str, str]:
    """A section of lists turned round: `listed_words("drawn_as")` is `{"kitten": "cat", ...}`; the first list wins."""
    found: dict[str, str] = {}
    for name, listed in _file()[section].items():
        for word in listed.split():
            found.setdefault(word, name)
    return found
