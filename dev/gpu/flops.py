"""Floating-point operations of a network, counted by torch on tensors without memory."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["flops_per_row"]


def flops_per_row(network: nn.Module, x: Tensor, time: Tensor) -> tuple[float, float]:
    """Operations of a forward pass of one row, and of forward and backward: products and convolutions, two for each term.

    Examples
    --------
    One linear layer from 3 to 5; backward to its weights costs as much again, and nothing goes back to its input:

    >>> class Layer(nn.Linear):
    ...     def forward(self, x, time):
    ...         return super().forward(x)
    >>> flops_per_row(Layer(3, 5), torch.zeros(7, 3), torch.zeros(7))
    (30.0, 60.0)
    """
    ghost = copy.deepcopy(network).to("meta")
    x, time = x.to("meta"), time.to("meta")
    with FlopCounterMode(display=False) as there:
        out = ghost(x, time)
    with FlopCounterMode(display=False) as back:
        out.sum().backward()
    forward = float(there.get_total_flops())
    return forward / len(x), (forward + back.get_total_flops()) / len(x)
