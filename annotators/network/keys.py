"""API keys: read when a provider is made, from the environment or a secret, sent in headers, and kept nowhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from annotators.config import ModelConfig
from annotators.network.secret_manager import PREFIX, secret_name, secret_of
from schemas.errors import InputError


def key_of(config: ModelConfig, where: str, usual: Sequence[str]) -> str | None:
    """The key to send with each request; None where none is to be sent.

    A config names its variable with `api_key_env`, or `secret:NAME` in Google's Secret Manager. Without it the SDK's
    own variables hold, but only where no `base_url` is given: a key for the provider's cloud must not travel to
    somebody else's server.

    Args:
        where: the role's place in the config, `models.writer`, for messages.
        usual: the variables that the provider's own SDK reads; the first one set is taken.

    Raises:
        InputError: the variable that should hold the key is not set, or holds what cannot be a key.
    """
    named = config.api_key_env or ""
    if named.startswith(PREFIX):
        return _checked(secret_of(named, f"{where}.api_key_env"), named)
    if named:
        return _read(named, f"{where}.api_key_env: the variable {named} is not set; export it")
    if config.base_url:
        return None
    found = [name for name in usual if os.environ.get(name, "").strip()]
    mend = f"{where}: no API key for {config.provider}: set {usual[0]}, or name another variable with api_key_env"
    return _read(found[0] if found else usual[0], mend)


def require_key(config: ModelConfig, where: str, usual: Sequence[str], here: bool = True) -> None:
    """Nothing, where `key_of` will find the key. A secret is not fetched for that: only its name is looked at.

    Args:
        here: whether this process will send it; where others will, their environments are not known.

    Raises:
        InputError: as `key_of`.
    """
    if (config.api_key_env or "").startswith(PREFIX):
        secret_name(config.api_key_env or "", f"{where}.api_key_env")
    elif here:
        key_of(config, where, usual)


def source_of(config: ModelConfig, usual: Sequence[str]) -> str:
    """Where the key of a model comes from: a variable's name or `secret:NAME`; empty where none is sent."""
    if config.api_key_env:
        return config.api_key_env
    return "" if config.base_url else usual[0]


def _read(name: str, missing: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(missing)
    return _checked(key, name)


def _checked(key: str, name: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{name}: holds characters that no API key has; copy the key again")
    return key
