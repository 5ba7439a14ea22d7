"""Normalised radial basis functions, the paper's network for the swiss roll."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, real_number, whole_number
from quasistatic.memory import require_network
from quasistatic.networks.base import Clock, Network
from quasistatic.networks.per_step import PerStepReadout
from quasistatic.storage.modules import saveable

__all__ = ["NormalisedRBF"]


@saveable
class NormalisedRBF(Network):
    r"""Normalised radial basis functions with a read-out for each step (Section D.1.1).

    .. math:: h_k(x) = \frac{\exp(-\|x - c_k\|^2 / 2 w_k^2)}{\sum_l \exp(-\|x - c_l\|^2 / 2 w_l^2)}

    Centres c and widths w are learned and shared by all steps, as the paper's hidden layer is. The read-out starts at zero.

    Parameters
    ----------
    n_in, n_out : int
        Entries of the flattened state, and outputs.
    n_steps : int
        T.
    n_hidden : int
        Basis functions; the paper has 16.
    spread : float
        Deviation of the initial centres, which also sets the initial widths.
    """

    clock: Clock = "step"

    def __init__(self, n_in: int, n_out: int, n_steps: int, n_hidden: int = 16, spread: float = 1.5) -> None:
        super().__init__()
        for name, number in {"n_in": n_in, "n_out": n_out, "n_steps": n_steps, "n_hidden": n_hidden}.items():
            whole_number(name, number, 1, MOST_WIDTH)
        spread = real_number("spread", spread, above=0.0)
        require_network(n_hidden * (n_in + n_steps * n_out))
        self.n_steps = n_steps
        self.centre = nn.Parameter(spread * torch.randn(n_hidden, n_in))
        width = torch.full((n_hidden,), 2.0 * spread / n_hidden ** (1.0 / n_in))
        self.log_width = nn.Parameter(width.log())
        self.readout = PerStepReadout(n_steps, n_hidden, n_out)

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
        distance = (x.flatten(1).unsqueeze(1) - self.centre).square().sum(-1)
        h = torch.softmax(-0.5 * distance * (-2.0 * self.log_width).exp(), 1)
        return self.readout(h, t)
