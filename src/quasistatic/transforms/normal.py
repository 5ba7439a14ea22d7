"""The normal law of a table with holes: fitted by expectation maximisation, and what it says of what is missing.

A missing entry is nan. The fit maximises the likelihood of the observed entries, which is right where entries are *missing
at random*: whether one is missing may depend on what was observed in its row, but not on its own value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.linalg import cholesky
from quasistatic.random import Rng, normal

__all__ = ["Normal", "Shrinkage", "cross_validated_shrinkage", "held_out"]

LOG_2PI = math.log(2.0 * math.pi)
SHRINKAGES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
TO_FACTORS = (0.1, 0.3, 0.6, 1.0)
RANKS = (2, 5, 10, 20)  # of the factors that many columns with few rows are shrunk towards
LEAST_COLUMNS, MOST_ROWS_A_COLUMN = 8, 50


class Shrinkage(NamedTuple):
    """How far a covariance is shrunk, and towards how many factors; towards none of them, independent columns."""

    amount: float
    rank: int = 0


class Normal:
    r"""A normal law :math:`\mathcal{N}(\mu, C)` of rows, some of whose entries may be missing.

    Parameters
    ----------
    mean : Tensor, shape (d,)
    cov : Tensor, shape (d, d)

    Examples
    --------
    The second entry is missing, and correlated with the first by one half:

    >>> law = Normal(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    >>> row = torch.tensor([[2.0, float("nan")]])
    >>> law.filled(row).tolist(), round(law.log_prob(row).item(), 4)      # log N(2; 0, 1)
    ([[2.0, 1.0]], -2.9189)
    """

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self.mean, self.cov = mean.double(), cov.double()

    @classmethod
    def fit(cls, x: Tensor, *, n_iterations: int = 100, tolerance: float = 1e-5) -> Normal:
        """Maximise the likelihood of the observed entries of rows (n, d); in closed form where nothing is missing."""
        x = x.double()
        seen = ~x.isnan()
        if (missing := ~seen.any(0)).any():
            raise InputError(f"column {int(missing.nonzero()[0])} has no observed entry, so it has no law")
        if seen.all():
            mean = x.mean(0)
            return cls(mean, (x - mean).T @ (x - mean) / len(x))
        count = seen.sum(0)
        mean = x.nan_to_num().sum(0) / count
        var = torch.where(seen, (x.nan_to_num() - mean).square(), 0.0).sum(0) / count
        law = cls(mean, torch.diag(var.clamp_min(1e-12)))
        for _ in range(n_iterations):
            before = law
            law = law._maximised(x)
            scale = before.cov.diagonal().clamp_min(1e-12).rsqrt()
            if ((law.cov - before.cov) * scale * scale[:, None]).abs().max() < tolerance:
                break
        return law

    def _maximised(self, x: Tensor) -> Normal:
        """One step of expectation maximisation."""
        filled = self.filled(x)
        mean = filled.mean(0)
        spread = torch.zeros_like(self.cov)
        for _, rows, _, factor in self._patterns(x):
            spread = spread + torch.einsum("p,pij,pkj->ik", rows, factor, factor)
        cov = ((filled - mean).T @ (filled - mean) + spread) / len(x)
        return Normal(mean, 0.5 * (cov + cov.T))

    def shrunk(self, amount: float, rank: int = 0) -> Normal:
        r"""Shrink the covariance, :math:`(1 - s) C + s\, F`, towards its diagonal, or a model of ``rank`` factors."""
        target = self._of_factors(rank) if rank else torch.diag(self.cov.diagonal())
        return Normal(self.mean, (1.0 - amount) * self.cov + amount * target)

    def _of_factors(self, rank: int, n_iterations: int = 50) -> Tensor:
        r"""Covariance :math:`W W^\top + \mathrm{diag}\, \psi` of factor analysis, the likeliest by turns."""
        scale = self.cov.diagonal().sqrt()
        corr = self.cov / (scale * scale[:, None])
        psi = torch.full_like(scale, 0.5)
        common = torch.zeros_like(corr)
        for _ in range(n_iterations):
            root = psi.sqrt()
            value, vector = torch.linalg.eigh(corr / (root * root[:, None]))
            w = root[:, None] * vector[:, -rank:] * (value[-rank:] - 1.0).clamp_min(0.0).sqrt()
            common = w @ w.T
            psi = (1.0 - common.diagonal()).clamp_min(1e-6)
        scale = scale / (common.diagonal() + psi).sqrt()  # variances are kept
        return (common + torch.diag(psi)) * scale * scale[:, None]

    def with_still_columns(self) -> Normal:
        """Give columns without variance that of one unit: what never changed in some rows may change in others."""
        return Normal(self.mean, self.cov + torch.diag((self.cov.diagonal() <= 0).double()))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of the observed entries of each row, (n,), nats."""
        x = x.double()
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part in torch.arange(len(x), device=x.device).split(self._chunk()):
            seen = ~x[part].isnan()
            off = torch.where(seen, x[part] - self.mean, 0.0)
            if seen.all():
                factor = cholesky(self.cov)
                white = torch.linalg.solve_triangular(factor, off.T, upper=False).T
                log_det = factor.diagonal().log().sum()
            else:
                factor = cholesky(self._observed(seen))
                white = torch.linalg.solve_triangular(factor, off.unsqueeze(-1), upper=False).squeeze(-1)
                log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
            total[part] = -0.5 * white.square().sum(1) - log_det - 0.5 * LOG_2PI * seen.sum(1, dtype=torch.float64)
        return total

    def filled(self, x: Tensor) -> Tensor:
        """Rows with their holes at the conditional mean, (n, d)."""
        filled = x.double().clone()
        for index, _, gain, _ in self._patterns(x):
            pattern, row = index
            off = torch.where(x[row].isnan(), 0.0, x[row].double() - self.mean)
            at = self.mean + (gain[pattern] @ off.unsqueeze(-1)).squeeze(-1)
            filled[row] = torch.where(x[row].isnan(), at, filled[row])
        return filled

    def draw(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        r"""Rows with their holes drawn from :math:`q(x_m \mid x_o)`, (n, d), and the log density of the draws, (n,)."""
        filled = self.filled(x)
        log_q = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        noise = normal(x.double(), generator)
        for index, _, _, factor in self._patterns(x):
            pattern, row = index
            hole = x[row].isnan()
            e = torch.where(hole, noise[row], 0.0)
            filled[row] = torch.where(hole, filled[row] + (factor[pattern] @ e.unsqueeze(-1)).squeeze(-1), filled[row])
            log_scale = torch.where(hole, factor.diagonal(dim1=1, dim2=2)[pattern], 1.0).log().sum(1)
            log_q[row] = -0.5 * e.square().sum(1) - log_scale - 0.5 * LOG_2PI * hole.sum(1, dtype=torch.float64)
        return filled, log_q

    def _chunk(self) -> int:
        return max(1, 2**22 // len(self.mean) ** 2)

    def _observed(self, seen: Tensor) -> Tensor:
        """Covariances of the observed entries, with the identity for the others, (n, d, d)."""
        both = seen.unsqueeze(1) & seen.unsqueeze(2)
        return torch.where(both, self.cov, torch.diag_embed((~seen).double()))

    def _patterns(self, x: Tensor) -> list[tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]]:
        r"""For the rows with holes, by patterns of holes and in parts that fit in memory.

        Each part: (pattern of each row, number of the row), how many rows each pattern has, the gain
        :math:`C_{mo} C_{oo}^{-1}` of each, and a factor of its conditional covariance, both zero elsewhere.
        """
        seen = ~x.isnan()
        rows = (~seen.all(1)).nonzero().flatten()
        if not len(rows):
            return []
        patterns, which, counts = torch.unique(seen[rows], dim=0, return_inverse=True, return_counts=True)
        parts = []
        for p in torch.arange(len(patterns), device=x.device).split(self._chunk()):
            here = (which >= p[0]) & (which <= p[-1])
            gain, factor = self._conditional(patterns[p])
            parts.append(((which[here] - p[0], rows[here]), counts[p].double(), gain, factor))
        return parts

    def _conditional(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        hole = ~seen
        cross = torch.where(hole.unsqueeze(2) & seen.unsqueeze(1), self.cov, 0.0)
        gain = torch.cholesky_solve(cross.mT, cholesky(self._observed(seen))).mT
        within = torch.where(hole.unsqueeze(2) & hole.unsqueeze(1), self.cov, 0.0) - gain @ cross.mT
        # rounding must not cost positive definiteness where columns all but determine each other
        within = 0.5 * (within + within.mT) + torch.diag_embed(1e-12 * self.cov.diagonal() * hole + seen.double())
        return gain, cholesky(within) * (hole.unsqueeze(2) & hole.unsqueeze(1))


def cross_validated_shrinkage(x: Tensor, *, n_folds: int = 5, seed: int = 0) -> tuple[Shrinkage, float]:
    """Choose how far to shrink, and towards what, by the log density of rows left out.

    Factors are tried where there are many columns and few rows for each: smooth signals, questions about one thing.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Rows with or without holes, at least two.

    Returns
    -------
    best : Shrinkage
    score : float
        Mean log density of a row left out, nats.
    """
    n, d = x.shape
    choices = [Shrinkage(amount) for amount in SHRINKAGES]
    if d >= LEAST_COLUMNS and n < MOST_ROWS_A_COLUMN * d:
        choices += [Shrinkage(amount, rank) for rank in RANKS if 2 * rank < d for amount in TO_FACTORS]
    total = torch.zeros(len(choices), dtype=torch.float64)
    for law, rows in _folds(x, n_folds, seed):
        far = {rank: law.shrunk(1.0, rank).cov for rank in {choice.rank for choice in choices}}
        for i, (amount, rank) in enumerate(choices):
            total[i] += Normal(law.mean, (1.0 - amount) * law.cov + amount * far[rank]).log_prob(rows).sum().cpu()
    return choices[int(total.argmax())], total.max().item() / n


def held_out(x: Tensor, shrinkage: Shrinkage, scales: Tensor, *, n_folds: int = 5, seed: int = 0) -> Tensor:
    """Log density of rows left out under laws whose covariance is multiplied by each scale, (n, K), in another order.

    Rows whose fold leaves a column without entries are left out, and that may be all of them.
    """
    each = [x.new_zeros(0, len(scales))]
    for law, rows in _folds(x, n_folds, seed):
        law = law.shrunk(*shrinkage)
        each.append(torch.stack([Normal(law.mean, scale * law.cov).log_prob(rows) for scale in scales], 1))
    return torch.cat(each)


def _folds(x: Tensor, n_folds: int, seed: int) -> list[tuple[Normal, Tensor]]:
    """A law for each fold, of the rows outside it, and the rows inside."""
    if (n := len(x)) < 2:
        raise InputError(f"a covariance needs at least 2 rows, got {n}")
    fold = torch.randperm(n, generator=Generator().manual_seed(seed)).to(x.device) % min(n_folds, n)
    found = []
    for k in range(int(fold.max()) + 1):
        try:
            law = Normal.fit(x[fold != k], n_iterations=30).with_still_columns()
        except InputError:  # a column that is observed in this fold alone tells nothing
            continue
        found.append((law, x[fold == k]))
    return found
