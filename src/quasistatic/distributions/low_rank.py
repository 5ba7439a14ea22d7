"""Normal laws that are narrow but in a few directions: what is left of a row when most of its numbers are known."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.distributions import LOG_2PI, Distribution
from quasistatic.linalg import cholesky
from quasistatic.random import Rng, normal

__all__ = ["LowRankGaussian"]


class LowRankGaussian(Distribution):
    r"""Normal law :math:`\mathcal{N}(\mu, R R^\top + v I)` of vectors, for d by h matrices R with few columns.

    A draw costs of the order of d h operations and a density d h^2, by Woodbury's identity, where a Cholesky factor of the
    covariance would cost d^3.

    Parameters
    ----------
    mean : Tensor, shape (batch, d)
    root : Tensor, shape (batch, d, h)
        R; columns may be zero.
    var : Tensor, shape (batch, d)
        v; with zeros the law lives on a plane and can be drawn, but has no density.

    Examples
    --------
    One common direction and noise of variance one:

    >>> p = LowRankGaussian(torch.zeros(1, 2), torch.tensor([[[2.0], [1.0]]]), torch.ones(1, 2))
    >>> q = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[5.0, 2.0], [2.0, 2.0]]))
    >>> x = torch.tensor([[1.0, -1.0]])
    >>> abs((p.log_prob(x) - q.log_prob(x)).item()) < 1e-5
    True
    """

    has_kl = False

    def __init__(self, mean: Tensor, root: Tensor, var: Tensor) -> None:
        self.mean, self.root, self.var = mean, root, var

    def __getitem__(self, rows: slice) -> LowRankGaussian:
        return LowRankGaussian(self.mean[rows], self.root[rows], self.var[rows])

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

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        raise self._unsupported("times", other)
