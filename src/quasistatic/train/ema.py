"""A running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from quasistatic.train.torch_private import lerp_each

__all__ = ["Ema"]


class Ema:
    r"""Exponential moving average of parameters.

    The weight of the past at update k = 0, 1, .. is :math:`\min(d, (1 + k) / (10 + k))`. It is small at first, so that
    the random initial weights soon have no influence.

    Parameters
    ----------
    parameters : iterable of Tensor
        The parameters, which are read at every update.
    decay : float
        d; with 0 the mean is the last weights.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.live = list(parameters)
        self.mean = [p.detach().clone() for p in self.live]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights to the mean."""
        memory = min(self.decay, (1 + self.updates) / (10 + self.updates))
        lerp_each(self.mean, self.live, 1.0 - memory)
        self.updates += 1

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Set the parameters to their means within the block."""
        kept = [p.detach().clone() for p in self.live]
        self.put(self.mean)
        try:
            yield
        finally:
            self.put(kept)

    @torch.no_grad()
    def put(self, values: list[Tensor]) -> None:
        """Copy values into the parameters."""
        for p, value in zip(self.live, values, strict=True):
            p.copy_(value)
