r"""Read-outs whose parameters depend on the step, as in the paper.

The hidden layers are shared by all steps. The read-out has either separate parameters for each step (the toys of the
paper) or a few sets that are mixed by temporal bumps (its images),

.. math:: g_j(t) = \frac{\exp(-(t - \tau_j)^2 / 2 w^2)}{\sum_k \exp(-(t - \tau_k)^2 / 2 w^2)}. \qquad (63)
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_DEPTH, MOST_WIDTH, one_of, whole_number
from quasistatic.memory import require_network
from quasistatic.networks.base import Clock, Network
from quasistatic.storage.modules import saveable

__all__ = ["BumpReadout", "PerStepMLP", "PerStepReadout", "bumps"]


def bumps(t: Tensor, n_steps: int, n_bumps: int) -> Tensor:
    """Return the temporal bump functions g_j(t) of eq. (63).

    Centres are evenly spaced over 0..T and the width is their spacing.

    Parameters
    ----------
    t : Tensor of int, shape (batch,)
        Steps.
    n_steps : int
        T.
    n_bumps : int
        J.

    Returns
    -------
    Tensor, shape (batch, n_bumps)
        Each row sums to one.

    Examples
    --------
    >>> bumps(torch.tensor([1, 500, 1000]), 1000, 10).sum(1).round(decimals=5).tolist()
    [1.0, 1.0, 1.0]
    """
    spacing = n_steps / n_bumps
    centre = (torch.arange(n_bumps, device=t.device) + 0.5) * spacing
    return torch.softmax(-0.5 * ((t.unsqueeze(1) - centre) / spacing).square(), 1)


class PerStepReadout(nn.Module):
    """One linear read-out for each step, starting at zero.

    It maps (batch, n_hidden) and steps (batch,) to (batch, n_out).

    Parameters
    ----------
    n_steps : int
        T.
    n_hidden, n_out : int
        Inputs and outputs.
    """

    def __init__(self, n_steps: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_steps, n_hidden, n_out))
        self.bias = nn.Parameter(torch.zeros(n_steps, n_out))

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        return torch.einsum("bh,bho->bo", h, self.weight[t - 1]) + self.bias[t - 1]


class BumpReadout(nn.Module):
    """Linear read-outs mixed by temporal bumps (eq. 62), starting at zero.

    It maps (batch, n_hidden) and steps (batch,) to (batch, n_out).

    Parameters
    ----------
    n_steps : int
        T.
    n_hidden, n_out : int
        Inputs and outputs.
    n_bumps : int
        Read-outs J.
    """

    def __init__(self, n_steps: int, n_hidden: int, n_out: int, n_bumps: int = 24) -> None:
        super().__init__()
        self.n_steps, self.n_bumps, self.n_out = n_steps, n_bumps, n_out
        self.all = nn.Linear(n_hidden, n_bumps * n_out)
        nn.init.zeros_(self.all.weight)
        nn.init.zeros_(self.all.bias)

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        weights = bumps(t, self.n_steps, self.n_bumps).to(h.dtype)
        return torch.einsum("bj,bjo->bo", weights, self.all(h).view(-1, self.n_bumps, self.n_out))


@saveable
class PerStepMLP(Network):
    """The paper's sigmoid perceptron with a read-out per step.

    That of the heartbeat has 3 layers of 50 and a read-out for each step (Section D.1.2). ``readout="bumps"`` mixes a few
    read-outs by eq. (62) instead. It trains in minutes where T = 2000 separate ones do not.

    Parameters
    ----------
    n_in, n_out : int
        Entries of the flattened state, and outputs.
    n_steps : int
        T.
    width, depth : int
        Hidden units and hidden layers.
    readout : {"per-step", "bumps"}
        Kind of read-out.
    n_bumps : int
        Read-outs J of "bumps".
    """

    clock: Clock = "step"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_steps: int,
        width: int = 50,
        depth: int = 3,
        readout: str = "per-step",
        n_bumps: int = 24,
    ) -> None:
        super().__init__()
        numbers = {"n_in": n_in, "n_out": n_out, "n_steps": n_steps, "width": width, "n_bumps": n_bumps}
        for name, number in numbers.items():
            whole_number(name, number, 1, MOST_WIDTH)
        whole_number("depth", depth, 1, MOST_DEPTH)
        one_of("readout", readout, ("per-step", "bumps"))
        require_network(width * (n_in + depth * width + n_out * (n_steps if readout == "per-step" else n_bumps)))
        self.n_steps = n_steps
        widths = [n_in] + [width] * depth
        self.trunk = nn.Sequential()
        for a, b in itertools.pairwise(widths):
            layer = nn.Linear(a, b)
            # a sigmoid has a slope of a quarter, so with the usual start the signal would shrink to nothing
            nn.init.normal_(layer.weight, std=4.0 / math.sqrt(a))
            self.trunk += nn.Sequential(layer, nn.Sigmoid())
        self.readout: nn.Module = (
            PerStepReadout(n_steps, width, n_out) if readout == "per-step" else BumpReadout(n_steps, width, n_out, n_bumps)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map states and steps to outputs.

        Parameters
        ----------
        x : Tensor, shape (batch, *event)
            State at t.
        t : Tensor of int, shape (batch,)
            Step from 1 to T.

        Returns
        -------
        Tensor, shape (batch, n_out)
        """
        return self.readout(self.trunk(x.flatten(1)), t)
