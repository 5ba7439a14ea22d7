"""Normal distributions with a diagonal or a full covariance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quasistatic.distributions.base import LOG_2PI, Distribution, _sum
from quasistatic.linalg import cholesky
from quasistatic.random import Rng, normal

__all__ = ["Gaussian", "MultivariateGaussian"]


class Gaussian(Distribution):
    r"""Normal law with independent coordinates, :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
    var : Tensor
        Variance (not deviation), broadcastable to ``mean``; zero means a point mass.

    Examples
    --------
    Two unit normals at 0 and 2 multiply to one at 1 with half the variance:

    >>> a, b = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Gaussian(torch.full((1, 1), 2.0), torch.ones(1, 1))
    >>> product, log_z = a.times(b)
    >>> product.mean.item(), product.var.item()
    (1.0, 0.5)
    >>> round(log_z.exp().item(), 4)      # N(2; 0, 2)
    0.1038
    """

    def __init__(self, mean: Tensor, var: Tensor) -> None:
        self.mean = mean
        self.var = var if var.shape == mean.shape else var.expand(mean.shape)

    def __getitem__(self, rows: slice) -> Gaussian:
        return Gaussian(self.mean[rows], self.var[rows])

    def sample(self, generator: Rng | None = None) -> Tensor:
        return torch.addcmul(self.mean, self.var.sqrt(), normal(self.mean, generator))

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * _sum((x - self.mean).square() / self.var + self.var.log() + LOG_2PI)

    def entropy(self) -> Tensor:
        return 0.5 * _sum(self.var.log() + (LOG_2PI + 1.0))

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, MultivariateGaussian):
            return other._kl_from(self)
        if not isinstance(other, Gaussian):
            raise self._unsupported("kl", other)
        log_ratio = self.var.log() - other.var.log()
        # expm1(r) - r keeps its digits where the two variances nearly agree
        return 0.5 * _sum(torch.expm1(log_ratio) - log_ratio + (self.mean - other.mean).square() / other.var)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        if not isinstance(other, Gaussian) or self.mean.requires_grad or self.var.requires_grad:
            return super().cost(other, n_points)
        return _GaussianCost.apply(other.mean, other.var, self.mean, self.var, n_points)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if not isinstance(other, Gaussian):
            raise self._unsupported("times", other)
        total = self.var + other.var
        gain = self.var / total
        mean = self.mean + gain * (other.mean - self.mean)
        return Gaussian(mean, gain * other.var), Gaussian(self.mean, total).log_prob(other.mean)


class _GaussianCost(torch.autograd.Function):
    r"""Cost of :math:`\mathcal{N}(m, v)` for :math:`\mathcal{N}(\mu, w)` with its gradient in m and v in closed form.

    .. math:: \partial_m = (m - \mu) / v, \qquad
              \partial_v = -\left(w / v - 1 + (m - \mu)^2 / v\right) / 2v,

    for KL and, with w = 0, for the points. A graph of thirty nodes says the same, in a tenth of a small network's step.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, v: Tensor, mu: Tensor, w: Tensor, n_points: int) -> Tensor:
        log_ratio = torch.log(w / v)
        excess = torch.expm1(log_ratio)
        nats = excess - log_ratio
        if n_points:
            nats[:n_points] = v[:n_points].log() + LOG_2PI
        shift = m - mu
        pull = shift / v
        ctx.save_for_backward(pull, torch.addcmul(excess, shift, pull) / v)
        return 0.5 * _sum(torch.addcmul(nats, shift, pull))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        pull, press = ctx.saved_tensors
        weight = weight.view(-1, *(1,) * (pull.dim() - 1))
        return weight * pull, (-0.5 * weight) * press, None, None, None


class MultivariateGaussian(Distribution):
    r"""Normal law with any covariance, :math:`\mathcal{N}(\mu, L L^\top)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
    scale_tril : Tensor, shape (batch, d, d)
        Lower Cholesky factor of the covariance of the flattened event, d = prod(event).

    Examples
    --------
    >>> p = MultivariateGaussian(torch.zeros(1, 2), torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]))
    >>> p.cov.tolist()
    [[[4.0, 2.0], [2.0, 2.0]]]
    >>> round(p.entropy().item(), 4)      # log(2 pi e) + log det L
    3.531
    """

    def __init__(self, mean: Tensor, scale_tril: Tensor) -> None:
        self.mean = mean
        self.scale_tril = scale_tril

    def __getitem__(self, rows: slice) -> MultivariateGaussian:
        return MultivariateGaussian(self.mean[rows], self.scale_tril[rows])

    @property
    def cov(self) -> Tensor:
        """Covariance of the flattened event, (batch, d, d)."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def var(self) -> Tensor:
        """Marginal variances, (batch, *event)."""
        return self.scale_tril.square().sum(-1).view_as(self.mean)

    def _log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _solve(self, y: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale_tril, y, upper=False)

    def sample(self, generator: Rng | None = None) -> Tensor:
        noise = normal(self.mean.flatten(1), generator)
        return self.mean + (self.scale_tril @ noise.unsqueeze(-1)).view_as(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        z = self._solve((x - self.mean).flatten(1).unsqueeze(-1))
        return -0.5 * z.square().sum((1, 2)) - self._log_det() - 0.5 * z.shape[1] * LOG_2PI

    def entropy(self) -> Tensor:
        return self._log_det() + 0.5 * self.scale_tril.shape[-1] * (LOG_2PI + 1.0)

    def _kl_from(self, q: Gaussian) -> Tensor:
        """KL(q || self) for a q with independent coordinates."""
        scaled = self._solve(torch.diag_embed(q.var.flatten(1).sqrt()))
        shift = self._solve((q.mean - self.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) - scaled.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Gaussian):
            other = MultivariateGaussian(other.mean, torch.diag_embed(other.var.flatten(1).sqrt()))
        if not isinstance(other, MultivariateGaussian):
            raise self._unsupported("kl", other)
        scaled = other._solve(self.scale_tril)
        shift = other._solve((self.mean - other.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) + other._log_det() - self._log_det()

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if isinstance(other, Gaussian):
            other = MultivariateGaussian(other.mean, torch.diag_embed(other.var.flatten(1).sqrt()))
        if not isinstance(other, MultivariateGaussian):
            raise self._unsupported("times", other)
        total = MultivariateGaussian(self.mean, cholesky(self.cov + other.cov))
        gain = torch.cholesky_solve(self.cov, total.scale_tril).mT  # cov1 (cov1 + cov2)^-1
        shift = (gain @ (other.mean - self.mean).flatten(1).unsqueeze(-1)).view_as(self.mean)
        cov = gain @ other.cov
        product = MultivariateGaussian(self.mean + shift, cholesky(0.5 * (cov + cov.mT)))
        return product, total.log_prob(other.mean)
