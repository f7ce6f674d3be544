"""Which device a process computes on: several GPUs are shared out among a machine's processes."""

from __future__ import annotations

import os

WORKER = "PLUMBLINE_WORKER"
"""In a process's environment: which of its machine's workers it is, counted from 0."""
_RANK = "LOCAL_RANK"
"""The same of a process that torchrun or accelerate began."""


def device_of(wanted: str) -> str:
    """A torch device.

    Args:
        wanted: `auto` takes CUDA where there is one; `auto` and `cuda` give worker i of n GPUs the GPU i % n.
            `cuda:1`, `cpu` and `mps` are taken as they stand. CUDA_VISIBLE_DEVICES says which GPUs there are.
    """
    if wanted not in ("auto", "cuda"):
        return wanted
    import torch

    if wanted == "auto" and not torch.cuda.is_available():
        return "cpu"
    count = torch.cuda.device_count()
    return f"cuda:{_worker() % count}" if count > 1 else "cuda"


def _worker() -> int:
    number = os.environ.get(WORKER) or os.environ.get(_RANK, "")
    return int(number) if number.isdecimal() else 0
