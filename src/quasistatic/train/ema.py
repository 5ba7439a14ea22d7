"""A running mean of the weights, in one fused call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Ema"]


class Ema:
    r"""Exponential moving average of parameters.

    The memory of update k = 0, 1, .. is :math:`\min(d, (1 + k) / (10 + k))`, so that the random start is soon
    forgotten.

    Parameters
    ----------
    parameters : iterable of Tensor
    decay : float
        d, the memory of one step; 0 follows the weights.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.live = list(parameters)
        self.mean = [p.detach().clone() for p in self.live]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        memory = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.mean, self.live, 1.0 - memory)
        self.updates += 1

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Within the block, the parameters hold their means."""
        kept = [p.detach().clone() for p in self.live]
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for p, value in zip(self.live, values, strict=True):
            p.copy_(value)
