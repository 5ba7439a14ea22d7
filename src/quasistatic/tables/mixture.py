"""Closed-form baselines of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from quasistatic.storage.modules import saveable
from quasistatic.tables.em import Rows, fit_components, starts
from quasistatic.tables.preconditioner import TablePreconditioner
from quasistatic.tables.rows import row_noise
from quasistatic.transforms.normal import Normal
from quasistatic.transforms.shrinkage import cross_validated_shrinkage, held_out

__all__ = ["NormalMixture", "mixing_weights"]

SCALES = 2.0 ** torch.arange(-2.0, 6.1, 0.5, dtype=torch.float64)
MOST_PATTERNS = 50  # of missing entries, up to which several shrinkages are tried
MOST_SCALED = 2000  # rows that the weights of scales are fitted to


@saveable
class NormalMixture(nn.Module):
    r"""Mixture of normal distributions times class rates.

    .. math:: p(y, c) = \sum_k w_k\, \mathcal{N}(y; \mu_k, C_k) \prod_d \rho_{kd}(c_d)

    The numbers y are those of the preconditioner's marginals. Within a component they are independent of the classes c.

    Parameters
    ----------
    preconditioner : TablePreconditioner
        Its marginals turn rows into y and c; its rates are the default rates of the classes.
    weights : Tensor, shape (K,)
    means : Tensor, shape (K, k)
    covs : Tensor, shape (K, k, k)
    rates : sequence of Tensor, shape (K, L), optional
        Probabilities of the L classes of each discrete column in each component.
    """

    def __init__(
        self,
        preconditioner: TablePreconditioner,
        weights: Tensor,
        means: Tensor,
        covs: Tensor,
        rates: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.preconditioner = preconditioner
        self.log_weights = weights.double().log()
        self.normals = [Normal(mean, cov) for mean, cov in zip(means, covs, strict=True)]
        common = [rate.expand(len(weights), -1) for rate in preconditioner.rates]
        self.rates = common if rates is None else [rate.double() for rate in rates]

    def __repr__(self) -> str:
        p = self.preconditioner
        return f"NormalMixture({self.n_components} components of {len(p.numeric)} numbers and {len(p.discrete)} classes)"

    @classmethod
    def single(cls, preconditioner: TablePreconditioner) -> NormalMixture:
        """Return the normal distribution of the preconditioner."""
        completion = preconditioner.completion
        return cls(preconditioner, torch.ones(1), completion.mean[None], completion.cov[None])

    @classmethod
    def heavy_tailed(cls, preconditioner: TablePreconditioner, train: Tensor, *, seed: int = 0) -> NormalMixture:
        r"""Fit a normal distribution with heavy tails.

        .. math:: p(y) = \sum_k w_k\, \mathcal{N}(y; \mu, s_k C)

        Some rows are farther out than others in all directions. The weights of the scales maximise the density of rows
        that are left out of the fit in turn.

        Parameters
        ----------
        preconditioner : TablePreconditioner
        train : Tensor, shape (n, d)
            Coded rows.
        seed : int
            Of the folds.
        """
        single = cls.single(preconditioner)
        if not preconditioner.numeric or len(train) < 2:
            return single
        y = single._rows(train[:MOST_SCALED], seed).y
        shrinkage, _ = cross_validated_shrinkage(y, seed=seed)
        if not len(scores := held_out(y, shrinkage, SCALES, seed=seed)):
            return single
        weights = mixing_weights(scores)
        kept = weights > 1e-3 * weights.max()
        normal = single.normals[0]
        covs = SCALES[kept, None, None] * normal.cov
        return cls(preconditioner, weights[kept] / weights[kept].sum(), normal.mean.expand(len(covs), -1), covs)

    @classmethod
    def fit(
        cls,
        preconditioner: TablePreconditioner,
        train: Tensor,
        validation: Tensor,
        sizes: Sequence[int] = (2, 3, 5, 10, 20),
        shrinkages: Sequence[float] = (0.3, 3.0, 10.0),
        seed: int = 0,
    ) -> NormalMixture:
        """Fit mixtures of several sizes, and keep the best.

        The validation rows choose. More components must be better than fewer by more than one standard error of the
        difference.

        Parameters
        ----------
        preconditioner : TablePreconditioner
        train, validation : Tensor, shape (n, d)
            Coded rows.
        sizes : sequence of int
            Numbers of components. The search ends after two sizes in a row that are no better.
        shrinkages : sequence of float
            Of the correlations in each component towards the common ones (:func:`quasistatic.tables.em.fit_components`).
        seed : int
            Of the starts.
        """
        best = single = cls.single(preconditioner)
        rows, normal = single._rows(train, seed), single.normals[0]
        if rows.y.shape[1] + rows.codes.shape[1] < 2 and not preconditioner.numeric:
            return single  # the rates of one column of classes are all there is
        if rows.n_patterns > MOST_PATTERNS:
            shrinkages = shrinkages[1:2]  # each fit takes long
        best_scores, worse = single.log_prob(validation, seed=seed), 0
        for k in [k for k in sizes if k * 5 <= len(train) and rows.fits(k)]:
            better = False
            for share in starts(rows, k, normal, seed):
                for shrinkage in shrinkages:
                    found = fit_components(rows, share, shrinkage)
                    if found is None:
                        continue
                    fitted = cls(preconditioner, found.weights, found.means, found.covs, found.rates)
                    scores = fitted.log_prob(validation, seed=seed)
                    gain = scores - best_scores
                    # more components must be better by more than the error of the difference: there are many to choose from
                    least = gain.std() / len(gain) ** 0.5 if k > best.n_components and len(gain) > 1 else 0.0
                    if gain.mean() > least:
                        best, best_scores, better = fitted, scores, True
            worse = 0 if better else worse + 1
            if worse == 2:
                break
        return best

    def _rows(self, x: Tensor, seed: int) -> Rows:
        """Return coded rows as numbers and classes for the fit."""
        p = self.preconditioner
        y, _ = p.observed(x, Generator().manual_seed(seed))
        return Rows.of(y[:, p.numeric], y[:, p.discrete], p.rates)

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.normals)

    def component_log_probs(self, y: Tensor) -> Tensor:
        """Score rows under each component.

        A score is the log weight plus the log density of the observed entries.

        Parameters
        ----------
        y : Tensor, shape (n, d)
            Rows in the units of the marginals, nan where missing.

        Returns
        -------
        Tensor, shape (n, K)
            Nats.
        """
        p = self.preconditioner
        total = self.log_weights.expand(len(y), -1)
        if p.numeric:
            numbers = y[:, p.numeric]
            total = total + torch.stack([normal.log_prob(numbers) for normal in self.normals], 1)
        for rate, column in zip(self.rates, p.discrete, strict=True):
            code = y[:, column]
            total = total + torch.where(code.isnan()[:, None], 0.0, rate.log().T[code.nan_to_num().long()])
        return total

    def log_prob(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Return the log density of coded rows.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        seed : int
            Of the noise that dequantises whole numbers; each row has a stream of its own.

        Returns
        -------
        Tensor, shape (n,)
            Nats.
        """
        p = self.preconditioner
        y, log_det = p.observed(x, row_noise(x, seed) if p.marginals.random else None)
        return log_det + torch.logsumexp(self.component_log_probs(y), 1)

    def draw(self, x: Tensor, generator: Generator) -> Tensor:
        """Draw missing entries from their conditional distribution.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        generator : Generator
        """
        p = self.preconditioner
        y, _ = p.observed(x, generator)
        pick = torch.multinomial(torch.softmax(self.component_log_probs(y), 1), 1, generator=generator).squeeze(1)
        filled = y.clone()
        if p.numeric:
            numbers = y[:, p.numeric]
            for k, normal in enumerate(self.normals):
                rows = (pick == k).nonzero().flatten()
                if len(rows):
                    numbers[rows] = normal.draw(numbers[rows], generator)[0]
            filled[:, p.numeric] = numbers
        for rate, column in zip(self.rates, p.discrete, strict=True):
            gone = filled[:, column].isnan()
            if gone.any():
                drawn = torch.multinomial(rate[pick[gone]], 1, generator=generator).squeeze(1)
                filled[gone, column] = drawn.double()
        return torch.where(x.isnan(), p.marginals.inverse(filled), x)

    def sample(self, n: int, *, generator: Generator) -> Tensor:
        """Draw coded rows.

        Parameters
        ----------
        n : int
        generator : Generator

        Returns
        -------
        Tensor, shape (n, d)
        """
        d = len(self.preconditioner.numeric) + len(self.preconditioner.discrete)
        return self.draw(torch.full((n, d), math.nan, dtype=torch.float64), generator)


def mixing_weights(scores: Tensor, n_iterations: int = 100) -> Tensor:
    """Fit the weights of a mixture of fixed densities.

    Parameters
    ----------
    scores : Tensor, shape (n, J)
        Log density of each row under each density.
    n_iterations : int

    Returns
    -------
    Tensor, shape (J,)
        One row's worth of equal weights is added, so that no weight is zero.
    """
    n, j = scores.shape
    weights = torch.full((j,), 1.0 / j, dtype=torch.float64)
    for _ in range(n_iterations):
        share = torch.softmax(scores + weights.log(), 1)
        weights = (share.sum(0) + 1.0 / j) / (n + 1.0)
    return weights / weights.sum()
