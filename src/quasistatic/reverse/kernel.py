"""What every reverse kernel is, and the paper's fixed first step."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess

__all__ = ["NetworkKernel", "ReverseKernel"]

Kernel = TypeVar("Kernel", bound="ReverseKernel")


class ReverseKernel(nn.Module, ABC):
    r"""One step back in time, :math:`p(x_{t-1} \mid x_t)`, t = T..1.

    Call it with ``x_t`` (batch, \*event) and ``t``, an int or (batch,); it returns a distribution of
    :math:`x_{t-1}`. Subclasses that hold a ``diffusion`` are tied to its grid of steps.
    """

    first_step: str = "learned"

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={type(part).__name__}" for name, part in self.named_children())
        return f"{type(self).__name__}({parts}; {sum(p.numel() for p in self.parameters())} parameters)"

    @abstractmethod
    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Law of one step back."""

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution | None:
        r"""Return the distribution of the data, :math:`\hat p(x_0 \mid x_t)`, or None where the kernel has none."""
        return None

    def on(self: Kernel, process: ForwardProcess) -> Kernel:
        """Return this kernel on another grid of steps, sharing all parameters.

        Raises
        ------
        ValueError
            If the kernel holds parameters for each step of another T.
        """
        held = self._modules.get("process")
        if held is None or held is process:
            return self
        for module in self.modules():
            n_steps = getattr(module, "n_steps", None)
            if not isinstance(module, ForwardProcess) and n_steps not in (None, process.n_steps):
                raise ValueError(
                    f"this kernel holds parameters for n_steps = {n_steps} and cannot serve {process.n_steps} steps"
                )
        other = copy.copy(self)
        other._modules = {**self._modules, "process": process}
        return other


class NetworkKernel(ReverseKernel):
    """A kernel that reads its law out of a network: what denoisers and the paper's kernel are."""

    process: ForwardProcess
    network: nn.Module
    _weight: tuple[nn.Module | None, Tensor] = (None, torch.empty(0))

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self.law(self.ask(x_t, t), x_t, t)

    def ask(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Ask the network in its own precision and on its own clock; answer in the precision of the state."""
        network = self.network
        dtype = self._precision(network)
        if getattr(network, "clock", "log_snr") == "step":
            time = torch.full((len(x_t),), t, device=x_t.device) if isinstance(t, int) else t
        else:
            time = self.process.log_snr_at(t, x_t)
        seen = self.inputs(x_t)
        if dtype != seen.dtype:
            seen = seen.to(dtype)
        if dtype != time.dtype and time.is_floating_point():
            time = time.to(dtype)
        out = network(seen, time)
        return out if out.dtype == x_t.dtype else out.to(x_t.dtype)

    def inputs(self, x_t: Tensor) -> Tensor:
        """What the network sees of the state, in any precision: the state itself."""
        return x_t

    def _precision(self, network: nn.Module) -> torch.dtype:
        """Precision of the network's weights, by one that is remembered: to look for it costs as much as a small layer."""
        asked, weight = self._weight
        if asked is not network:
            weight = next(network.parameters())
            self._weight = network, weight  # in a tuple, or it would count as a parameter of the kernel
        return weight.dtype

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        r"""Refuse a network that does not go with events (\*event); a kernel that knows its events has done it before."""

    def _check_network(self, event: tuple[int, ...], *n_out: int) -> None:
        r"""Call the network once, and refuse it if it does not answer (batch, n_out) to states (batch, \*event).

        Nothing is learned or drawn: the call is in evaluation mode, without gradients, and leaves random states alone.
        """
        network = self.network
        if next(network.parameters(), None) is None:
            return  # nothing to ask: the kernel only reads
        weight = next(network.parameters())
        was_training = network.training
        takes = f"it must take states (batch, {', '.join(map(str, event))}) and times (batch,)"
        network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                out = self.ask(torch.zeros(2, *event, dtype=weight.dtype, device=weight.device), self.process.n_steps)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).strip().splitlines()[:1]
            raise InputError(f"the network does not go with this kernel: {takes} ({''.join(why)})") from error
        finally:
            network.train(was_training)
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if not isinstance(out, Tensor) or len(out) != 2 or out[0].numel() not in n_out:
            shape = got if isinstance(got, str) else f"(batch, {', '.join(map(str, got[1:]))})" if len(got) > 1 else str(got)
            raise InputError(f"the network must return (batch, {n_out[0]}), got {shape} for states of shape {event}")

    @abstractmethod
    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Read the law of one step back out of the network's answer, (batch, n_out)."""
