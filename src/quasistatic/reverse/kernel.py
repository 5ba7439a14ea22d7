"""Base classes of the reverse kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.modules import shared_copy
from quasistatic.networks.base import clock_of, fixed_n_steps

__all__ = ["Denoiser", "FirstStep", "NetworkKernel", "ReverseKernel", "repeat_steps"]

FirstStep = Literal["learned", "fixed"]
Kernel = TypeVar("Kernel", bound="ReverseKernel")
Process = TypeVar("Process", bound=ForwardProcess)


def repeat_steps(t: int | Tensor, m: int) -> int | Tensor:
    """Repeat each row's step m times in succession.

    An ``int`` is the step of all rows.
    """
    return t if isinstance(t, int) else t.repeat_interleave(m, 0)


class ReverseKernel(nn.Module, ABC, Generic[Process]):
    r"""Base class of reverse kernels :math:`p(x_{t-1} \mid x_t)`.

    Call it with ``x_t`` (batch, \*event) and ``t``, an int or (batch,). It returns a distribution of :math:`x_{t-1}`.

    Parameters
    ----------
    process : ForwardProcess
        The process that the kernel reverses. Its steps are those of the kernel.

    Attributes
    ----------
    process : ForwardProcess
        The same process; models and training read it from the kernel. :meth:`on` gives the kernel other steps.
    n_components : int
        Components of the mixture that it returns; 1 if it is no mixture. The KL of mixtures has no closed form.
    first_step : {"learned", "fixed"}
        Whether :math:`p(x_0 \mid x_1)` is learned, or fixed to the forward step run backwards.
    """

    process: Process
    n_components: int = 1
    first_step: FirstStep = "learned"

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={type(part).__name__}" for name, part in self.named_children())
        return f"{type(self).__name__}({parts}; {sum(p.numel() for p in self.parameters())} parameters)"

    @abstractmethod
    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Return the distribution of one step back.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution | None:
        r"""Return the distribution of the data, or None.

        .. math:: \hat p(x_0 \mid x_t)

        It is None if the kernel has none.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """
        return None

    def from_level(self, x_t: Tensor, t: int) -> Callable[[ForwardProcess, int], Distribution]:
        """Prepare steps of any length from one noise level.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int
            Step of this kernel's process.

        Returns
        -------
        callable
            (process, s) -> distribution of step s of a process whose step s starts from the same level. A network is
            evaluated once, here.
        """
        return lambda process, s: self.on(process)(x_t, s)

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        """Raise ``InputError`` if the kernel does not fit events of this shape."""

    def on(self: Kernel, process: ForwardProcess) -> Kernel:
        """Return this kernel on the steps of another process, sharing all parameters.

        Parameters
        ----------
        process : ForwardProcess
            A process of the same family.

        Raises
        ------
        InputError
            If the kernel has parameters for each step of another T.
        """
        if process is self.process:
            return self
        other = shared_copy(self)
        other.move_to(process)
        return other

    def move_to(self, process: Process) -> None:
        """Move this kernel to the steps of another process.

        :meth:`on` does the same with a copy.
        """
        self.process = process


class NetworkKernel(ReverseKernel[Process]):
    """A kernel that computes its distribution from a network's outputs.

    Parameters
    ----------
    process : ForwardProcess
        The process that the kernel reverses.
    network : Module
        (batch, *inputs), time (batch,) -> (batch, n_out). Its attribute ``clock`` names its time argument
        (:class:`~quasistatic.networks.base.Network`); a module without it takes the log-SNR.
    """

    network: nn.Module

    def __init__(self, process: Process, network: nn.Module) -> None:
        super().__init__(process)
        self.network = network
        # the network, one of its weights, and whether it takes the step: looked up once, which costs a small layer
        self._network_facts: tuple[nn.Module | None, Tensor, bool] = (None, torch.empty(0), False)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self.distribution(self.evaluate_network(x_t, t), x_t, t)

    @abstractmethod
    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Return the distribution of one step back, given the network's outputs.

        Parameters
        ----------
        out : Tensor, shape (batch, n_out)
            What :meth:`evaluate_network` returns.
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """

    def evaluate_network(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Evaluate the network in its own precision and on its own time.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.

        Returns
        -------
        Tensor, shape (batch, n_out)
            In the precision of the state.
        """
        network = self.network
        known, weight, by_step = self._network_facts
        if known is not network:
            weight, by_step = next(network.parameters()), clock_of(network) == "step"
            self._network_facts = network, weight, by_step  # in a tuple, or it would count as a parameter of the kernel
        if by_step:
            time = torch.full((len(x_t),), t, device=x_t.device) if isinstance(t, int) else t
        else:
            time = self.process.log_snr_at(t, x_t)
        dtype, inputs = weight.dtype, self.inputs(x_t)
        if dtype != inputs.dtype:
            inputs = inputs.to(dtype)
        if dtype != time.dtype and time.is_floating_point():
            time = time.to(dtype)
        out = network(inputs, time)
        return out if out.dtype == x_t.dtype else out.to(x_t.dtype)

    def from_level(self, x_t: Tensor, t: int) -> Callable[[ForwardProcess, int], Distribution]:
        out = self.evaluate_network(x_t, t)
        return lambda process, s: self.on(process).distribution(out, x_t, s)

    def inputs(self, x_t: Tensor) -> Tensor:
        """Return the input of the network for states (batch, *event)."""
        return x_t

    def move_to(self, process: Process) -> None:
        n_steps = fixed_n_steps(self.network)
        if n_steps not in (None, process.n_steps):
            raise InputError(
                f"this kernel holds parameters for n_steps = {n_steps} and cannot serve {process.n_steps} steps: "
                "use a network on the log-SNR"
            )
        super().move_to(process)

    def _check_network(self, event: tuple[int, ...], *n_out: int) -> None:
        r"""Refuse a network with a wrong output shape.

        The network is evaluated once, and must map (batch, \*event) to (batch, n_out). It is in evaluation
        mode and without gradients. The random states are restored afterwards.
        """
        network = self.network
        weight = next(network.parameters(), None)
        if weight is None:
            return  # a head of a larger kernel, which has the network
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                states = torch.zeros(2, *event, dtype=weight.dtype, device=weight.device)
                out = self.evaluate_network(states, self.process.n_steps)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).strip().splitlines()[:1]
            takes = f"it must take states (batch, {', '.join(map(str, event))}) and times (batch,)"
            raise InputError(f"the network does not go with this kernel: {takes} ({''.join(why)})") from error
        finally:
            network.train(was_training)
        got = _shape_in_words(out)
        if not isinstance(out, Tensor) or len(out) != 2 or out[0].numel() not in n_out:
            raise InputError(f"the network must return (batch, {n_out[0]}), got {got} for states of shape {event}")


class Denoiser(NetworkKernel[Process]):
    """A network kernel that predicts the data.

    Its step is the forward posterior, averaged over the prediction.
    """

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self.data_distribution(self.evaluate_network(x_t, t), x_t, t)

    @abstractmethod
    def data_distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        r"""Return :math:`\hat p(x_0 \mid x_t)`, given the network's outputs.

        Parameters
        ----------
        out : Tensor, shape (batch, n_out)
            What :meth:`evaluate_network` returns.
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """


def _shape_in_words(out: object) -> str:
    if not isinstance(out, Tensor):
        return type(out).__name__
    return f"(batch, {', '.join(map(str, out.shape[1:]))})" if out.dim() > 1 else str(tuple(out.shape))
