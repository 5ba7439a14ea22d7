"""Entries of a linear map of x that are known exactly."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from quasistatic.distributions import LOG_2PI, Distribution
from quasistatic.posterior.observations.base import Observation
from quasistatic.posterior.observations.tilt import Tilt

__all__ = ["KnownProjections"]


class KnownProjections(Observation):
    r"""Some entries of a linear map of x are known exactly.

    It is the form of known entries in the units of a model whose transform mixes them.

    Parameters
    ----------
    matrix : Tensor, shape (d, d)
        Acts on the flattened event; each of its rows makes an entry.
    mask : Tensor of bool, shape (B, \*event)
        Which entries are known.
    values : Tensor, shape (B, \*event)
        Their values.
    """

    has_zeros = True
    log_slope: Tensor | None = None
    """Log of the derivative of the known entries, (B,), where the values are those of a transform."""
    grid: tuple[float, float, float] | None = None

    def __init__(self, matrix: Tensor, mask: Tensor, values: Tensor) -> None:
        self.matrix, self.mask, self.values = matrix, mask.flatten(1), values.flatten(1)

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> KnownProjections:
        here = copy.copy(self)
        here.event, here.n_observations = event, len(self.values)
        return here

    def rows(self, index: Tensor) -> KnownProjections:
        if self.n_observations == 1:
            return self
        here = copy.copy(self)
        here.mask, here.values, here.n_observations = self.mask[index], self.values[index], len(index)
        here.log_slope = None if self.log_slope is None else self.log_slope[index]
        return here

    def log_r(self, x: Tensor) -> Tensor:
        """Return 0, or minus infinity for wrong rows.

        Projections must agree up to rounding.
        """
        off = (x.flatten(1) @ self.matrix.T - self.values).abs()
        return torch.where((self.mask & (off > 1e-6)).any(1), -torch.inf, 0.0).to(x.dtype)

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        needed = self.mask.any(0)
        mask = self.mask[:, needed]
        # a row that is not known is one of zeros, and counts as N(0; 0, 1)
        rows = self.matrix[needed] * mask.unsqueeze(-1)
        result, log_z = p.observe_linear(rows, self.values[:, needed] * mask, (~mask).to(self.values.dtype))
        log_z = log_z + 0.5 * LOG_2PI * (~mask).sum(1)
        return Tilt.exact((result, log_z)).plus(self.log_slope)
