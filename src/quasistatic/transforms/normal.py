"""Gaussian distribution of rows with missing entries.

A missing entry is nan. The fit maximises the likelihood of the observed entries, by expectation maximisation. That is right
where entries are *missing at random*: whether one is missing may depend on what was observed in its row, but not on its own
value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.linalg import LOG_2PI, cholesky
from quasistatic.random import Rng, normal

__all__ = ["LOG_2PI", "Normal"]


class Normal:
    r"""Gaussian :math:`\mathcal{N}(\mu, C)` of rows that may have missing entries.

    Parameters
    ----------
    mean : Tensor, shape (d,)
        The mean.
    cov : Tensor, shape (d, d)
        The covariance.

    Examples
    --------
    The second entry is missing, and correlated with the first by one half:

    >>> import torch
    >>> p = Normal(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    >>> row = torch.tensor([[2.0, float("nan")]])
    >>> p.filled(row).tolist(), round(p.log_prob(row).item(), 4)      # log N(2; 0, 1)
    ([[2.0, 1.0]], -2.9189)
    """

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self.mean, self.cov = mean.double(), cov.double()

    @classmethod
    def fit(cls, x: Tensor, *, n_iterations: int = 100, tolerance: float = 1e-5) -> Normal:
        """Maximise the likelihood of the observed entries.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Rows with nan for missing entries. The fit has a closed form where nothing is missing.
        n_iterations : int
            Iterations of expectation maximisation at most.
        tolerance : float
            Change of a correlation below which it stops.

        Raises
        ------
        InputError
            If a column has no observed entry.
        """
        x = x.double()
        seen = ~x.isnan()
        if (missing := ~seen.any(0)).any():
            raise InputError(
                f"column {int(missing.nonzero()[0])} has no observed entry: remove it, or add rows that have it"
            )
        if seen.all():
            mean = x.mean(0)
            return cls(mean, (x - mean).T @ (x - mean) / len(x))
        count = seen.sum(0)
        mean = x.nan_to_num().sum(0) / count
        var = torch.where(seen, (x.nan_to_num() - mean).square(), 0.0).sum(0) / count
        fitted = cls(mean, torch.diag(var.clamp_min(1e-12)))
        for _ in range(n_iterations):
            before = fitted
            fitted = fitted._maximised(x)
            scale = before.cov.diagonal().clamp_min(1e-12).rsqrt()
            if ((fitted.cov - before.cov) * scale * scale[:, None]).abs().max() < tolerance:
                break
        return fitted

    def _maximised(self, x: Tensor) -> Normal:
        """Take one step of expectation maximisation."""
        filled = self.filled(x)
        mean = filled.mean(0)
        conditional = torch.zeros_like(self.cov)
        for _, rows, _, factor in self._patterns(x):
            conditional = conditional + torch.einsum("p,pij,pkj->ik", rows, factor, factor)
        cov = ((filled - mean).T @ (filled - mean) + conditional) / len(x)
        return Normal(mean, 0.5 * (cov + cov.T))

    def shrunk(self, amount: float, rank: int = 0) -> Normal:
        r"""Shrink the covariance to :math:`(1 - s) C + s\, F`.

        Parameters
        ----------
        amount : float
            s, from 0 to 1.
        rank : int
            F is the model of C by this many factors; its diagonal if 0.
        """
        target = self._of_factors(rank) if rank else torch.diag(self.cov.diagonal())
        return Normal(self.mean, (1.0 - amount) * self.cov + amount * target)

    def _of_factors(self, rank: int, n_iterations: int = 50) -> Tensor:
        r"""Fit the covariance of factor analysis.

        It is :math:`W W^\top + \mathrm{diag}\, \psi`, with W and psi fitted in turn.
        """
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
        """Give constant columns a variance of one.

        New rows may differ there.
        """
        return Normal(self.mean, self.cov + torch.diag((self.cov.diagonal() <= 0).double()))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density of observed entries, (n,)."""
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
        """Fill missing entries with their conditional mean, (n, d)."""
        filled = x.double().clone()
        for index, _, gain, _ in self._patterns(x):
            pattern, row = index
            off = torch.where(x[row].isnan(), 0.0, x[row].double() - self.mean)
            at = self.mean + (gain[pattern] @ off.unsqueeze(-1)).squeeze(-1)
            filled[row] = torch.where(x[row].isnan(), at, filled[row])
        return filled

    def draw(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        r"""Fill missing entries with draws from :math:`q(x_m \mid x_o)`.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Rows with nan for missing entries.
        generator : Generator, optional
            Of the draws.

        Returns
        -------
        Tensor, shape (n, d)
            The rows, filled.
        Tensor, shape (n,)
            Log density of the draws.
        """
        filled = self.filled(x)
        log_q = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        noise = normal(x.double(), generator)
        for index, _, _, factor in self._patterns(x):
            pattern, row = index
            missing = x[row].isnan()
            e = torch.where(missing, noise[row], 0.0)
            drawn = filled[row] + (factor[pattern] @ e.unsqueeze(-1)).squeeze(-1)
            filled[row] = torch.where(missing, drawn, filled[row])
            log_scale = torch.where(missing, factor.diagonal(dim1=1, dim2=2)[pattern], 1.0).log().sum(1)
            log_q[row] = -0.5 * e.square().sum(1) - log_scale - 0.5 * LOG_2PI * missing.sum(1, dtype=torch.float64)
        return filled, log_q

    def _chunk(self) -> int:
        return max(1, 2**22 // len(self.mean) ** 2)

    def _observed(self, seen: Tensor) -> Tensor:
        """Return covariances of the observed entries.

        The identity stands for the others, (n, d, d).
        """
        both = seen.unsqueeze(1) & seen.unsqueeze(2)
        return torch.where(both, self.cov, torch.diag_embed((~seen).double()))

    def _patterns(self, x: Tensor) -> list[tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]]:
        r"""Group rows by their missing entries.

        The groups are in parts that fit in memory.

        Each part: (pattern of each row, number of the row), how many rows each pattern has, the gain
        :math:`C_{mo} C_{oo}^{-1}` of each, and a factor of its conditional covariance, both zero elsewhere.
        """
        seen = ~x.isnan()
        rows = (~seen.all(1)).nonzero().flatten()
        if not len(rows):
            return []
        patterns, pattern_of, counts = torch.unique(seen[rows], dim=0, return_inverse=True, return_counts=True)
        parts = []
        for p in torch.arange(len(patterns), device=x.device).split(self._chunk()):
            here = (pattern_of >= p[0]) & (pattern_of <= p[-1])
            gain, factor = self._conditional(patterns[p])
            parts.append(((pattern_of[here] - p[0], rows[here]), counts[p].double(), gain, factor))
        return parts

    def _conditional(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain and conditional covariance factor."""
        missing = ~seen
        cross = torch.where(missing.unsqueeze(2) & seen.unsqueeze(1), self.cov, 0.0)
        gain = torch.cholesky_solve(cross.mT, cholesky(self._observed(seen))).mT
        within = torch.where(missing.unsqueeze(2) & missing.unsqueeze(1), self.cov, 0.0) - gain @ cross.mT
        # rounding must not cost positive definiteness where columns nearly determine each other
        within = 0.5 * (within + within.mT) + torch.diag_embed(1e-12 * self.cov.diagonal() * missing + seen.double())
        return gain, cholesky(within) * (missing.unsqueeze(2) & missing.unsqueeze(1))
