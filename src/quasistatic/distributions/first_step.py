"""Batches of reverse steps of which some end in levels."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.gaussian import Gaussian
from quasistatic.random import Rng

__all__ = ["FirstStepDiscretised"]


class FirstStepDiscretised(Distribution):
    """A batch of first steps and others.

    Rows at t = 1 are levels, and the others are real values.

    Rows taken out of it that are all of one kind are that kind: :class:`DiscretisedGaussian` or
    :class:`~quasistatic.distributions.Gaussian`. So is what :meth:`of` makes. The posterior takes one step at a time,
    so this family has no products.

    Parameters
    ----------
    normal : Gaussian
        Of all rows.
    step, low, high : float
        The grid of the levels.
    first : Tensor, shape (batch,), bool
        Rows at t = 1.
    """

    has_kl = False

    def __init__(self, normal: Gaussian, step: float, low: float, high: float, first: Tensor) -> None:
        self.normal, self.first = normal, first
        self.step, self.low, self.high = step, low, high

    @classmethod
    def of(cls, normal: Gaussian, step: float, low: float, high: float, first: Tensor) -> Distribution:
        """Build levels, a Gaussian, or a batch of both.

        Parameters
        ----------
        normal : Gaussian
            Of all rows.
        step, low, high : float
            The grid of the levels.
        first : Tensor, shape (batch,), bool
            Rows at t = 1.
        """
        if first.all():
            return DiscretisedGaussian(normal.mean, normal.var, step, low, high)
        return cls(normal, step, low, high, first) if first.any() else normal

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.normal.mean, self.normal.var, self.first

    def _with(self, *parameters: Tensor) -> Distribution:  # type: ignore[override]
        mean, var, first = parameters
        return self.of(Gaussian(mean, var), self.step, self.low, self.high, first)

    def _concat(self, parts: list[FirstStepDiscretised]) -> Distribution:  # type: ignore[override]
        first = torch.cat([part.first for part in parts])
        return self._with(*(torch.cat([getattr(part.normal, name) for part in parts]) for name in ("mean", "var")), first)

    @property
    def mean(self) -> Tensor:
        """Means of the Gaussians, (batch, *event)."""
        return self.normal.mean

    @property
    def variance(self) -> Tensor:
        """Variances of the Gaussians, (batch, *event)."""
        return self.normal.var

    def _masses(self) -> DiscretisedGaussian:
        mean, var = self.normal.mean[self.first], self.normal.var[self.first]
        return DiscretisedGaussian(mean, var, self.step, self.low, self.high)

    def _densities(self) -> Gaussian:
        return Gaussian(self.normal.mean[~self.first], self.normal.var[~self.first])

    def _joined(self, at_first: Tensor, elsewhere: Tensor) -> Tensor:
        joined = self.mean.new_empty((len(self.first), *at_first.shape[1:]))
        return joined.index_put((self.first,), at_first).index_put((~self.first,), elsewhere)

    def sample(self, generator: Rng | None = None) -> Tensor:
        return self._joined(self._masses().sample(generator), self._densities().sample(generator))

    def log_prob(self, x: Tensor) -> Tensor:
        return self._joined(self._masses().log_prob(x[self.first]), self._densities().log_prob(x[~self.first]))
