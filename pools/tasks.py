"""Read tasks from their data file: the seven that are built in, and whatever a user's file adds to them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from schemas.errors import InputError
from schemas.tasks import Family, Slot, Subtype, Task

BUILT_IN = "tasks.yaml"


class _Entry(BaseModel):
    """A task as the file writes it, under its name."""

    model_config = ConfigDict(extra="forbid")
    family: Family
    share: float = Field(default=0.0, ge=0)
    definition: str = Field(min_length=1)
    slots: tuple[Slot, ...] = Field(min_length=1)
    subtypes: tuple[Subtype, ...] = ()

    @field_validator("subtypes")
    @classmethod
    def _named_once(cls, subtypes: tuple[Subtype, ...]) -> tuple[Subtype, ...]:
        names = [s.name for s in subtypes]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return subtypes


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    replace: bool = False
    tasks: dict[str, object] = Field(min_length=1)


def load_tasks(path: str | None = None) -> dict[str, Task]:
    """The tasks by name: the built-in seven, merged with those of the YAML file at `path`.

    A task of the file takes the place of the built-in one of that name; `replace: true` in the file leaves only the
    file's own. A task without a `share` is made only where a configuration gives it a weight.

    Raises:
        InputError: the file is missing or is not such a file; one line names the file, the key and the mend.
    """
    built_in = _built_in()
    if path is None:
        return dict(built_in)
    from storage import paths

    try:
        text = paths.read_bytes(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read it ({_first_line(error)}); give a UTF-8 YAML file") from error
    replace, tasks = _parse(text, path)
    return tasks if replace else {**built_in, **tasks}


@cache
def _built_in() -> dict[str, Task]:
    return _parse(resources.files("pools").joinpath(BUILT_IN).read_text("utf-8"), BUILT_IN)[1]


def _parse(text: str, path: str) -> tuple[bool, dict[str, Task]]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {_yaml_place(error)}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: a tasks file is a mapping with the key `tasks`; see pools/{BUILT_IN} for one")
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {_defect(error, '')}") from error
    return file.replace, {name: _task(name, entry, path) for name, entry in file.tasks.items()}


def _task(name: str, entry: object, path: str) -> Task:
    try:
        parsed = _Entry.model_validate(entry)
        return Task(name=name, **{field: getattr(parsed, field) for field in _Entry.model_fields})
    except ValidationError as error:
        raise InputError(f"{path}: {_defect(error, f'tasks.{name}')}") from error


def _defect(error: ValidationError, prefix: str) -> str:
    """The first defect as `key: what is wrong (found value)`; the rest are counted."""
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in ((prefix,) if prefix else ()) + first["loc"])
    found = first["input"]
    value = f" (found {found!r})" if isinstance(found, str | int | float | bool) else ""
    more = f"; {len(others)} more after it" if others else ""
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; check its spelling or take it out{more}"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}{value}; mend it as in pools/{BUILT_IN}{more}"


def _yaml_place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or _first_line(error)
    return f"line {mark.line + 1}: {problem}" if mark else problem


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
