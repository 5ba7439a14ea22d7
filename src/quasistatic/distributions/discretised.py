r"""Masses instead of densities: the law of integers whose noisy values are normal.

Data that lie on a grid have no density, and a model scored by one can be made as good as one likes. What counts is the
probability of the levels themselves, and only the last step back, t = 1, speaks of data: there a normal law is
read as one mass for each level (:class:`DiscretisedGaussian`), while all other steps stay normal
(:class:`FirstStepDiscretised` is a batch of both).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.errors import InputError
from quasistatic.random import Rng

__all__ = ["DiscretisedGaussian", "FirstStepDiscretised", "log_mass"]


class DiscretisedGaussian(Distribution):
    r"""Independent levels low, low + step, .., high, each with the mass of a normal law nearest to it.

    .. math:: P(x) = \Phi\!\left(\frac{x + \Delta/2 - \mu}{\sigma}\right)
                   - \Phi\!\left(\frac{x - \Delta/2 - \mu}{\sigma}\right),

    the outermost levels reaching to infinity, so that the masses sum to one. There is no floor: a level a hundred
    deviations away costs its five thousand nats (Ho et al. 2020, eq. 13, who floor it).

    Parameters
    ----------
    mean, var : Tensor, shape (batch, \*event)
        Of the normal law; ``var`` broadcastable to ``mean``.
    step, low, high : float
        Distance of the levels, the first and the last of them.

    Examples
    --------
    >>> p = DiscretisedGaussian(torch.zeros(3, 1), torch.ones(1), step=1.0, low=-1.0, high=1.0)
    >>> mass = p.log_prob(torch.tensor([[-1.0], [0.0], [1.0]])).exp()
    >>> [round(v, 4) for v in mass.tolist()]
    [0.3085, 0.3829, 0.3085]
    """

    has_kl = False

    def __init__(self, mean: Tensor, var: Tensor, step: float, low: float, high: float) -> None:
        self.normal = Gaussian(mean, var)
        self.step, self.low, self.high = step, low, high

    @property
    def mean(self) -> Tensor:
        """Mean of the normal law, (batch, *event)."""
        return self.normal.mean

    @property
    def var(self) -> Tensor:
        """Variance of the normal law, (batch, *event)."""
        return self.normal.var

    def __getitem__(self, rows: slice) -> DiscretisedGaussian:
        return DiscretisedGaussian(self.mean[rows], self.var[rows], self.step, self.low, self.high)

    def sample(self, generator: Rng | None = None) -> Tensor:
        level = ((self.normal.sample(generator) - self.low) / self.step).round()
        return (self.low + self.step * level).clamp(self.low, self.high)

    def log_prob(self, x: Tensor) -> Tensor:
        place = (x - self.low) / self.step
        inside = (place - place.round()).abs().max() < 1e-2 and (x > self.low - 0.5 * self.step).all()
        if not (inside and (x < self.high + 0.5 * self.step).all()):
            raise InputError(f"levels must be {self.low:g}, {self.low + self.step:g} .. {self.high:g}, got others")
        infinity = torch.full_like(x, math.inf)
        below = torch.where(x < self.low + 0.5 * self.step, -infinity, x - 0.5 * self.step)
        above = torch.where(x > self.high - 0.5 * self.step, infinity, x + 0.5 * self.step)
        return log_mass(self.mean, self.var, below, above).flatten(1).sum(1)

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        raise self._unsupported("times", other)


class _LogMass(torch.autograd.Function):
    r"""Log of the mass that a normal law has between two edges, to full relative precision however far out they are.

    By symmetry the nearer edge is a, the farther b, both in deviations, b > \|a\|. With both on one side

    .. math:: \log(Q(a) - Q(b)) = -\tfrac{a^2}{2} + \log \tfrac12\left(
              \mathrm{erfcx}\tfrac{a}{\sqrt2} - \mathrm{erfcx}\tfrac{b}{\sqrt2}\, e^{-(b - a)(b + a)/2}\right),

    and :math:`\phi(a) / (Q(a) - Q(b))`, of which the gradient is made, needs the bracket alone.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, var: Tensor, below: Tensor, above: Tensor) -> Tensor:
        sd = var.sqrt()
        low, high = (below - mean) / sd, (above - mean) / sd
        mirrored = low + high < 0
        a, b = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
        fall = torch.exp(-0.5 * (b - a) * (b + a))  # phi(b) / phi(a)
        outside = a > 0
        bracket = 0.5 * (_erfcx(a.clamp_min(0.0)) - _erfcx(b) * fall)
        middle = 0.5 * (torch.erf(b * math.sqrt(0.5)) - torch.erf(a * math.sqrt(0.5)))
        # phi(a) / mass; a is finite
        density = math.sqrt(0.5 / math.pi) / torch.where(outside, bracket, middle)
        at_a = torch.where(outside, density, density * torch.exp(-0.5 * a.square()))
        at_b = torch.where(outside, density * fall, density * torch.exp(-0.5 * b.square()))
        by_mean = torch.where(mirrored, at_b - at_a, at_a - at_b) / sd
        by_log_sd = a * at_a - torch.where(b.isinf(), 0.0, b) * at_b
        ctx.save_for_backward(by_mean, 0.5 * by_log_sd / var)
        return torch.where(outside, bracket.log() - 0.5 * a.clamp_min(0.0).square(), middle.log())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        by_mean, by_var = ctx.saved_tensors
        return weight * by_mean, weight * by_var, None, None


def log_mass(mean: Tensor, var: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Log of the mass of a normal law between two edges, which may be infinite, elementwise."""
    return _LogMass.apply(mean, var, below, above)


def _erfcx(x: Tensor) -> Tensor:
    return torch.special.erfcx(x * math.sqrt(0.5))


class FirstStepDiscretised(Distribution):
    """A batch of steps back of which those at t = 1 tell levels and the others real values.

    Rows taken out of it that are all of one kind are that kind: :class:`DiscretisedGaussian` or
    :class:`~quasistatic.distributions.Gaussian`; so is what :meth:`of` makes.

    Parameters
    ----------
    normal : Gaussian
    step, low, high : float
        The grid of the levels.
    first : Tensor, shape (batch,), bool
        Rows at t = 1.
    """

    def __init__(self, normal: Gaussian, step: float, low: float, high: float, first: Tensor) -> None:
        self.normal, self.first = normal, first
        self.step, self.low, self.high = step, low, high

    @classmethod
    def of(cls, normal: Gaussian, step: float, low: float, high: float, first: Tensor) -> Distribution:
        """Say it as one kind, if all rows are."""
        if first.all():
            return DiscretisedGaussian(normal.mean, normal.var, step, low, high)
        return cls(normal, step, low, high, first) if first.any() else normal

    @property
    def mean(self) -> Tensor:
        """Means of the normal laws, (batch, *event)."""
        return self.normal.mean

    def __getitem__(self, rows: slice) -> Distribution:
        return self.of(self.normal[rows], self.step, self.low, self.high, self.first[rows])

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

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        raise self._unsupported("times", other)
