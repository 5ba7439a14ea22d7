r"""Gaussians read as masses of evenly spaced levels.

Data that lie on a grid have no density: a model scored by one can be made as good as one likes. What counts is the
probability of the levels, and only the last reverse step, t = 1, is one of data. There a Gaussian is read as one mass
for each level (:class:`DiscretisedGaussian`), while all other steps stay Gaussian. :class:`WeightedLevels`
are such levels multiplied by factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.discrete import Categorical
from quasistatic.distributions.factors import EntryFactor
from quasistatic.distributions.gaussian import Gaussian
from quasistatic.distributions.log_mass import log_mass
from quasistatic.errors import InputError
from quasistatic.random import Rng

__all__ = ["DiscretisedGaussian", "WeightedLevels"]

LogR = Callable[[Tensor, Tensor], Tensor]
"""Row indices (n,) and values (K,) -> log r of each entry at each value, (n or 1, *event, K)."""

TABLE_ENTRIES = 2**22
"""Most entries of a table that is made at once."""


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

    def _weighted(self) -> WeightedLevels:
        """Return the same distribution as one of weighted levels."""
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


class WeightedLevels(Distribution):
    r"""Levels multiplied by factors.

    It is a :class:`DiscretisedGaussian` times :math:`\prod_i r_i(x_i)`, renormalised.

    The table of all entries and levels is not kept. It is made for a few rows at a time, to be summed or drawn from.
    Mean and variance are those of the Gaussian before it is multiplied.

    Parameters
    ----------
    levels : DiscretisedGaussian
        Before it is multiplied.
    log_r : callable, optional
        Row indices (n,) and values (K,) -> log r, (n or 1, \*event, K); without it r is one.

    Examples
    --------
    Two levels of equal mass, one with three times the factor of the other:

    >>> import torch
    >>> levels = DiscretisedGaussian(torch.zeros(1, 1), torch.ones(1, 1), step=2.0, low=-1.0, high=1.0)
    >>> p, log_z = WeightedLevels(levels).times(lambda rows, values: (2.0 + values).log().expand(1, 1, 2))
    >>> [round(v, 4) for v in (p.log_prob(torch.ones(1, 1)).exp().item(), log_z.exp().item())]
    [0.75, 2.0]
    """

    has_kl = False

    def __init__(self, levels: DiscretisedGaussian, log_r: LogR | None = None) -> None:
        self.levels, self.log_r = levels, log_r
        n_levels = round((levels.high - levels.low) / levels.step) + 1
        index = torch.arange(n_levels, dtype=levels.mean.dtype, device=levels.mean.device)
        self.values = levels.low + levels.step * index

    def times(self, log_r: LogR) -> tuple[WeightedLevels, Tensor]:
        """Multiply by r and renormalise.

        Rows without a possible level stay as they are.

        Parameters
        ----------
        log_r : callable
            Row indices (n,) and values (K,) -> log r, (n or 1, *event, K).

        Returns
        -------
        WeightedLevels
        Tensor, shape (batch,)
            Log normaliser.
        """
        before = self.log_r
        if before is None:
            result = WeightedLevels(self.levels, log_r)
            return result, result._log_total()
        result = WeightedLevels(self.levels, lambda rows, values: before(rows, values) + log_r(rows, values))
        return result, result._log_total() - self._log_total()

    # ---- rows of the batch

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.levels._parameters()

    def _with(self, *parameters: Tensor) -> WeightedLevels:
        raise NotImplementedError  # the rows of the factor are selected too

    def __getitem__(self, rows: slice) -> WeightedLevels:
        return self.take(torch.arange(len(self.levels), device=self.values.device)[rows])

    def take(self, rows: Tensor) -> WeightedLevels:
        log_r = self.log_r
        chosen = None if log_r is None else (lambda part, values: log_r(rows[part], values))
        return WeightedLevels(self.levels.take(rows), chosen)

    def repeat(self, m: int) -> WeightedLevels:
        return self.take(torch.arange(len(self.levels), device=self.values.device).repeat_interleave(m))

    def _concat(self, parts: Sequence[WeightedLevels]) -> WeightedLevels:
        levels = Distribution.concat([part.levels for part in parts])
        starts = torch.tensor([len(part.levels) for part in parts], device=self.values.device).cumsum(0)
        event = tuple(self.levels.mean.shape[1:])

        def log_r(rows: Tensor, values: Tensor) -> Tensor:
            table = values.new_zeros(len(rows), *event, len(values))
            owner = torch.searchsorted(starts, rows, right=True)
            for b, part in enumerate(parts):
                mine = owner == b
                if part.log_r is not None and mine.any():
                    first = int(starts[b]) - len(part.levels)
                    table[mine] = part.log_r(rows[mine] - first, values).expand(int(mine.sum()), *table.shape[1:])
            return table

        assert isinstance(levels, DiscretisedGaussian)
        return WeightedLevels(levels, log_r)

    # ---- moments and values

    @property
    def mean(self) -> Tensor:
        """Mean of the Gaussian before it is multiplied, (batch, *event)."""
        return self.levels.mean

    @property
    def variance(self) -> Tensor:
        """Variance of the Gaussian before it is multiplied, (batch, *event)."""
        return self.levels.var

    @property
    def support(self) -> tuple[float, float]:
        return self.levels.support

    # ---- tables of some rows

    def _tables(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return tables of log mass times r.

        A table has shape (rows, *event, K), and holds a few rows at a time.
        """
        p, n, k = self.levels, len(self.levels), len(self.values)
        each = max(1, TABLE_ENTRIES // (p.mean[0].numel() * k))
        for rows in torch.arange(n, device=self.values.device).split(each):
            mean, var = (v[rows].unsqueeze(-1).expand(*v[rows].shape, k).reshape(-1, 1) for v in (p.mean, p.var))
            level = self.values.expand(*p.mean[rows].shape, k).reshape(-1, 1)
            mass = DiscretisedGaussian(mean, var, p.step, p.low, p.high).log_prob(level).view(*p.mean[rows].shape, k)
            yield rows, mass if self.log_r is None else mass + self.log_r(rows, self.values)

    def _log_total(self) -> Tensor:
        return torch.cat([torch.logsumexp(table, -1).flatten(1).sum(1) for _, table in self._tables()])

    def sample(self, generator: Rng | None = None) -> Tensor:
        drawn = []
        for _, table in self._tables():
            total = torch.logsumexp(table, -1, keepdim=True)
            # an entry without a possible level is drawn from all levels: its weight is zero anyway
            table = torch.where(total > -torch.inf, table, 0.0)
            index = Categorical(torch.log_softmax(table, -1)).sample(generator)
            drawn.append(self.values[index.long()])
        return torch.cat(drawn)

    def log_prob(self, x: Tensor) -> Tensor:
        each = []
        for rows, table in self._tables():
            index = ((x[rows] - self.levels.low) / self.levels.step).round().long().unsqueeze(-1)
            each.append(torch.log_softmax(table, -1).gather(-1, index).flatten(1).sum(1))
        return torch.cat(each)

    # ---- products

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return self.times(lambda rows, values: factor.take(rows).logs(values))

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        return self.times(lambda rows, values: log_r[rows] if len(log_r) > 1 else log_r)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        return self.times(lambda rows, values: g[rows].unsqueeze(-1) * (values - at[rows].unsqueeze(-1)))
