"""A mixture of normals beside independent classes: what a diffusion is averaged with, in closed form, holes included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from quasistatic.storage.modules import saveable
from quasistatic.tables.em import Rows, fit_components, starts
from quasistatic.transforms import Chain, Complete, Transform
from quasistatic.transforms.normal import Normal
from quasistatic.transforms.shrinkage import cross_validated_shrinkage, held_out

__all__ = ["NormalMixture", "mixing_weights"]

SCALES = 2.0 ** torch.arange(-2.0, 6.1, 0.5, dtype=torch.float64)
MOST_PATTERNS = 50  # of missing entries, up to which several shrinkages are tried
MOST_SCALED = 2000  # rows that the weights of scales are fitted to


@saveable
class NormalMixture(nn.Module):
    r"""Mixture of products, :math:`\sum_k w_k\, \mathcal{N}(y; \mu_k, C_k) \prod_d \rho_{kd}(c_d)`.

    Numbers y stand behind the transforms of their columns; within a component they are independent of the classes c.

    Parameters
    ----------
    transform : Chain
        The preconditioning of the table: its first layer makes y of rows, its :class:`Complete` knows which columns are
        numbers and the rates of the others.
    weights : Tensor, shape (K,)
    means : Tensor, shape (K, k)
    covs : Tensor, shape (K, k, k)
    rates : sequence of Tensor, shape (K, L), optional
        Probabilities of the L classes of each other column in each component; those of the preconditioning if not given.
    """

    def __init__(
        self, transform: Chain, weights: Tensor, means: Tensor, covs: Tensor, rates: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.transform = transform
        self.log_weights = weights.double().log()
        self.laws = [Normal(mean, cov) for mean, cov in zip(means, covs, strict=True)]
        (self.complete,) = (part for part in transform.parts if isinstance(part, Complete))
        common = [rate.expand(len(weights), -1) for rate in self.complete.rates]
        self.rates = common if rates is None else [rate.double() for rate in rates]

    def __repr__(self) -> str:
        c = self.complete
        return f"NormalMixture({self.n_components} components of {len(c.numeric)} numbers and {len(c.discrete)} classes)"

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
        y = single._rows(train[:MOST_SCALED], seed).y
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
        sizes: Sequence[int] = (2, 3, 5, 10, 20),
        shrinkages: Sequence[float] = (0.3, 3.0, 10.0),
        seed: int = 0,
    ) -> NormalMixture:
        """Fit by expectation maximisation for each size and shrinkage; keep the best on validation rows.

        More components must be better than fewer by more than one standard error of the difference.

        Parameters
        ----------
        transform : Chain
            The preconditioning of the table.
        train, validation : Tensor, shape (n, d)
            Coded rows.
        sizes : sequence of int
            Numbers of components; larger ones are not tried once two have not been better than the one before.
        shrinkages : sequence of float
            Of the correlations in each component towards the common ones (:func:`quasistatic.tables.em.fit_components`).
        seed : int
        """
        best = single = cls.single(transform)
        rows, normal = single._rows(train, seed), single.laws[0]
        if rows.y.shape[1] + rows.codes.shape[1] < 2 and not single.complete.numeric:
            return single  # one column of classes has no more to say
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
                    fitted = cls(transform, found.weights, found.means, found.covs, found.rates)
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
        """Coded rows as the fit takes them."""
        layer = self.transform.parts[0]
        assert isinstance(layer, Transform)
        y, _ = layer(x, Generator().manual_seed(seed))
        return Rows.of(y[:, self.complete.numeric], y[:, self.complete.discrete], self.complete.rates)

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.laws)

    def components(self, y: Tensor) -> Tensor:
        """Log weight and density of the observed entries under each component, (n, K)."""
        total = self.log_weights.expand(len(y), -1)
        if self.complete.numeric:
            numbers = y[:, self.complete.numeric]
            total = total + torch.stack([law.log_prob(numbers) for law in self.laws], 1)
        for rate, column in zip(self.rates, self.complete.discrete, strict=True):
            code = y[:, column]
            total = total + torch.where(code.isnan()[:, None], 0.0, rate.log().T[code.nan_to_num().long()])
        return total

    def log_prob(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Log density of the observed entries of coded rows (n, d), (n,), nats."""
        from quasistatic.tables.rows import noise_of

        layer = self.transform.parts[0]
        assert isinstance(layer, Transform)
        y, log_det = layer(x, noise_of(x, seed) if layer.random else None)
        return log_det + torch.logsumexp(self.components(y), 1)

    def draw(self, x: Tensor, generator: Generator) -> Tensor:
        """Coded rows with their missing entries drawn from the conditional distribution."""
        layer = self.transform.parts[0]
        assert isinstance(layer, Transform)
        y, _ = layer(x, generator)
        pick = torch.multinomial(torch.softmax(self.components(y), 1), 1, generator=generator).squeeze(1)
        filled = y.clone()
        if self.complete.numeric:
            numbers = y[:, self.complete.numeric]
            for k, law in enumerate(self.laws):
                rows = (pick == k).nonzero().flatten()
                if len(rows):
                    numbers[rows] = law.draw(numbers[rows], generator)[0]
            filled[:, self.complete.numeric] = numbers
        for rate, column in zip(self.rates, self.complete.discrete, strict=True):
            gone = filled[:, column].isnan()
            if gone.any():
                drawn = torch.multinomial(rate[pick[gone]], 1, generator=generator).squeeze(1)
                filled[gone, column] = drawn.double()
        return torch.where(x.isnan(), layer.inverse(filled), x)

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
