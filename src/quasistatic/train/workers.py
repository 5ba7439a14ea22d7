"""The processes of one training: one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

__all__ = ["Workers", "workers"]


@dataclass(frozen=True)
class Workers:
    """Place of this process among all that train the same model."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Average gradients over processes."""
        return nn.parallel.DistributedDataParallel(module) if self.world > 1 else module

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Put the global batch's values together again, in its order, on every process."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.world == 1:
            return here
        flag = torch.tensor(float(here))
        if distributed.get_backend() == "nccl":
            flag = flag.cuda()
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def total(self, here: float) -> float:
        """Sum of a number over all processes."""
        if self.world == 1:
            return here
        number = torch.tensor(here, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            number = number.cuda()
        distributed.all_reduce(number)
        return number.item()

    def wait(self) -> None:
        """Meet all other processes here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def workers(device: torch.device | str = "cpu") -> Iterator[Workers]:
    """Join the group that is there, or that ``torchrun`` describes in the environment; alone without one.

    Parameters
    ----------
    device : torch.device or str
        Where the model is, which decides what the processes talk through.
    """
    started_here = not (distributed.is_available() and distributed.is_initialized())
    if started_here and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers()
        return
    if started_here:
        distributed.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        if started_here:
            distributed.destroy_process_group()
