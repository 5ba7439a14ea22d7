r"""Gaussians read as masses of evenly spaced levels.

Data that lie on a grid have no density: a model scored by one can be made as good as one likes. What counts is the
probability of the levels, and only the last reverse step, t = 1, is one of data. There a Gaussian is read as one mass
for each level (:class:`DiscretisedGaussian`), while all other steps stay Gaussian. :class:`FirstStepDiscretised` is a
batch of both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.factors import EntryFactor
from quasistatic.distributions.gaussian import Gaussian
from quasistatic.distributions.log_mass import log_mass
from quasistatic.errors import InputError
from quasistatic.random import Rng

__all__ = ["DiscretisedGaussian", "FirstStepDiscretised"]


class DiscretisedGaussian(Distribution):
    r"""Independent levels with the masses of a Gaussian.

    The levels are low, low + step, .., high, and each has the Gaussian mass nearest to it,

    .. math:: P(x) = \Phi\!\left(\frac{x + \Delta/2 - \mu}{\sigma}\right)
                   - \Phi\!\left(\frac{x - \Delta/2 - \mu}{\sigma}\right),

    the outermost levels reaching to infinity, so that the masses sum to one. There is no floor: a level a hundred
    deviations away costs its five thousand nats (Ho et al. 2020, eq. 13, who floor it). Mean and variance are those of
    the Gaussian, before rounding.

    Parameters
    ----------
    mean, var : Tensor, shape (batch, \*event)
        Of the Gaussian; ``var`` broadcastable to ``mean``.
    step, low, high : float
        Distance of the levels, the first and the last of them.

    Examples
    --------
    >>> import torch
    >>> p = DiscretisedGaussian(torch.zeros(3, 1), torch.ones(1), step=1.0, low=-1.0, high=1.0)
    >>> mass = p.log_prob(torch.tensor([[-1.0], [0.0], [1.0]])).exp()
    >>> [round(v, 4) for v in mass.tolist()]
    [0.3085, 0.3829, 0.3085]
    """

    has_kl = False

    def __init__(self, mean: Tensor, var: Tensor, step: float, low: float, high: float) -> None:
        self.normal = Gaussian(mean, var)
        self.step, self.low, self.high = step, low, high

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.normal.mean, self.normal.var

    def _with(self, *parameters: Tensor) -> DiscretisedGaussian:
        mean, var = parameters
        return DiscretisedGaussian(mean, var, self.step, self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """Mean of the Gaussian, (batch, *event)."""
        return self.normal.mean

    @property
    def var(self) -> Tensor:
        """Variance of the Gaussian, (batch, *event)."""
        return self.normal.var

    @property
    def variance(self) -> Tensor:
        """Variance of the Gaussian, (batch, *event)."""
        return self.normal.var

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def sample(self, generator: Rng | None = None) -> Tensor:
        level = ((self.normal.sample(generator) - self.low) / self.step).round()
        return (self.low + self.step * level).clamp(self.low, self.high)

    def log_prob(self, x: Tensor) -> Tensor:
        return self._each_log_prob(x).flatten(1).sum(1)

    def _each_log_prob(self, x: Tensor) -> Tensor:
        """Log mass of each entry, (batch, *event)."""
        place = (x - self.low) / self.step
        inside = (place - place.round()).abs().max() < 1e-2 and (x > self.low - 0.5 * self.step).all()
        if not (inside and (x < self.high + 0.5 * self.step).all()):
            raise InputError(f"levels must be {self.low:g}, {self.low + self.step:g} .. {self.high:g}, got others")
        infinity = torch.full_like(x, math.inf)
        below = torch.where(x < self.low + 0.5 * self.step, -infinity, x - 0.5 * self.step)
        above = torch.where(x > self.high - 0.5 * self.step, infinity, x + 0.5 * self.step)
        return log_mass(self.mean, self.var, below, above)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return factor.on_levels(self) or self._weighted().condition(factor)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        return self._weighted().tilt(g, at)

    def _weighted(self) -> Distribution:
        """Return the same distribution as one of weighted levels."""
        from quasistatic.distributions.weighted_levels import WeightedLevels  # which needs this module

        return WeightedLevels(self)

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[DiscretisedGaussian, Tensor]:
        """Condition on known levels.

        No table of all levels is needed.

        A known level becomes the mass of a Gaussian too narrow to reach another. So ``noise`` must be zero.
        """
        if (noise != 0).any():
            raise self._refusal("no exact product with noisy measurements of its own family")
        centre = torch.where(mask, y, self.mean).to(self.mean.dtype)
        narrow = torch.where(mask, (1e-3 * self.step) ** 2, self.var)
        level = torch.where(mask, y.to(self.mean.dtype), self.low).expand(self.mean.shape)
        log_z = torch.where(mask, self._each_log_prob(level), 0.0).flatten(1).sum(1)
        return self._with(centre, narrow), log_z


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
