"""Base class of the networks of a kernel."""

from __future__ import annotations

from typing import Literal, cast

from torch import nn

__all__ = ["Clock", "Network", "clock_of", "fixed_n_steps"]

Clock = Literal["log_snr", "step"]


class Network(nn.Module):
    """Base class of the library's networks.

    A network is called as ``network(x_t, time)`` with one time for each row, and returns (batch, n_out).

    Attributes
    ----------
    clock : {"log_snr", "step"}
        Its time argument: the log signal-to-noise ratio of the step, for networks that work for every T, or the number of
        the step.
    n_steps : int or None
        T, if the network has parameters for each step.
    """

    clock: Clock = "log_snr"
    n_steps: int | None = None


def clock_of(network: nn.Module) -> Clock:
    """Return the time variable of a network.

    A module without the attribute ``clock`` has the log-SNR.
    """
    return cast(Clock, network.clock) if hasattr(network, "clock") else "log_snr"


def fixed_n_steps(network: nn.Module) -> int | None:
    """Return the T that a network has parameters for.

    None means that it works for every T.
    """
    held = (vars(module).get("n_steps") for module in network.modules())
    return next((n_steps for n_steps in held if n_steps is not None), None)
