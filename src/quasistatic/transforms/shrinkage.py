"""Shrinkage of covariances, chosen by cross-validation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.transforms.normal import Normal

__all__ = ["Shrinkage", "cross_validated_shrinkage", "held_out"]

SHRINKAGES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Amounts that are tried towards independent columns."""
TO_FACTORS = (0.1, 0.3, 0.6, 1.0)
"""Amounts that are tried towards factors."""
RANKS = (2, 5, 10, 20)
"""Numbers of factors that are tried for many columns with few rows."""
LEAST_COLUMNS, MOST_ROWS_A_COLUMN = 8, 50
"""Factors are tried for at least so many columns, with fewer than so many rows for each."""


class Shrinkage(NamedTuple):
    """Shrinkage of a covariance.

    Attributes
    ----------
    amount : float
        From 0 to 1.
    rank : int
        Number of factors; 0 for independent columns.
    """

    amount: float
    rank: int = 0


def cross_validated_shrinkage(x: Tensor, *, n_folds: int = 5, seed: int = 0) -> tuple[Shrinkage, float]:
    """Choose a shrinkage by the log density of held-out rows.

    Factors are tried where there are many columns and few rows for each, as for smooth signals or questionnaires.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        At least two rows, with nan for missing entries.
    n_folds : int
        Number of folds.
    seed : int
        Of the folds.

    Returns
    -------
    best : Shrinkage
        The choice.
    score : float
        Mean log density of a held-out row, nats.
    """
    n, d = x.shape
    choices = [Shrinkage(amount) for amount in SHRINKAGES]
    if d >= LEAST_COLUMNS and n < MOST_ROWS_A_COLUMN * d:
        choices += [Shrinkage(amount, rank) for rank in RANKS if 2 * rank < d for amount in TO_FACTORS]
    total = torch.zeros(len(choices), dtype=torch.float64)
    for fitted, rows in _folds(x, n_folds, seed):
        far = {rank: fitted.shrunk(1.0, rank).cov for rank in {choice.rank for choice in choices}}
        for i, (amount, rank) in enumerate(choices):
            shrunk = Normal(fitted.mean, (1.0 - amount) * fitted.cov + amount * far[rank])
            total[i] += shrunk.log_prob(rows).sum().cpu()
    return choices[int(total.argmax())], total.max().item() / n


def held_out(x: Tensor, shrinkage: Shrinkage, scales: Tensor, *, n_folds: int = 5, seed: int = 0) -> Tensor:
    """Score held-out rows under scaled covariances.

    Rows whose fold leaves a column without entries are left out, and that may be all of them.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        At least two rows, with nan for missing entries.
    shrinkage : Shrinkage
        Of the covariances.
    scales : Tensor, shape (K,)
        Factors of the covariances.
    n_folds : int
        Number of folds.
    seed : int
        Of the folds.

    Returns
    -------
    Tensor, shape (n, K)
        Log densities in nats, with the rows in another order.
    """
    each = [x.new_zeros(0, len(scales))]
    for fitted, rows in _folds(x, n_folds, seed):
        shrunk = fitted.shrunk(*shrinkage)
        each.append(torch.stack([Normal(shrunk.mean, scale * shrunk.cov).log_prob(rows) for scale in scales], 1))
    return torch.cat(each)


def _folds(x: Tensor, n_folds: int, seed: int) -> list[tuple[Normal, Tensor]]:
    """Fit a Gaussian outside each fold.

    The result has the rows inside too.
    """
    if (n := len(x)) < 2:
        raise InputError(f"a covariance needs at least 2 rows, got {n}")
    fold = torch.randperm(n, generator=Generator().manual_seed(seed)).to(x.device) % min(n_folds, n)
    found = []
    for k in range(int(fold.max()) + 1):
        try:
            fitted = Normal.fit(x[fold != k], n_iterations=30).with_still_columns()
        except InputError:  # a column that is observed in this fold alone
            continue
        found.append((fitted, x[fold == k]))
    return found
