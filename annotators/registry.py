"""Which providers there are: one module each, with a function `make(config, where, world) -> Provider`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, cast

from annotators.config import ModelConfig
from annotators.interface import Capabilities, Provider
from annotators.network.keys import key_of, require_key, source_of
from schemas.errors import InputError

World = Literal["photos", "toyworld"]


@dataclass(frozen=True)
class _Known:
    """A provider: its module, the packages it needs, where its key may stand."""

    module: str
    packages: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


_PROVIDERS = {
    "offline": _Known("annotators.offline.provider"),
    "gemini": _Known("annotators.network.gemini", ("google.genai", "aiohttp"), ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "openai": _Known("annotators.network.openai", ("openai", "aiohttp"), ("OPENAI_API_KEY",)),
    "dashscope": _Known("annotators.network.dashscope", ("aiohttp",), ("DASHSCOPE_API_KEY",)),
    "transformers": _Known("annotators.local", ("transformers",)),
}


def make(config: ModelConfig, where: str, world: World = "photos") -> Provider:
    """The provider of one model.

    Args:
        where: the role's place in the config, `models.writer`, for messages.
        world: what the reference pool shows; only the offline provider cares.

    Raises:
        InputError: it cannot be set up; see `require`.
    """
    require(config, where)
    return cast(Provider, import_module(_PROVIDERS[config.provider].module).make(config, where, world))


def require(config: ModelConfig, where: str, *, here: bool = True) -> None:
    """Nothing, where the model's provider can be set up; it costs next to nothing to ask.

    Args:
        here: whether this process will ask it; of a key that only others need, the name is looked at.

    Raises:
        InputError: its package is not installed, or its key is not set.
    """
    known = _PROVIDERS[config.provider]
    if not all(_installed(package) for package in known.packages):
        extra = {"dashscope": "openai", "transformers": "train"}.get(config.provider, config.provider)
        raise InputError(f"{where}.provider: {config.provider} needs a package: pip install 'plumbline[{extra}]'")
    if known.keys:
        require_key(config, where, known.keys, here)


def key_source(config: ModelConfig) -> str:
    """Where the key of a model comes from: a variable's name or `secret:NAME`; empty where none is sent."""
    keys = _PROVIDERS[config.provider].keys
    return source_of(config, keys) if keys else ""


def capabilities(config: ModelConfig, where: str) -> Capabilities:
    """What a model can do, without its key, and without its package as far as the config says.

    Raises:
        InputError: the config contradicts itself.
    """
    known = _PROVIDERS[config.provider]
    if not all(_installed(package) for package in known.packages):
        return Capabilities(images_out=True, max_images=config.max_images, sizes=config.size_list)
    module = import_module(known.module)
    if not known.keys:
        return cast(Provider, module.make(config, where, "photos")).capabilities
    return cast(Capabilities, module.capabilities_of(config))


def key(config: ModelConfig, where: str) -> str | None:
    """The API key of a model, or None where none is to be sent; see `annotators.network.keys`."""
    return key_of(config, where, _PROVIDERS[config.provider].keys)


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it lies in
        return False
