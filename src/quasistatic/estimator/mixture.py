"""A mixture of normals beside independent classes: what a diffusion is averaged with, in closed form, holes included."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from quasistatic.data.normal import Normal, cross_validated_shrinkage, held_out
from quasistatic.data.transforms import Chain, Complete, Transform
from quasistatic.saving import saveable

__all__ = ["NormalMixture", "mixing_weights"]

SCALES = 2.0 ** torch.arange(-2.0, 6.1, 0.5, dtype=torch.float64)
MOST_SCALED = 2000  # rows that the weights of scales are fitted to


@saveable
class NormalMixture(nn.Module):
    r"""Density of rows behind their marginals, :math:`\sum_k w_k\, \mathcal{N}(y; \mu_k, C_k)` times the rates of classes.

    Parameters
    ----------
    transform : Chain
        The preconditioning of the table: its first layer makes y of rows, its :class:`Complete` knows which columns are
        numbers and the rates of the others.
    weights : Tensor, shape (K,)
    means : Tensor, shape (K, k)
    covs : Tensor, shape (K, k, k)
    """

    def __init__(self, transform: Chain, weights: Tensor, means: Tensor, covs: Tensor) -> None:
        super().__init__()
        self.transform = transform
        self.log_weights = weights.double().log()
        self.laws = [Normal(mean, cov) for mean, cov in zip(means, covs, strict=True)]
        (self.complete,) = (part for part in transform.parts if isinstance(part, Complete))

    @classmethod
    def single(cls, transform: Chain) -> NormalMixture:
        """The normal law of the preconditioning itself."""
        (complete,) = (part for part in transform.parts if isinstance(part, Complete))
        return cls(transform, torch.ones(1), complete.mean[None], complete.cov[None])

    @classmethod
    def tailed(cls, transform: Chain, train: Tensor, *, seed: int = 0) -> NormalMixture:
        r"""The same law with heavy tails, :math:`\sum_k w_k\, \mathcal{N}(y; \mu, s_k C)`.

        Some rows are farther out than others in all directions. Weights of the scales are the likeliest for training rows
        left out of the fit, in turn.
        """
        single = cls.single(transform)
        numeric = single.complete.numeric
        if not numeric or len(train) < 2:
            return single
        y = single.behind(train[:MOST_SCALED], Generator().manual_seed(seed))[0][:, numeric]
        shrinkage, _ = cross_validated_shrinkage(y, seed=seed)
        if not len(scores := held_out(y, shrinkage, SCALES, seed=seed)):
            return single
        weights = mixing_weights(scores)
        kept = weights > 1e-3 * weights.max()
        law = single.laws[0]
        covs = SCALES[kept, None, None] * law.cov
        return cls(transform, weights[kept] / weights[kept].sum(), law.mean.expand(len(covs), -1), covs)

    @classmethod
    def fit(
        cls,
        transform: Chain,
        train: Tensor,
        validation: Tensor,
        sizes: Sequence[int] = (2, 5, 10, 20),
        ridges: Sequence[float] = (1e-3, 1e-2, 1e-1),
        seed: int = 0,
    ) -> NormalMixture:
        """Fit by scikit-learn, in whitened units, for each size and ridge; keep the best on validation rows."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        single = cls.single(transform)
        best, best_score = single, single.log_prob(validation, seed=seed).mean().item()
        if not single.complete.numeric:
            return single
        white: Any = transform.parts[-1].parts[0]  # type: ignore[union-attr,index]
        z = transform(train, Generator().manual_seed(seed))[0][:, single.complete.numeric]
        for k in [k for k in sizes if k * 5 <= len(train)]:
            for ridge in ridges:
                mixture = GaussianMixture(k, reg_covar=ridge, random_state=seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # validation judges it all the same
                    try:
                        mixture.fit(z.numpy())
                    except ValueError:  # a covariance that is none
                        continue
                means = white.inverse(torch.as_tensor(mixture.means_))
                covs = white.back @ torch.as_tensor(mixture.covariances_) @ white.back.T
                fitted = cls(transform, torch.as_tensor(mixture.weights_), means, 0.5 * (covs + covs.mT))
                score = fitted.log_prob(validation, seed=seed).mean().item()
                if score > best_score:
                    best, best_score = fitted, score
        return best

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.laws)

    def of_numbers(self, y: Tensor) -> Tensor:
        """Log weight and density of the observed numbers under each component, (n, K)."""
        return torch.stack([law.log_prob(y) for law in self.laws], 1) + self.log_weights

    def behind(self, x: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Rows behind the marginals, and the log-determinant of what was observed plus the log rates of its classes."""
        layer = self.transform.parts[0]
        assert isinstance(layer, Transform)
        y, log_p = layer(x, generator)
        for rate, column in zip(self.complete.rates, self.complete.discrete, strict=True):
            there = ~y[:, column].isnan()
            log_p = log_p + torch.where(there, rate.log()[y[:, column].nan_to_num().long()], 0.0)
        return y, log_p

    def log_prob(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Log density of the observed entries of coded rows (n, d), (n,), nats."""
        from quasistatic.estimator.rows import noise_of

        y, log_p = self.behind(x, noise_of(x, seed) if self.transform.parts[0].random else None)  # type: ignore[union-attr]
        if not self.complete.numeric:
            return log_p
        return log_p + torch.logsumexp(self.of_numbers(y[:, self.complete.numeric]), 1)

    def draw(self, x: Tensor, generator: Generator) -> Tensor:
        """Coded rows with their holes drawn from the conditional law."""
        y, _ = self.behind(x, generator)
        filled = y.clone()
        if self.complete.numeric:
            numbers = y[:, self.complete.numeric]
            share = torch.softmax(self.of_numbers(numbers), 1)
            pick = torch.multinomial(share, 1, generator=generator).squeeze(1)
            for k, law in enumerate(self.laws):
                rows = (pick == k).nonzero().flatten()
                if len(rows):
                    numbers[rows] = law.draw(numbers[rows], generator)[0]
            filled[:, self.complete.numeric] = numbers
        for rate, column in zip(self.complete.rates, self.complete.discrete, strict=True):
            hole = filled[:, column].isnan()
            if hole.any():
                drawn = torch.multinomial(rate, int(hole.sum()), replacement=True, generator=generator)
                filled[hole, column] = drawn.double()
        drawn_rows = self.transform.parts[0].inverse(filled)  # type: ignore[operator]
        return torch.where(x.isnan(), drawn_rows, x)

    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draw n coded rows."""
        d = len(self.complete.numeric) + len(self.complete.discrete)
        return self.draw(torch.full((n, d), math.nan, dtype=torch.float64), generator)


def mixing_weights(scores: Tensor, n_iterations: int = 100) -> Tensor:
    """Weights of an average that rows like best, with one row's worth of doubt: scores (n, J) -> (J,)."""
    n, j = scores.shape
    weights = torch.full((j,), 1.0 / j, dtype=torch.float64)
    for _ in range(n_iterations):
        share = torch.softmax(scores + weights.log(), 1)
        weights = (share.sum(0) + 1.0 / j) / (n + 1.0)
    return weights / weights.sum()
