"""Gaussian distributions with a low-rank covariance plus noise."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.factors import EntryFactor
from quasistatic.distributions.gaussian import MultivariateGaussian
from quasistatic.linalg import LOG_2PI, cholesky
from quasistatic.random import Rng, normal

__all__ = ["LowRankGaussian"]


class LowRankGaussian(Distribution):
    r"""Gaussian :math:`\mathcal{N}(\mu, R R^\top + \mathrm{diag}\,v)` with few columns in R.

    It is what remains of a row of a table when most of its numbers are known. For d by h matrices R a draw costs of
    the order of d h operations and a density d h^2, by Woodbury's identity. A Cholesky factor of the covariance would
    cost d^3.

    Parameters
    ----------
    mean : Tensor, shape (batch, d)
    root : Tensor, shape (batch, d, h)
        R; columns may be zero.
    var : Tensor, shape (batch, d)
        v; with zeros there are draws but no density.

    Examples
    --------
    One common direction and noise of variance one:

    >>> import torch
    >>> p = LowRankGaussian(torch.zeros(1, 2), torch.tensor([[[2.0], [1.0]]]), torch.ones(1, 2))
    >>> q = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[5.0, 2.0], [2.0, 2.0]]))
    >>> x = torch.tensor([[1.0, -1.0]])
    >>> abs((p.log_prob(x) - q.log_prob(x)).item()) < 1e-5
    True
    """

    has_kl = False
    mean: Tensor

    def __init__(self, mean: Tensor, root: Tensor, var: Tensor) -> None:
        self.mean, self.root, self.var = mean, root, var

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.mean, self.root, self.var

    def _with(self, *parameters: Tensor) -> LowRankGaussian:
        return LowRankGaussian(*parameters)

    def _concat(self, parts: list[LowRankGaussian]) -> LowRankGaussian:  # type: ignore[override]
        width = max(part.root.shape[2] for part in parts)
        roots = [torch.nn.functional.pad(part.root, (0, width - part.root.shape[2])) for part in parts]
        return LowRankGaussian(
            torch.cat([part.mean for part in parts]), torch.cat(roots), torch.cat([part.var for part in parts])
        )

    @property
    def variance(self) -> Tensor:
        return self.root.square().sum(2) + self.var

    def covariance_times(self, v: Tensor) -> Tensor:
        return (self.root @ (self.root.mT @ v.unsqueeze(2))).squeeze(2) + self.var * v

    def sample(self, generator: Rng | None = None) -> Tensor:
        along = normal(self.root[:, 0], generator)
        drawn = self.mean + (self.root @ along.unsqueeze(2)).squeeze(2)
        return drawn + self.var.sqrt() * normal(self.mean, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        std = self.var.sqrt()
        off = ((x - self.mean) / std).unsqueeze(2)
        scaled = self.root / std.unsqueeze(2)
        inner = scaled.mT @ scaled
        inner.diagonal(dim1=1, dim2=2).add_(1.0)
        lower = cholesky(inner)
        found = torch.cholesky_solve(scaled.mT @ off, lower)
        far = ((off - scaled @ found) * off).sum((1, 2))
        log_det = lower.diagonal(dim1=1, dim2=2).log().sum(1) + std.log().sum(1)
        return -0.5 * far - log_det - 0.5 * x.shape[1] * LOG_2PI

    def as_multivariate(self) -> MultivariateGaussian:
        return MultivariateGaussian(self.mean, cholesky(self.root @ self.root.mT + torch.diag_embed(self.var)))

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        try:
            return self.as_multivariate().product(other)
        except NotImplementedError:
            raise self._no_closed_form("product", other) from None

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return factor.on_density(self)

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        return self.as_multivariate().observe_entries(mask, y, noise)

    def has_linear_product(self, matrix: Tensor) -> bool:
        return True

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        return self.as_multivariate().observe_linear(matrix, y, noise)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        shift = self.covariance_times(g)
        log_z = (g * (self.mean - at + 0.5 * shift)).sum(1)
        return LowRankGaussian(self.mean + shift, self.root, self.var), log_z

    def rescaled(self, mean: Tensor, share: Tensor, noise: Tensor) -> LowRankGaussian:
        return LowRankGaussian(mean, share.unsqueeze(-1) * self.root, noise + share.square() * self.var)
