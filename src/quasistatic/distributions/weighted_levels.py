"""Levels multiplied by a factor of each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.discrete import Categorical
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.factors import EntryFactor
from quasistatic.random import Rng

__all__ = ["WeightedLevels"]

LogR = Callable[[Tensor, Tensor], Tensor]
"""Row indices (n,) and values (K,) -> log r of each entry at each value, (n or 1, *event, K)."""

TABLE_ENTRIES = 2**22
"""Most entries of a table that is made at once."""


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
