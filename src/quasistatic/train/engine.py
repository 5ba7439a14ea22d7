"""How a training is run on this machine: what changes its speed and its memory, and its numbers by rounding only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from quasistatic.checks import one_of, true_or_false, whole_number
from quasistatic.errors import InputError
from quasistatic.reverse import NetworkKernel

__all__ = ["Engine", "compiled", "eagerly", "find_device"]


@dataclass(frozen=True)
class Engine:
    """Device, compiler and memory of a training; none of it belongs to a run, which may go on under another."""

    device: str = "auto"
    """auto for CUDA where there is a device and the CPU elsewhere; or cpu, cuda, cuda:1."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """torch.compile of the network while it trains; auto on CUDA only, since it gains nothing on CPUs."""
    micro_batch: int = 0
    """Rows that each process sends through the network at once; gradients of the rest are added up. 0 for all."""
    prefetch: bool = True
    """Read the next batch of rows on disk, into pinned memory for CUDA, while the network works on this one."""

    def __post_init__(self) -> None:
        one_of("compile", self.compile, ("auto", "yes", "no"))
        whole_number("micro_batch", self.micro_batch, 0)
        true_or_false("prefetch", self.prefetch)

    def compiles_on(self, device: torch.device) -> bool:
        """Whether networks are compiled there."""
        return self.compile == "yes" or (self.compile == "auto" and device.type == "cuda")


def find_device(name: str = "auto") -> torch.device:
    """Find the device of this process; of many that ``torchrun`` started on one machine, each takes its own.

    Raises
    ------
    InputError
        If there is no such device here.

    Examples
    --------
    >>> find_device("cpu")
    device(type='cpu')
    """
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if n_devices else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    if index >= n_devices:
        raise InputError(f"there is no device cuda:{index} here, but {n_devices}")
    return torch.device("cuda", index)


def _networks(kernel: nn.Module) -> list[nn.Module]:
    return [module.network for module in kernel.modules() if isinstance(module, NetworkKernel)]


@contextmanager
def compiled(kernel: nn.Module, how: bool) -> Iterator[None]:
    """Within the block, the kernel's networks run compiled, if ``how``; their names and weights stay as they are."""
    networks = _networks(kernel) if how else []
    for network in networks:
        network.compile()
    try:
        yield
    finally:
        for network in networks:
            network._compiled_call_impl = None


@contextmanager
def eagerly(kernel: nn.Module) -> Iterator[None]:
    """Within the block nothing is compiled: another size of batch, or no gradient, would be compiled for anew."""
    kept = [(network, network._compiled_call_impl) for network in _networks(kernel)]
    for network, _ in kept:
        network._compiled_call_impl = None
    try:
        yield
    finally:
        for network, call in kept:
            network._compiled_call_impl = call
