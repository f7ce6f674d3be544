"""Limits of their own for a task: `filters.tasks: {add: {clip: {min_text: 0.26}}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from storage.configs import first_error

TaskLimits = dict[str, dict[str, dict[str, Any]]]
"""By task, then by filter, the limits that differ there."""

_LIMITS = ("min_", "max_")
_ALSO = ("reject",)


def checked(config: BaseModel, tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Nothing, where every task's limits belong to filters that are configured, and are limits.

    Raises:
        ValueError: names task, filter and key.
    """
    for task, filters in tasks.items():
        for name, limits in filters.items():
            where = f"tasks.{task}.{name}"
            own = getattr(config, name, None) if name in type(config).model_fields else None
            if not isinstance(own, BaseModel):
                raise ValueError(f"{where}: there is no filter {name} to give limits to; add {name}: {{...}} first")
            for key in limits:
                if not key.startswith(_LIMITS) and key not in _ALSO:
                    raise ValueError(f"{where}.{key}: only limits may differ between tasks (min_..., max_..., reject)")
            try:
                type(own).model_validate({**own.model_dump(), **limits})
            except ValidationError as error:
                raise ValueError(f"{where}.{first_error(error, type(own))}") from error


def merged(config: Any, limits: Mapping[str, Mapping[str, Any]]) -> Any:
    """The configuration of one task: the whole one with these limits in place of its own, and without `tasks`."""
    settings = config.model_dump(exclude={"tasks"})
    for name, changed in limits.items():
        settings[name] = {**settings[name], **changed}
    return type(config).model_validate(settings)
