"""YAML configurations read into pydantic models that forbid unknown keys; whatever is wrong is one line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from schemas.errors import InputError

M = TypeVar("M", bound=BaseModel)


def load(model: type[M], path: str, settings: list[str] | None = None) -> M:
    """Read a configuration of one kind and apply `--set KEY=VALUE` settings to it.

    Raises:
        InputError: one line naming the file, the key or line, and the mend.
    """
    tree = read_yaml(path)
    for setting in settings or []:
        apply_setting(tree, setting)
    return validate(model, tree, path, settings or ())


def read_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; InputError names the file and the line otherwise."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}: line {line}: not YAML: {error.problem}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: line 1: a configuration is a mapping of keys to values")
    return tree


def apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Put `a.b.c=value` into the tree; a number steps into a list."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--set {setting}: write it as KEY=VALUE, with dots in the key")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {setting}: the value is not YAML") from error
    if glued := _glued(value):
        name, _, rest = glued.partition(":")
        raise InputError(f"--set {setting}: YAML reads {glued!r} as one word; put a space in it: {name}: {rest}")
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        if isinstance(node, list) and parent.isdigit() and int(parent) < len(node):
            node = node[int(parent)]
            continue
        if not isinstance(node, dict):
            raise InputError(f"--set {setting}: {parent} has no keys below it")
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
    if not isinstance(node, dict):
        raise InputError(f"--set {setting}: {parents[-1]} has no keys below it")
    node[last] = value


def _glued(value: Any) -> str:
    """A key such as `train:1` that has no value: in `{train:1}` YAML sees no pair, for want of a space."""
    if isinstance(value, list):
        return next(filter(None, map(_glued, value)), "")
    if not isinstance(value, dict):
        return ""
    here = (key for key, under in value.items() if under is None and isinstance(key, str) and ":" in key.strip(":"))
    return next(here, "") or _glued(list(value.values()))


def validate(model: type[M], tree: dict[str, Any], path: str, settings: Sequence[str] = ()) -> M:
    """The tree as a configuration; the first of its errors as one line that names file, key and mend.

    Args:
        settings: `KEY=VALUE` that were put into the tree; what one of them brought in is said of it, not of the file.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        message = first_error(error, model)
        raise InputError(f"{_blamed(message, path, settings)}: {message}") from error


def _blamed(message: str, path: str, settings: Sequence[str]) -> str:
    """The last setting that reaches the key with which the message begins; else the file."""
    key = _without_places(message.partition(": ")[0])
    for setting in reversed(settings):
        if f"{key}.".startswith(f"{_without_places(setting.partition('=')[0])}."):
            return f"--set {setting}"
    return path


def _without_places(key: str) -> str:
    """Without numbers: one model may stand where a list of them may, and its key then has a 0."""
    return ".".join(part for part in key.split(".") if not part.isdigit())


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """The first validation error as `key: what is wrong`, with a likely spelling for an unknown key."""
    details = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")  # a misspelt key explains more
    first = details[0]
    keys, beside = _walked(model, first["loc"])
    key = ".".join(keys) or "(top level)"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(keys[-1], [name for one in beside for name in one.model_fields], n=1)
        return f"{key}: unknown key{f'; did you mean {close[0]}?' if close else '; remove it'}{more}"
    if first["type"] == "missing":
        return f"{key}: is missing; add it{more}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        told = first["ctx"]
        name = told["discriminator"].strip("'")
        wrong = (
            f"must be one of {told['expected_tags']}, not {told['tag']!r}" if "tag" in told else "is missing; add it"
        )
        return f"{key}.{name}: {wrong}{more}"
    if first["type"] in ("model_type", "model_attributes_type", "dataclass_type", "dict_type"):
        return f"{key}: must be a mapping of keys to values, not {first['input']!r}{more}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    wanted = first["msg"].startswith("Input should be ")
    given = first["input"]
    shown = repr(given) if isinstance(given, (str, int, float, bool, type(None))) else type(given).__name__
    return f"{key}: {'must be ' + message + f', not {shown}' if wanted else message}{more}"


def _walked(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of a location, without the tags that tell a union's members apart; the models that have the last one."""
    keys: list[str] = []
    here, beside = [model], [model]
    for part in location:
        members = [one for one in here if any(part in get_args(f.annotation) for f in one.model_fields.values())]
        if part == "[key]" or (members and not any(part in one.model_fields for one in here)):
            here = members or here
            continue
        keys.append(str(part))
        if isinstance(part, str):
            beside = here
            fields = [one.model_fields[part].annotation for one in here if part in one.model_fields]
            here = [found for annotation in fields for found in _models_in(annotation)]
    return keys, beside


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
