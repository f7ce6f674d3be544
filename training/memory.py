"""What torch says where memory does not suffice."""

from __future__ import annotations

_SAID = ("can't allocate memory", "not enough memory")
"""By the CPU's allocator, which has no error of its own: on Linux, and elsewhere."""


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory did not suffice, on a GPU or on the CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in _SAID)
