"""Several processes that train one model, as torchrun or accelerate start them: they average gradients, share rewards.

Each process holds the whole model and its share of the batch. Nothing is wrapped, so SFT and RL are the same code with
one process and with many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Which of how many this is; rank 0 writes what is written."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Every gradient becomes its mean over the processes; one that a process does not have counts as 0."""
        if self.world == 1:
            return
        for one in parameters:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        flat = torch.cat([one.grad.flatten() for one in parameters if one.grad is not None])
        dist.all_reduce(flat)
        flat /= self.world
        at = 0
        for one in parameters:
            if one.grad is not None:
                one.grad.copy_(flat[at : at + one.numel()].view_as(one))
                at += one.numel()

    def gathered(self, values: Tensor) -> Tensor:
        """[n] of every process, one after the other; the same n everywhere."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def own(self, count: int) -> slice:
        """Where in what was gathered this process's `count` values are."""
        return slice(self.rank * count, (self.rank + 1) * count)

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined() -> Iterator[Processes]:
    """This process among those that RANK and WORLD_SIZE tell of; NCCL for what lies on CUDA, gloo for the rest."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # The generators' states, which checkpoints gather, lie on the CPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield Processes(rank, world)
        dist.barrier()  # whoever is done waits for the others: gloo's threads do not outlive an early end well
    finally:
        dist.destroy_process_group()
