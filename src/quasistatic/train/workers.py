"""The processes of one training."""

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
    """One process among all that train the same model.

    Attributes
    ----------
    rank : int
        Number of this process.
    world : int
        Number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True for the process that writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its gradients are averaged over processes."""
        if self.world == 1:
            return module
        # no buffer changes in training, and those of an exact Gaussian base are many times the weights
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.13
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True, **{name: False})  # type: ignore[arg-type]

    def without_averaging(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Add up gradients in this process only, within the block."""
        return wrapped.no_sync() if isinstance(wrapped, nn.parallel.DistributedDataParallel) else nullcontext()

    def merged(self, rows: torch.Tensor) -> torch.Tensor:
        """Merge rows that processes have computed separately.

        Rows of other processes are zero.
        """
        if self.world > 1:
            shared = _on_backend(rows)
            distributed.all_reduce(shared)  # adding zeros is exact
            rows = shared.to(rows.device)
        return rows

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Gather the values of the global batch on every process."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def any(self, here: bool) -> bool:
        """Return whether the flag is true in any process."""
        if self.world == 1:
            return here
        flag = _on_backend(torch.tensor(float(here)))
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def total(self, here: float) -> float:
        """Return the sum of a number over all processes."""
        if self.world == 1:
            return here
        number = torch.tensor(here, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            number = number.cuda()
        distributed.all_reduce(number)
        return number.item()

    def wait(self) -> None:
        """Wait for all other processes."""
        if self.world > 1:
            distributed.barrier()


def _on_backend(values: torch.Tensor) -> torch.Tensor:
    return values.cuda() if distributed.get_backend() == "nccl" else values.cpu()


@contextmanager
def workers(device: torch.device | str = "cpu") -> Iterator[Workers]:
    """Join the processes that ``torchrun`` started, if any.

    A process group that exists is used. Otherwise one is made from the environment, for the block.

    Parameters
    ----------
    device : torch.device or str
        Where the model is. The backend is nccl on CUDA and gloo elsewhere.
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
