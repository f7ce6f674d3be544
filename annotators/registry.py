"""Which providers there are: one module each, with a function `make(config, where, world) -> Provider`."""

from __future__ import annotations

from importlib import import_module
from typing import Literal, cast

from annotators.config import ModelConfig
from annotators.interface import Provider
from schemas.errors import InputError

World = Literal["photos", "toyworld"]

_MODULES = {"offline": "annotators.offline.provider"}


def make(config: ModelConfig, where: str, world: World = "photos") -> Provider:
    """The provider of one model.

    Args:
        where: the role's place in the config, `models.writer`, for messages.
        world: what the reference pool shows; only the offline provider cares.

    Raises:
        InputError: this version has no such provider, or it cannot be set up (a missing key or package).
    """
    require(config.provider, where)
    return cast(Provider, import_module(_MODULES[config.provider]).make(config, where, world))


def require(provider: str, where: str) -> None:
    """Nothing, where this version has the provider; it costs nothing to ask.

    Raises:
        InputError: it has not.
    """
    if provider not in _MODULES:
        there = ", ".join(sorted(_MODULES))
        raise InputError(f"{where}.provider: {provider} is not available in this version; available: {there}")
