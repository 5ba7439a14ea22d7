"""Levels that something is known about: the law of integers times a function of each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from quasistatic.distributions import Categorical, Distribution
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.random import Rng

__all__ = ["ObservedLevels"]

LogR = Callable[[slice, Tensor], Tensor]  # rows, values (K,) -> log r of each entry at each value, (rows or 1, *event, K)
_ENTRIES = 2**22  # of a table that is made at once


class ObservedLevels(Distribution):
    r"""A :class:`~quasistatic.distributions.discretised.DiscretisedGaussian` times :math:`\prod_i r_i(x_i)`, renormalised.

    The table of all entries and levels is never held at once: it is made anew, a few rows at a time, to be
    summed or drawn from.

    Parameters
    ----------
    levels : DiscretisedGaussian
    log_r : callable
        (rows, values (K,)) -> (rows or 1, \*event, K).

    Examples
    --------
    Two levels as good as each other, and one three times as likely seen:

    >>> levels = DiscretisedGaussian(torch.zeros(1, 1), torch.ones(1, 1), step=2.0, low=-1.0, high=1.0)
    >>> law, log_z = ObservedLevels.of(levels, lambda rows, values: (2.0 + values).log().expand(1, 1, 2))
    >>> [round(v, 4) for v in (law.log_prob(torch.ones(1, 1)).exp().item(), log_z.exp().item())]
    [0.75, 2.0]
    """

    has_kl = False

    def __init__(self, levels: DiscretisedGaussian, log_r: LogR) -> None:
        self.levels, self.log_r = levels, log_r
        n_levels = round((levels.high - levels.low) / levels.step) + 1
        index = torch.arange(n_levels, dtype=levels.mean.dtype, device=levels.mean.device)
        self.values = levels.low + levels.step * index

    @classmethod
    def of(cls, p: DiscretisedGaussian | ObservedLevels, log_r: LogR) -> tuple[ObservedLevels, Tensor]:
        """Product of a law with r, and its log normaliser; what is impossible is left as it was."""
        before = p.log_r if isinstance(p, ObservedLevels) else None
        both = log_r if before is None else (lambda rows, values: before(rows, values) + log_r(rows, values))
        law = cls(p.levels if isinstance(p, ObservedLevels) else p, both)
        log_z = law._log_total()
        return law, log_z if before is None else log_z - p._log_total()  # type: ignore[union-attr]

    @property
    def mean(self) -> Tensor:
        """Mean of the normal law that the levels were read from, (batch, *event)."""
        return self.levels.mean

    def _tables(self) -> Iterator[tuple[slice, Tensor]]:
        """Log of mass times r, (rows, *event, K), for some rows after the others."""
        p, n = self.levels, len(self.levels.mean)
        each = max(1, _ENTRIES // (p.mean[0].numel() * len(self.values)))
        for start in range(0, n, each):
            rows = slice(start, min(start + each, n))
            k = len(self.values)
            mean, var = (v[rows].unsqueeze(-1).expand(*v[rows].shape, k).reshape(-1, 1) for v in (p.mean, p.var))
            level = self.values.expand(*p.mean[rows].shape, k).reshape(-1, 1)
            mass = DiscretisedGaussian(mean, var, p.step, p.low, p.high).log_prob(level)
            yield rows, mass.view(*p.mean[rows].shape, k) + self.log_r(rows, self.values)

    def _log_total(self) -> Tensor:
        return torch.cat([torch.logsumexp(table, -1).flatten(1).sum(1) for _, table in self._tables()])

    def __getitem__(self, rows: slice) -> ObservedLevels:
        start, _, _ = rows.indices(len(self.levels.mean))
        shifted = self.log_r
        return ObservedLevels(
            self.levels[rows], lambda part, values: shifted(slice(start + part.start, start + part.stop), values)
        )

    def sample(self, generator: Rng | None = None) -> Tensor:
        drawn = []
        for _, table in self._tables():
            total = torch.logsumexp(table, -1, keepdim=True)
            # an entry without any possible level is drawn as if nothing were known: its weight is zero anyway
            table = torch.where(total > -torch.inf, table, 0.0)
            index = Categorical(torch.log_softmax(table, -1)).sample(generator)
            drawn.append(self.values[index.long()])
        return torch.cat(drawn)

    def log_prob(self, x: Tensor) -> Tensor:
        seen = []
        for rows, table in self._tables():
            index = ((x[rows] - self.levels.low) / self.levels.step).round().long().unsqueeze(-1)
            seen.append(torch.log_softmax(table, -1).gather(-1, index).flatten(1).sum(1))
        return torch.cat(seen)

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        raise self._unsupported("times", other)
