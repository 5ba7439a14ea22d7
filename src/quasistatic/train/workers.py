"""The processes of one training: one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
        if self.world == 1:
            return module
        # no buffer changes in training, and those of an exact Gaussian base are many times the weights
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.13
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True, **{name: False})  # type: ignore[arg-type]

    def alone(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Within the block, gradients are added up here and not yet averaged over processes."""
        return wrapped.no_sync() if isinstance(wrapped, nn.parallel.DistributedDataParallel) else nullcontext()

    def pieced(self, rows: torch.Tensor) -> torch.Tensor:
        """Put rows together of which each process has filled in its own, and left the others zero."""
        if self.world > 1:
            shared = _where_processes_talk(rows)
            distributed.all_reduce(shared)  # adding zeros is exact
            rows = shared.to(rows.device)
        return rows

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
        flag = _where_processes_talk(torch.tensor(float(here)))
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


def _where_processes_talk(values: torch.Tensor) -> torch.Tensor:
    return values.cuda() if distributed.get_backend() == "nccl" else values.cpu()


@contextmanager
def workers(device: torch.device | str = "cpu") -> Iterator[Workers]:
    """Join the group that is there, or that ``torchrun`` describes in the environment; alone without one.

    Parameters
    ----------
    device : torch.device or str
        Where the model is, which decides what the processes talk through.
    """
    device = torch.device(device)
    started_here = not (distributed.is_available() and distributed.is_initialized())
    # what draws and collectives take for the device, where none is named
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        if started_here and int(os.environ.get("WORLD_SIZE", "1")) == 1:
            yield Workers()
            return
        if started_here:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield Workers(distributed.get_rank(), distributed.get_world_size())
        finally:
            if started_here:
                distributed.destroy_process_group()
