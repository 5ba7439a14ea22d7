"""Gaussian distributions with a diagonal or a full covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.distributions._gaussian_cost import GaussianCost
from quasistatic.distributions.base import Distribution, _sum
from quasistatic.distributions.factors import EntryFactor
from quasistatic.distributions.log_mass import log_mass
from quasistatic.linalg import LOG_2PI, cholesky, root_of_any
from quasistatic.random import Rng, normal

__all__ = ["Gaussian", "MultivariateGaussian"]


class Gaussian(Distribution):
    r"""Gaussian with independent coordinates, :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
        Mean of each entry.
    var : Tensor
        Variance (not deviation), broadcastable to ``mean``; zero means a point mass.

    Examples
    --------
    Two unit normals at 0 and 2 multiply to one at 1 with half the variance:

    >>> import torch
    >>> a, b = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Gaussian(torch.full((1, 1), 2.0), torch.ones(1, 1))
    >>> product, log_z = a.product(b)
    >>> product.mean.item(), product.var.item()
    (1.0, 0.5)
    >>> round(log_z.exp().item(), 4)      # N(2; 0, 2)
    0.1038
    """

    mean: Tensor

    def __init__(self, mean: Tensor, var: Tensor) -> None:
        self.mean = mean
        self.var = var if var.shape == mean.shape else var.expand(mean.shape)

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.mean, self.var

    def _with(self, *parameters: Tensor) -> Gaussian:
        return Gaussian(*parameters)

    @property
    def variance(self) -> Tensor:
        return self.var

    def sample(self, generator: Rng | None = None) -> Tensor:
        return torch.addcmul(self.mean, self.var.sqrt(), normal(self.mean, generator))

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * _sum((x - self.mean).square() / self.var + self.var.log() + LOG_2PI)

    def entropy(self) -> Tensor:
        return 0.5 * _sum(self.var.log() + (LOG_2PI + 1.0))

    def kl(self, other: Distribution) -> Tensor:
        if not isinstance(other, Gaussian):
            return other._kl_from_gaussian(self)
        log_ratio = self.var.log() - other.var.log()
        # expm1(r) - r keeps its digits where the two variances nearly agree
        return 0.5 * _sum(torch.expm1(log_ratio) - log_ratio + (self.mean - other.mean).square() / other.var)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        if not isinstance(other, Gaussian) or self.mean.requires_grad or self.var.requires_grad:
            return super().cost(other, n_points)
        return GaussianCost.apply(other.mean, other.var, self.mean, self.var, n_points)

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        other = self._like(other, "product")
        total = self.var + other.var
        gain = self.var / total
        mean = self.mean + gain * (other.mean - self.mean)
        return Gaussian(mean, gain * other.var), Gaussian(self.mean, total).log_prob(other.mean)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return factor.on_density(self)

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        total = torch.where(mask, self.var + noise, 1.0)
        off = torch.where(mask, y - self.mean, 0.0)
        gain = torch.where(mask, self.var / total, 0.0)
        centre = torch.where(mask & (noise == 0), y, self.mean + gain * off)
        log_z = -0.5 * torch.where(mask, off.square() / total + total.log() + LOG_2PI, 0.0)
        return Gaussian(centre, torch.where(mask, gain * noise, self.var)), log_z.flatten(1).sum(1)

    def observe_cells(self, mask: Tensor, y: Tensor, below: Tensor, above: Tensor) -> tuple[Distribution, Tensor]:
        r"""Condition entries on lying between two edges.

        The result is Gaussian again, with the mean and the variance of the truncated Gaussian. So only the normaliser
        is exact.

        Parameters
        ----------
        mask : Tensor of bool, shape (batch or 1, \*event)
            Entries that are observed.
        y : Tensor, shape (batch or 1, \*event)
            Ignored.
        below, above : Tensor, shape (batch or 1, \*event)
            Edges of the cells, which may be infinite.
        """
        below, above = below.to(self.mean), above.to(self.mean)
        sd = self.var.sqrt()
        a, b = ((edge - self.mean) / sd for edge in (below, above))
        mass = log_mass(self.mean, self.var, below.expand_as(sd), above.expand_as(sd))
        # densities at the edges over the mass; the square is that of a finite edge
        at_a, at_b = (torch.exp(-0.5 * edge.square() - 0.5 * LOG_2PI - mass) for edge in (a, b))
        shift = at_a - at_b
        bend = torch.where(a.isinf(), 0.0, a) * at_a - torch.where(b.isinf(), 0.0, b) * at_b
        mean = (self.mean + sd * shift).maximum(below).minimum(above)
        width = (above - below).clamp_max(1e6)
        least = 1e-4 * width.square().minimum(self.var)
        var = (self.var * (1.0 + bend - shift.square())).maximum(least).minimum(self.var)
        result = Gaussian(torch.where(mask, mean, self.mean), torch.where(mask, var, self.var))
        return result, torch.where(mask, mass, 0.0).flatten(1).sum(1)

    def has_linear_product(self, matrix: Tensor) -> bool:
        return True

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[MultivariateGaussian, Tensor]:
        return self.as_multivariate().observe_linear(matrix, y, noise)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        shift = self.var * g
        log_z = (g * (self.mean - at + 0.5 * shift)).flatten(1).sum(1)
        return Gaussian(self.mean + shift, self.var), log_z

    def as_multivariate(self) -> MultivariateGaussian:
        return MultivariateGaussian(self.mean, torch.diag_embed(self.var.flatten(1).sqrt()))

    def rescaled(self, mean: Tensor, share: Tensor, noise: Tensor) -> Gaussian:
        return Gaussian(mean, noise + share.square() * self.var)

    def unscaled(self, mean: Tensor, share: Tensor, noise: Tensor, least: Tensor) -> Gaussian:
        return Gaussian(mean, torch.maximum(self.var / share.square() - noise, least))


class MultivariateGaussian(Distribution):
    r"""Gaussian with any covariance, :math:`\mathcal{N}(\mu, L L^\top)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
    scale_tril : Tensor, shape (batch, d, d)
        Lower Cholesky factor of the covariance of the flattened event, d = prod(event).

    Examples
    --------
    >>> import torch
    >>> p = MultivariateGaussian(torch.zeros(1, 2), torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]))
    >>> p.cov.tolist()
    [[[4.0, 2.0], [2.0, 2.0]]]
    >>> round(p.entropy().item(), 4)      # log(2 pi e) + log det L
    3.531
    """

    mean: Tensor

    def __init__(self, mean: Tensor, scale_tril: Tensor) -> None:
        self.mean = mean
        self.scale_tril = scale_tril

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.mean, self.scale_tril

    def _with(self, *parameters: Tensor) -> MultivariateGaussian:
        return MultivariateGaussian(*parameters)

    @property
    def cov(self) -> Tensor:
        """Covariance of the flattened event, (batch, d, d)."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def var(self) -> Tensor:
        """Marginal variances, (batch, *event)."""
        return self.scale_tril.square().sum(-1).view_as(self.mean)

    @property
    def variance(self) -> Tensor:
        return self.var

    def covariance_times(self, v: Tensor) -> Tensor:
        factor = self.scale_tril
        return (factor @ (factor.mT @ v.flatten(1).unsqueeze(-1))).view_as(v)

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

    def _kl_from_gaussian(self, q: Distribution) -> Tensor:
        scaled = self._solve(torch.diag_embed(q.variance.flatten(1).sqrt()))
        shift = self._solve((q.mean - self.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) - scaled.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _multivariate(self, other: Distribution, what: str) -> MultivariateGaussian:
        if not isinstance(other, Gaussian | MultivariateGaussian):
            raise self._no_closed_form(what, other)
        return other.as_multivariate()

    def as_multivariate(self) -> MultivariateGaussian:
        return self

    def kl(self, other: Distribution) -> Tensor:
        other = self._multivariate(other, "kl")
        scaled = other._solve(self.scale_tril)
        shift = other._solve((self.mean - other.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) + other._log_det() - self._log_det()

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        other = self._multivariate(other, "product")
        total = MultivariateGaussian(self.mean, cholesky(self.cov + other.cov))
        gain = torch.cholesky_solve(self.cov, total.scale_tril).mT  # cov1 (cov1 + cov2)^-1
        shift = (gain @ (other.mean - self.mean).flatten(1).unsqueeze(-1)).view_as(self.mean)
        cov = gain @ other.cov
        product = MultivariateGaussian(self.mean + shift, cholesky(0.5 * (cov + cov.mT)))
        return product, total.log_prob(other.mean)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return factor.on_density(self)

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[MultivariateGaussian, Tensor]:
        matrix = torch.diag_embed(mask.flatten(1).to(self.mean.dtype))
        measured = torch.where(mask, noise, 1.0).flatten(1)
        result, log_z = self.observe_linear(matrix, (y * mask).flatten(1), measured)
        exact = mask & (noise == 0)
        centre = torch.where(exact, y, result.mean)
        factor = torch.where(exact.flatten(1).unsqueeze(-1), 0.0, result.scale_tril)
        others = (~mask).flatten(1).sum(1, dtype=log_z.dtype)  # each counted as N(0; 0, 1)
        return MultivariateGaussian(centre, factor), log_z + 0.5 * LOG_2PI * others

    def has_linear_product(self, matrix: Tensor) -> bool:
        return True

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[MultivariateGaussian, Tensor]:
        cov = self.cov
        cross = matrix @ cov
        total = cholesky(cross @ matrix.mT + torch.diag_embed(noise))
        residual = y - (matrix @ self.mean.flatten(1).unsqueeze(-1)).squeeze(-1)
        gain = torch.cholesky_solve(cross, total).mT
        keep = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device) - gain @ matrix
        white = torch.linalg.solve_triangular(total, residual.unsqueeze(-1), upper=False).squeeze(-1)
        log_det = total.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_z = -0.5 * white.square().sum(1) - log_det - 0.5 * residual.shape[1] * LOG_2PI
        centre = self.mean + (gain @ residual.unsqueeze(-1)).view_as(self.mean)
        # Joseph's form stays positive: the covariance is that of these parts
        parts = torch.cat([keep @ self.scale_tril, gain * noise.sqrt().unsqueeze(-2)], -1)
        factor = root_of_any(parts) if (noise == 0).any() else cholesky(parts @ parts.mT)
        return MultivariateGaussian(centre, factor), log_z

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        shift = self.covariance_times(g)
        log_z = (g * (self.mean - at + 0.5 * shift)).flatten(1).sum(1)
        return MultivariateGaussian(self.mean + shift, self.scale_tril), log_z

    def rescaled(self, mean: Tensor, share: Tensor, noise: Tensor) -> MultivariateGaussian:
        noise = noise.expand(mean.shape).flatten(1)
        return MultivariateGaussian(mean, cholesky(share.square() * self.cov + torch.diag_embed(noise)))

    def unscaled(self, mean: Tensor, share: Tensor, noise: Tensor, least: Tensor) -> MultivariateGaussian:
        identity = torch.eye(self.scale_tril.shape[-1], dtype=noise.dtype, device=noise.device)
        excess = self.cov / share.square() - noise * identity
        value, vector = torch.linalg.eigh(excess)
        raised = vector * torch.maximum(value, least).unsqueeze(-2)
        return MultivariateGaussian(mean, cholesky(raised @ vector.mT))
