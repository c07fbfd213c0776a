"""Several processes that train one model, as ``torchrun`` starts them (DDP).

A process that was started alone is a world of one, and every function here does nothing in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

PATIENCE = timedelta(hours=2)  # while one process looks into files or writes


@dataclass(frozen=True)
class World:
    """Which process this is, of how many."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine: the number of its GPU

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all processes have come this far."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started, if it started this one.

    They talk through NCCL on GPUs and through gloo on CPUs.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    if dist.is_initialized():  # by whoever trains several models in a row
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or NCCL gathers on the first one
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


def own_device(name: str) -> str:
    """Return the name of the device for this process: each takes a GPU of its own."""
    if name in ("auto", "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name
