"""Train one model in several processes that ``torchrun`` starts (DDP).

A process that was started alone is a group of one, in which every function here does nothing.
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

TIMEOUT = timedelta(hours=2)  # one process may wait for others that check files or write


@dataclass(frozen=True)
class Distributed:
    """The rank of this process, and the number of processes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine, and the number of its GPU

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def init_distributed(device: torch.device) -> Iterator[Distributed]:
    """Join the process group of torchrun, if it started this process, for the body of a `with`.

    The backend is NCCL on GPUs and gloo on CPUs. A group that exists already is used and left open.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Distributed()
        return
    if dist.is_initialized():  # by a caller that trains several models in a row
        yield Distributed(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or NCCL gathers on the first GPU
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Distributed(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


def local_device(name: str) -> str:
    """Return the name of the device of this process; under torchrun each has its own GPU."""
    if name in ("auto", "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name
