"""Device, compiler and memory of a training run."""

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
from quasistatic.train.torch_private import compile_network, resume_compiled, suspend_compiled

__all__ = ["Engine", "compiled", "eagerly", "find_device"]


@dataclass(frozen=True)
class Engine:
    """Compiler, memory and prefetching of a training run.

    They change its speed, and its numbers by rounding only. A training run may be continued with other settings of them.
    """

    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile the network while it trains; auto on CUDA only, since it gains nothing on CPUs."""
    micro_batch: int = 0
    """Rows that each process sends through the network at once, adding up gradients; 0 for all."""
    prefetch: bool = True
    """Read the next batch of rows on disk while the network works on this one."""

    def __post_init__(self) -> None:
        one_of("compile", self.compile, ("auto", "yes", "no"))
        whole_number("micro_batch", self.micro_batch, 0)
        true_or_false("prefetch", self.prefetch)

    def compiles_on(self, device: torch.device) -> bool:
        """Return whether networks are compiled on this device."""
        return self.compile == "yes" or (self.compile == "auto" and device.type == "cuda")


def find_device(name: str = "auto") -> torch.device:
    """Find the device of this process.

    Parameters
    ----------
    name : str
        auto for CUDA where there is a device and the CPU elsewhere; or cpu, cuda, cuda:1. Of the processes that
        ``torchrun`` started on one machine, each takes its own device.

    Raises
    ------
    InputError
        If there is no such device.

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
def compiled(kernel: nn.Module, compile_them: bool) -> Iterator[None]:
    """Compile the kernel's networks in this block.

    Their names and weights do not change.

    Parameters
    ----------
    kernel : Module
        Reverse kernel.
    compile_them : bool
        Compile them; False leaves the networks as they are.
    """
    networks = _networks(kernel) if compile_them else []
    for network in networks:
        compile_network(network)
    try:
        yield
    finally:
        for network in networks:
            suspend_compiled(network)


@contextmanager
def eagerly(kernel: nn.Module) -> Iterator[None]:
    """Use no compiled network in this block.

    Another batch size would compile it anew.
    """
    kept = [(network, suspend_compiled(network)) for network in _networks(kernel)]
    try:
        yield
    finally:
        for network, call in kept:
            resume_compiled(network, call)
