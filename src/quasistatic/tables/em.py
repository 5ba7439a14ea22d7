r"""Expectation maximisation for mixtures of numbers and classes.

Each component is a normal distribution of the numbers times independent rates of the classes,

.. math:: p(y, c) = \sum_k w_k\, \mathcal{N}(y; \mu_k, C_k) \prod_d \rho_{kd}(c_d),

fitted by maximum a posteriori. Every component has the weight of a few prior rows in addition to its own, so that no
covariance is singular and no class is impossible. The scale of the prior rows is that of the components, not of the table,
because clusters may be narrow and far apart. Entries may be missing.
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from quasistatic.linalg import LOG_2PI, cholesky
from quasistatic.transforms.normal import Normal

__all__ = ["Components", "Rows", "fit_components", "starts"]

PRIOR_ROWS = 0.1  # of the common scale, in every component: more would widen a narrow cluster beside a wide one
PRIOR_CLASSES = 1.0  # rows of the common rates
DIAGONAL = 1e-5  # share of independent columns in the common correlations
LEAST_ROWS = 1.5  # a component of fewer is dropped
MOST_NUMBERS = 2**25  # in the factors of all patterns and components


@dataclass(frozen=True)
class Rows:
    """Rows that a mixture is fitted to.

    Attributes
    ----------
    y : Tensor, shape (n, k)
        Numbers, nan where missing.
    codes : Tensor, shape (n, m)
        Classes, nan where missing.
    rates : list of Tensor
        Frequencies of the classes of each column, (L,).
    floor : Tensor, shape (k,)
        Least variance of each column, that of its rounding.
    """

    y: Tensor
    codes: Tensor
    rates: list[Tensor]
    floor: Tensor

    @classmethod
    def of(cls, y: Tensor, codes: Tensor, rates: list[Tensor]) -> Rows:
        """Make rows, and estimate their rounding.

        The rounding is the median distance of neighbouring values.

        Parameters
        ----------
        y : Tensor, shape (n, k)
        codes : Tensor, shape (n, m)
        rates : list of Tensor, each of shape (L,)
        """
        y = y.double()
        floor = torch.ones(y.shape[1], dtype=torch.float64)
        for j in range(y.shape[1]):
            distinct = y[~y[:, j].isnan(), j].unique()
            if len(distinct) > 1:
                rounding = distinct.diff().median().square() / 12.0
                floor[j] = torch.maximum(rounding, 1e-24 * (distinct[-1] - distinct[0]).square())
        return cls(y, codes, rates, floor)

    @functools.cached_property
    def n_patterns(self) -> int:
        """Number of different patterns of missing numbers."""
        return len(self.patterns[0])

    @functools.cached_property
    def patterns(self) -> tuple[Tensor, Tensor]:
        """Patterns of observed numbers, (P, k), and that of each row."""
        if not self.y.shape[1]:
            return torch.ones(1, 0, dtype=torch.bool), torch.zeros(len(self.y), dtype=torch.long)
        return torch.unique(~self.y.isnan(), dim=0, return_inverse=True)

    def fits(self, n_components: int) -> bool:
        """Return True if so many components fit in memory."""
        return n_components * self.n_patterns * self.y.shape[1] ** 2 <= MOST_NUMBERS


@dataclass
class Components:
    """Parameters of a mixture.

    Attributes
    ----------
    weights : Tensor, shape (K,)
    means : Tensor, shape (K, k)
    covs : Tensor, shape (K, k, k)
    rates : list of Tensor, each of shape (K, L)
        Of each column of classes.
    """

    weights: Tensor
    means: Tensor
    covs: Tensor
    rates: list[Tensor]


def starts(rows: Rows, n_components: int, normal: Normal, seed: int) -> list[Tensor]:
    """Compute responsibilities to start from.

    They are clusters of k-means++ of the whitened numbers and the classes.

    Parameters
    ----------
    rows : Rows
    n_components : int
    normal : Normal
        Distribution of the numbers, which whitens them.
    seed : int
        Of k-means.

    Returns
    -------
    list of Tensor, each of shape (n, K)
        Two if there are numbers and classes: the second weighs the classes more.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    parts = []
    if rows.y.shape[1]:
        factor = cholesky(normal.cov)
        off = normal.filled(rows.y) - normal.mean
        parts.append(torch.linalg.solve_triangular(factor, off.T, upper=False).T)
    hot = [torch.nn.functional.one_hot(codes.nan_to_num(nan=len(rate)).long(), len(rate) + 1)[:, :-1].double()
           for codes, rate in zip(rows.codes.T, rows.rates, strict=True)]  # fmt: skip
    found = []
    for weight in (1.0, 4.0) if hot and parts else (1.0,):
        features = torch.cat([*parts, *(weight * h for h in hot)], 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some stay empty
            clusters = KMeans(n_components, n_init=3, random_state=seed).fit(features.numpy())
        found.append(torch.nn.functional.one_hot(torch.as_tensor(clusters.labels_).long(), n_components).double())
    return found


def fit_components(
    rows: Rows, share: Tensor, shrinkage: float, *, n_iterations: int = 60, tolerance: float = 1e-3
) -> Components | None:
    """Fit a mixture from responsibilities.

    Parameters
    ----------
    rows : Rows
    share : Tensor, shape (n, K)
        Probability of each component for each row.
    shrinkage : float
        Weight, in rows, of the correlations that all components have in common, divided by the number of columns plus one.
    n_iterations : int
        Most iterations.
    tolerance : float
        Growth of the mean log density of a row, in nats, below which the fit ends.

    Returns
    -------
    Components or None
        None if fewer than two components keep their rows.
    """
    patterns, of = rows.patterns
    # missing entries start at the mean and variance of their column
    center = rows.y.nanmean(0).nan_to_num()
    variance = (rows.y - center).square().nanmean(0).nan_to_num(nan=1.0).clamp_min(rows.floor)
    filled = torch.where(rows.y.isnan(), center, rows.y)
    within = torch.zeros(len(patterns), *rows.y.shape[1:] * 2, dtype=torch.float64)
    within += torch.diag_embed(torch.where(patterns, 0.0, variance))
    each = [(filled, within)] * share.shape[1]
    before = -math.inf
    for _ in range(n_iterations):
        kept = share.sum(0) >= LEAST_ROWS
        if int(kept.sum()) < 2:
            return None
        each = [e for e, keep in zip(each, kept, strict=True) if keep]
        fitted = _maximised(rows, share[:, kept], each, of, shrinkage)
        scores, each = _expected(rows, fitted, patterns, of)
        total = torch.logsumexp(scores, 1)
        share = (scores - total[:, None]).exp()
        now = total.mean().item()
        if not math.isfinite(now):
            return None
        if now - before < tolerance:
            break
        before = now
    return fitted


def _maximised(rows: Rows, share: Tensor, each: list[tuple[Tensor, Tensor]], of: Tensor, shrinkage: float) -> Components:
    """Fit the parameters to completed rows (M step)."""
    k = rows.y.shape[1]
    count = share.sum(0)
    means, second = [], []
    for j, (filled, within) in enumerate(each):
        r = share[:, j]
        mean = r @ filled / count[j]
        off = filled - mean
        by_pattern = torch.zeros(len(within), dtype=torch.float64).index_add_(0, of, r)
        cov = (off.T * r) @ off + torch.einsum("p,pij->ij", by_pattern, within)
        means.append(mean)
        second.append(cov)
    moment = torch.stack(second)
    var = (moment.diagonal(dim1=1, dim2=2) / count[:, None]).clamp_min(rows.floor)
    common = ((count / count.sum()) @ var.log()).exp()  # geometric mean, so that a wide component does not count more
    own = (count[:, None] * var + PRIOR_ROWS * common) / (count[:, None] + PRIOR_ROWS)
    n_prior, inverse, scale = shrinkage * (k + 1), var.rsqrt(), own.sqrt()
    # correlations within components, of all of them together
    corr = (moment * inverse.unsqueeze(2) * inverse.unsqueeze(1)).sum(0) / count.sum()
    corr = (1.0 - DIAGONAL) * corr + DIAGONAL * torch.diag(corr.diagonal())
    typical = common.sqrt()
    moment = moment + PRIOR_ROWS * corr * typical * typical[:, None]
    moment = moment + n_prior * corr * scale.unsqueeze(2) * scale.unsqueeze(1)
    covs = moment / (count + PRIOR_ROWS + n_prior)[:, None, None] + torch.diag(rows.floor)
    rates = []
    for codes, rate in zip(rows.codes.T, rows.rates, strict=True):
        hot = torch.nn.functional.one_hot(codes.nan_to_num(nan=len(rate)).long(), len(rate) + 1)[:, :-1].double()
        counts = share.T @ hot + PRIOR_CLASSES * rate
        rates.append(counts / counts.sum(1, keepdim=True))
    return Components((count + 1.0) / (count + 1.0).sum(), torch.stack(means), covs, rates)


def _expected(rows: Rows, c: Components, patterns: Tensor, of: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Score and complete each row by each component (E step).

    A score, (n, K), is the log weight plus the log density of the observed entries.

    A completed row is its conditional mean (n, k) and, for each pattern of missing entries, the conditional covariance.
    """
    scores = c.weights.log().expand(len(rows.y), -1)
    for codes, rate in zip(rows.codes.T, c.rates, strict=True):
        log_rate = torch.cat([rate.log(), rate.new_zeros(len(rate), 1)], 1)  # a missing class has probability one
        scores = scores + log_rate.T[codes.nan_to_num(nan=rate.shape[1]).long()]
    if not rows.y.shape[1]:
        return scores, [(rows.y, torch.zeros(len(patterns), 0, 0, dtype=torch.float64))] * len(c.weights)
    log_density, each = [], []
    both = patterns.unsqueeze(1) & patterns.unsqueeze(2)
    cross = (~patterns).unsqueeze(2) & patterns.unsqueeze(1)
    gone = (~patterns).unsqueeze(2) & (~patterns).unsqueeze(1)
    identity = torch.diag_embed((~patterns).double())
    for mean, cov in zip(c.means, c.covs, strict=True):
        factor = cholesky(torch.where(both, cov, identity))
        inverse = torch.linalg.solve_triangular(factor, torch.eye(len(cov), dtype=cov.dtype).expand_as(factor), upper=False)
        gain = torch.where(cross, cov, 0.0) @ inverse.mT @ inverse
        within = torch.where(gone, cov, 0.0) - gain @ torch.where(cross, cov, 0.0).mT
        off = torch.where(rows.y.isnan(), 0.0, rows.y - mean)
        if len(patterns) == 1:
            white, filled = off @ inverse[0].T, mean + off + off @ gain[0].T
        else:
            white = (inverse[of] @ off.unsqueeze(2)).squeeze(2)
            filled = mean + off + (gain[of] @ off.unsqueeze(2)).squeeze(2)
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)[of]
        log_density.append(-0.5 * white.square().sum(1) - log_det - 0.5 * LOG_2PI * patterns.sum(1)[of])
        each.append((filled, within))
    return scores + torch.stack(log_density, 1), each
