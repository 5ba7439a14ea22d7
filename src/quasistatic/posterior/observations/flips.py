"""Bits read through a channel that flips some of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from quasistatic.checks import tensor_of
from quasistatic.distributions import ValueFactor
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import EntryObservation
from quasistatic.posterior.observations.values import batch_first

__all__ = ["BitFlipChannel"]


class BitFlipChannel(EntryObservation):
    r"""Observation of bits, each flipped with a known probability.

    .. math:: r(x) = \prod_i \epsilon^{[x_i \ne y_i]}\, (1 - \epsilon)^{[x_i = y_i]}

    Parameters
    ----------
    y : array or Tensor, shape (\*event) or (B, \*event)
        The bits that were read, 0 or 1.
    rate : float or Tensor, shape (\*event)
        :math:`\epsilon`, strictly between 0 and 1; 0.5 carries no information about a bit.

    Examples
    --------
    >>> import torch
    >>> flips = BitFlipChannel(torch.tensor([1.0, 0.0]), rate=0.1).on((2,))
    >>> [round(v, 4) for v in flips.log_r(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).exp().tolist()]
    [0.81, 0.09]
    """

    def __init__(self, y: Any, rate: float | Tensor) -> None:
        self.y = tensor_of("y", y).double()
        wrong = ~((self.y == 0) | (self.y == 1))
        if wrong.any():
            where = wrong.nonzero()[0].tolist()
            raise InputError(f"y holds {self.y[tuple(where)].item()} at index {where}, but bits must be 0 or 1")
        self.rate = tensor_of("rate", rate, float64=True)
        if not ((self.rate > 0) & (self.rate < 1)).all():
            raise InputError(
                f"the rate of flips must lie strictly between 0 and 1, got {self.rate.tolist()}; "
                "for bits that are known use KnownEntries"
            )

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> BitFlipChannel:
        flips = copy.copy(self)
        flips.event = event
        flips.y, flips.batched = batch_first(self.y, event, "y", device)
        if self.rate.shape not in ((), event):
            raise InputError(f"the rate of flips has shape {tuple(self.rate.shape)}, but must be one number or {event}")
        flips.rate = self.rate.to(device)
        flips.n_observations = len(flips.y)
        return flips

    def rows(self, index: Tensor) -> BitFlipChannel:
        if self.n_observations == 1:
            return self
        flips = copy.copy(self)
        flips.y, flips.n_observations = self.y[index], len(index)
        return flips

    def _logs(self) -> tuple[Tensor, Tensor]:
        """Return log r of a one and of a zero."""
        right, wrong = torch.log1p(-self.rate), self.rate.log()
        return torch.where(self.y == 1, right, wrong), torch.where(self.y == 1, wrong, right)

    def each_log_r(self, x: Tensor) -> Tensor:
        log_one, log_zero = self._logs()
        return x * log_one + (1.0 - x) * log_zero

    def factor(self, share: float = 1.0) -> ValueFactor:
        log_one, log_zero = self._logs()
        return ValueFactor(share * torch.stack([log_zero, log_one], -1), "bits read through a channel that flips them")
