"""A prompt file: YAML front matter between two lines of `---`, then a Jinja2 template."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.errors import InputError

_KNOWN = ("id", "version", "role", "answer")


@dataclass(frozen=True)
class PromptFile:
    """One prompt file, read.

    Attributes:
        path: as it is named in errors.
        matter: the front matter, empty where there is none.
        template: the rest, with blank lines in place of the front matter, so that line numbers stay right.
        sha256: of the file's bytes.
    """

    path: str
    matter: dict[str, Any]
    template: str
    sha256: str


def parse(path: str, data: bytes) -> PromptFile:
    """Read the bytes of a prompt file.

    Raises:
        InputError: names file and line where it is no UTF-8, the front matter is not closed, or it is no mapping.
    """
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: a prompt must be UTF-8 text") from error
    digest = hashlib.sha256(data).hexdigest()
    lines = text.split("\n")
    if lines[0].strip() != "---":
        return PromptFile(path, {}, text, digest)
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    if not end:
        raise InputError(f"{path}:1: the front matter is never closed; end it with a line ---")
    template = "\n" * (end + 1) + "\n".join(lines[end + 1 :])
    return PromptFile(path, _mapping(path, "\n".join(lines[1:end])), template, digest)


def _mapping(path: str, text: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 2
        raise InputError(f"{path}:{line}: the front matter is no YAML: {getattr(error, 'problem', error)}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise InputError(f"{path}:2: the front matter must be a mapping such as `version: 2`")
    return loaded


def checked(path: str, matter: dict[str, Any]) -> dict[str, Any]:
    """The front matter, once it holds what every prompt must say.

    Raises:
        InputError: a key of `id`, `version`, `role`, `answer` is missing.
    """
    missing = [key for key in _KNOWN if matter.get(key) in (None, "")]
    if missing:
        raise InputError(f"{path}:1: the front matter lacks {', '.join(missing)}")
    return matter
