"""Checkpoints: model, optimiser, position in the data and state of the random generators, in one file, atomically."""

from __future__ import annotations

import io
import re
from typing import Any

import torch

from schemas.errors import InputError
from shards.manifest import first_difference
from storage import paths

FOLDER = "checkpoints"
KEPT = 2
_NAME = re.compile(r"step-(\d{8})\.pt")
_FREE = (
    "out",
    "init",
    "steps",
    "resume",
    "save",
    "log",
    "evaluate",
    "workers",
    "keep_decoded",
    "threads",
    "device",
    "data",
)
"""Keys that may change when a run goes on (the data's own digest is in its position). More `steps` train on, along the
cosine of the new number; another number of `threads` or another `device` rounds otherwise."""


def save(out: str, step: int, state: dict[str, Any]) -> None:
    """Keep `state` as the checkpoint of a step; the last `KEPT` remain."""
    buffer = io.BytesIO()
    torch.save({**state, "step": step}, buffer)
    folder = paths.join(out, FOLDER)
    paths.write_atomic(paths.join(folder, f"step-{step:08d}.pt"), buffer.getvalue())
    for old in _steps(out)[:-KEPT]:
        paths.remove(paths.join(folder, f"step-{old:08d}.pt"))


def last(out: str) -> str | None:
    """The address of the last checkpoint of a run; None where there is none."""
    steps = _steps(out)
    return paths.join(paths.join(out, FOLDER), f"step-{steps[-1]:08d}.pt") if steps else None


def load(address: str) -> dict[str, Any]:
    """A checkpoint.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        content = paths.read_bytes(address)
    except FileNotFoundError as error:
        raise InputError(f"{address}: there is no such checkpoint") from error
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what damaged bytes raise is anything
        raise InputError(
            f"{address}: is no checkpoint ({type(error).__name__}); delete it, and the one before is taken, if any"
        ) from error
    if not isinstance(state, dict) or not {"step", "weights", "config"} <= set(state):
        raise InputError(f"{address}: is no checkpoint of this trainer")
    return state


def load_init(init: str) -> dict[str, Any]:
    """The last checkpoint of a finished run, or the checkpoint at this very address.

    Raises:
        InputError: there is none.
    """
    address = init if init.endswith(".pt") else last(init)
    if address is None:
        raise InputError(f"init: {init} holds no checkpoint; give the `out` of a training run")
    return load(address)


def refuse_another(address: str, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise where a checkpoint is of another configuration.

    Raises:
        InputError: names the first key that differs, and the mend.
    """
    key, old, new = first_difference(_bound(begun), _bound(now))
    if key and key.partition(".")[0] not in now:
        raise InputError(f"{address}: was made with {key} = {old!r}, a setting that is gone; choose another `out`")
    if key:
        raise InputError(f"{address}: was made with {key} = {old!r}, not {new!r}; set it back, or choose another `out`")


def _bound(config: dict[str, Any]) -> dict[str, Any]:
    """What must stay; a setting that an older checkpoint lacks is as one that is None."""
    free = set(_FREE) - ({"init"} if config.get("kind") == "RLConfig" else set())  # RL's reference policy is its init
    return {key: value for key, value in config.items() if key not in free and value is not None}


def _steps(out: str) -> list[int]:
    names = (name.rpartition("/")[2] for name in paths.list_files(paths.join(out, FOLDER)))
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))
