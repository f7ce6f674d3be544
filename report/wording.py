"""What may be shown of a text: no path of the machine that made it, and no character that cannot be written."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,9}://[^\s'\"<>),;]+", re.IGNORECASE)
# Two or more steps from the root, not inside a word, a tag, an address or a fraction; a folder's name may have spaces.
_NAME = r"[^\s/'\"<>:;,()]+"
_PATH = re.compile(rf"(?<![\w<./])~?/(?:{_NAME}(?: {_NAME}){{0,3}}/)+(?:{_NAME})?")
_DRIVE = re.compile(r"\b[A-Za-z]:\\(?:[^\s\\'\"<>:;,()]+\\)*[^\s\\'\"<>:;,()]*")


def without_paths(text: str) -> str:
    """The text with each path and address cut to its last name: `…/cat.jpg`.

    For what a machine said (a rejection's detail, a filter's weights), not for instructions and attributions.
    """
    for pattern in (_ADDRESS, _PATH, _DRIVE):
        text = pattern.sub(lambda found: _last(found[0]), text)
    return text


def without_paths_in(value: object) -> object:
    """The same of every text inside JSON."""
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, dict):
        return {key: without_paths_in(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths_in(part) for part in value]
    return value


def writable(text: str) -> str:
    """The text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _last(path: str) -> str:
    ending = "." if path.endswith(".") else ""
    name = re.split(r"[/\\]", path.rstrip("/\\."))[-1]
    return f"…/{name}{ending}"
