"""Products of laws with what is seen of them, in closed form: entries, linear functions, exponentials."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.distributions import LOG_2PI, Bernoulli, Categorical, Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.distributions.discretised import DiscretisedGaussian, log_mass
from quasistatic.distributions.operations import covariance_times, unsupported
from quasistatic.distributions.weighted_levels import ObservedLevels
from quasistatic.linalg import cholesky

__all__ = [
    "observe_bits",
    "observe_cells",
    "observe_classes",
    "observe_entries",
    "observe_linear",
    "reweighted",
    "tilt_exponentially",
]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def tilt_exponentially(p: Distribution, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
    r"""Renormalised product with :math:`e^{g \cdot (x - a)}` and its log normaliser, (batch,)."""
    if isinstance(p, Gaussian | MultivariateGaussian):
        shift = covariance_times(p, g)
        log_z = _flat(g * (p.mean - at + 0.5 * shift)).sum(1)
        centre = p.mean + shift
        return (Gaussian(centre, p.var) if isinstance(p, Gaussian) else MultivariateGaussian(centre, p.scale_tril)), log_z
    if isinstance(p, Bernoulli):
        return observe_bits(p, g * (1.0 - at), -g * at)
    if isinstance(p, Categorical):
        index = torch.arange(p.n_classes, dtype=g.dtype, device=g.device)
        return observe_classes(p, g.unsqueeze(-1) * (index - at.unsqueeze(-1)))
    if isinstance(p, DiscretisedGaussian | ObservedLevels):
        return ObservedLevels.of(p, lambda rows, values: g[rows].unsqueeze(-1) * (values - at[rows].unsqueeze(-1)))
    if isinstance(p, Mixture):
        m = p.n_components
        parts, log_z = tilt_exponentially(p.components, g.repeat_interleave(m, 0), at.repeat_interleave(m, 0))
        return reweighted(p, parts, log_z)
    raise unsupported(p)


def reweighted(p: Mixture, parts: Distribution, log_z: Tensor) -> tuple[Distribution, Tensor]:
    """The mixture whose components were multiplied, with log normalisers (batch * M,)."""
    log_weights = p.log_weights + log_z.view_as(p.log_weights)
    total = torch.logsumexp(log_weights, 1)
    possible = torch.isfinite(total).unsqueeze(1)
    return Mixture(torch.where(possible, log_weights - total.unsqueeze(1), p.log_weights), parts), total


def observe_bits(p: Bernoulli, log_one: Tensor, log_zero: Tensor) -> tuple[Bernoulli, Tensor]:
    """Renormalised product with :math:`r_i(1), r_i(0)` for each bit, given as logs; what is impossible is left as it was."""
    top = torch.maximum(log_one, log_zero)
    one, zero = p.probs * (log_one - top).exp(), p.complement * (log_zero - top).exp()
    total = one + zero
    possible = total > 0
    if possible.all():
        law = Bernoulli(one / total, zero / total)
    else:
        safe = torch.where(possible, total, 1.0)
        law = Bernoulli(torch.where(possible, one / safe, p.probs), torch.where(possible, zero / safe, p.complement))
    return law, _flat(total.log() + top).sum(1)


def observe_classes(p: Categorical, log_r: Tensor) -> tuple[Categorical, Tensor]:
    """Renormalised product with :math:`r_i(k)` for each entry, given as logs (batch or 1, *event, K); see observe_bits."""
    both = p.log_probs + log_r
    total = torch.logsumexp(both, -1, keepdim=True)
    possible = total > -torch.inf
    law = Categorical(torch.where(possible, both - torch.where(possible, total, 0.0), p.log_probs))
    return law, _flat(total.squeeze(-1)).sum(1)


def observe_entries(p: Distribution, seen: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
    """Normal law of which the entries ``seen`` are observed as y with variance ``noise``; zero is exactly."""
    if isinstance(p, MultivariateGaussian):
        matrix = torch.diag_embed(_flat(seen).to(p.mean.dtype))
        law, log_z = observe_linear(p, matrix, _flat(y * seen), _flat(torch.where(seen, noise, 1.0)))
        exact = seen & (noise == 0)
        law.mean = torch.where(exact, y, law.mean)
        law.scale_tril = torch.where(_flat(exact).unsqueeze(-1), 0.0, law.scale_tril)
        unseen = _flat(~seen).sum(1, dtype=log_z.dtype)  # each counted as N(0; 0, 1)
        return law, log_z + 0.5 * LOG_2PI * unseen
    if not isinstance(p, Gaussian):
        raise unsupported(p)
    total = torch.where(seen, p.var + noise, 1.0)
    off = torch.where(seen, y - p.mean, 0.0)
    gain = torch.where(seen, p.var / total, 0.0)
    centre = torch.where(seen & (noise == 0), y, p.mean + gain * off)
    log_z = -0.5 * torch.where(seen, off.square() / total + total.log() + LOG_2PI, 0.0)
    return Gaussian(centre, torch.where(seen, gain * noise, p.var)), _flat(log_z).sum(1)


def observe_cells(p: Gaussian, seen: Tensor, below: Tensor, above: Tensor) -> tuple[Gaussian, Tensor]:
    """Normal law of which the entries ``seen`` are known to lie between two edges: its mass there, and its two moments.

    The law is normal again, with mean and variance of the truncated one, so the product is exact in its normaliser only.
    """
    sd = p.var.sqrt()
    a, b = ((edge - p.mean) / sd for edge in (below, above))
    mass = log_mass(p.mean, p.var, below.expand_as(sd), above.expand_as(sd))
    # densities at the edges over the mass; the square is that of a finite edge
    at_a, at_b = (torch.exp(-0.5 * edge.square() - 0.5 * LOG_2PI - mass) for edge in (a, b))
    shift = at_a - at_b
    bend = torch.where(a.isinf(), 0.0, a) * at_a - torch.where(b.isinf(), 0.0, b) * at_b
    mean = (p.mean + sd * shift).maximum(below).minimum(above)
    width = (above - below).clamp_max(1e6)
    var = (p.var * (1.0 + bend - shift.square())).maximum(1e-4 * width.square().minimum(p.var)).minimum(p.var)
    law = Gaussian(torch.where(seen, mean, p.mean), torch.where(seen, var, p.var))
    return law, _flat(torch.where(seen, mass, 0.0)).sum(1)


def observe_linear(p: Distribution, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[MultivariateGaussian, Tensor]:
    r"""Normal law conditioned on :math:`y = A x + e` with independent errors, whose variances may be zero.

    Parameters
    ----------
    matrix : Tensor, shape (m, d) or (batch or 1, m, d)
    y, noise : Tensor, shape (batch or 1, m)
        A row of zeros in A needs noise one and y = 0, and still counts as a density.
    """
    if isinstance(p, Gaussian):
        p = MultivariateGaussian(p.mean, torch.diag_embed(_flat(p.var).sqrt()))
    if not isinstance(p, MultivariateGaussian):
        raise unsupported(p)
    cov = p.cov
    cross = matrix @ cov
    total = cholesky(cross @ matrix.mT + torch.diag_embed(noise))
    residual = y - (matrix @ _flat(p.mean).unsqueeze(-1)).squeeze(-1)
    gain = torch.cholesky_solve(cross, total).mT
    keep = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device) - gain @ matrix
    white = torch.linalg.solve_triangular(total, residual.unsqueeze(-1), upper=False).squeeze(-1)
    log_det = total.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_z = -0.5 * white.square().sum(1) - log_det - 0.5 * residual.shape[1] * LOG_2PI
    centre = p.mean + (gain @ residual.unsqueeze(-1)).view_as(p.mean)
    # Joseph's form stays positive: the covariance is that of these parts
    parts = torch.cat([keep @ p.scale_tril, gain * noise.sqrt().unsqueeze(-2)], -1)
    factor = _factor_of_any(parts) if (noise == 0).any() else cholesky(parts @ parts.mT)
    return MultivariateGaussian(centre, factor), log_z


def _factor_of_any(parts: Tensor) -> Tensor:
    """Lower triangular factor of parts times their transpose, which may be singular."""
    return torch.linalg.qr(parts.mT, mode="r").R.mT
