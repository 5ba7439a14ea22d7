"""What posteriors ask of distributions beyond their protocol: rows, moments, exponential tilts, linear observations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quasistatic.distributions import (
    LOG_2PI,
    Bernoulli,
    BlockProduct,
    Categorical,
    Distribution,
    FullGaussian,
    Gaussian,
    Mixture,
)
from quasistatic.errors import InputError

__all__ = [
    "covariance_factor",
    "covariance_times",
    "joined",
    "mean",
    "observe_bits",
    "observe_entries",
    "observe_linear",
    "reweighted",
    "take",
    "tilt_exponentially",
    "unsupported",
]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def take(p: Distribution, rows: Tensor) -> Distribution:
    """The laws of some rows, in any order and with repeats."""
    if isinstance(p, Gaussian):
        return Gaussian(p.mean[rows], p.var[rows])
    if isinstance(p, FullGaussian):
        return FullGaussian(p.mean[rows], p.scale_tril[rows])
    if isinstance(p, Bernoulli):
        return Bernoulli(p.probs[rows], p.complement[rows])
    if isinstance(p, Categorical):
        return Categorical(p.log_probs[rows])
    if isinstance(p, BlockProduct):
        return BlockProduct([take(part, rows) for part in p.parts], p.columns)
    if isinstance(p, Mixture):
        m = p.n_components
        each = (rows.unsqueeze(1) * m + torch.arange(m, device=rows.device)).flatten()
        return Mixture(p.log_weights[rows], take(p.components, each))
    raise unsupported(p)


def joined(laws: Sequence[Distribution]) -> Distribution:
    """Laws of one family, one batch after the other."""
    first = laws[0]
    if len(laws) == 1:
        return first
    if isinstance(first, Gaussian):
        return Gaussian(_cat(laws, "mean"), _cat(laws, "var"))
    if isinstance(first, FullGaussian):
        return FullGaussian(_cat(laws, "mean"), _cat(laws, "scale_tril"))
    if isinstance(first, Bernoulli):
        return Bernoulli(_cat(laws, "probs"), _cat(laws, "complement"))
    if isinstance(first, Categorical):
        return Categorical(_cat(laws, "log_probs"))
    if isinstance(first, BlockProduct):
        blocks = zip(*(p.parts for p in laws), strict=True)  # type: ignore[attr-defined]
        return BlockProduct([joined(each) for each in blocks], first.columns)
    if isinstance(first, Mixture):
        return Mixture(_cat(laws, "log_weights"), joined([p.components for p in laws]))  # type: ignore[attr-defined]
    raise unsupported(first)


def _cat(laws: Sequence[Distribution], name: str) -> Tensor:
    return torch.cat([getattr(p, name) for p in laws])


def mean(p: Distribution) -> Tensor:
    """Mean of each row, (batch, *event)."""
    if isinstance(p, Mixture):
        weights = p.log_weights.exp()
        each = mean(p.components).view(*weights.shape, -1)
        return (weights.unsqueeze(1) @ each).view(len(weights), *mean(p.components).shape[1:])
    if isinstance(p, Gaussian | FullGaussian | Bernoulli):
        return p.mean
    raise unsupported(p)


def covariance_times(p: Distribution, g: Tensor) -> Tensor:
    """Covariance of each row times a vector, (batch, *event)."""
    if isinstance(p, Gaussian):
        return p.var * g
    if isinstance(p, FullGaussian):
        factor = p.scale_tril
        return (factor @ (factor.mT @ _flat(g).unsqueeze(-1))).view_as(g)
    if isinstance(p, Bernoulli):
        return p.probs * p.complement * g
    if isinstance(p, Mixture):
        m, weights = p.n_components, p.log_weights.exp()
        within = _flat(covariance_times(p.components, g.repeat_interleave(m, 0))).view(*weights.shape, -1)
        off = _flat(mean(p.components)).view(*weights.shape, -1) - _flat(mean(p)).unsqueeze(1)
        between = off * (off @ _flat(g).unsqueeze(-1))
        return (weights.unsqueeze(1) @ (within + between)).view_as(g)
    raise unsupported(p)


def tilt_exponentially(p: Distribution, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
    r"""Renormalised product with :math:`e^{g \cdot (x - a)}` and its log normaliser, (batch,)."""
    if isinstance(p, Gaussian | FullGaussian):
        shift = covariance_times(p, g)
        log_z = _flat(g * (p.mean - at + 0.5 * shift)).sum(1)
        centre = p.mean + shift
        return (Gaussian(centre, p.var) if isinstance(p, Gaussian) else FullGaussian(centre, p.scale_tril)), log_z
    if isinstance(p, Bernoulli):
        return observe_bits(p, g * (1.0 - at), -g * at)
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


def observe_entries(p: Distribution, seen: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
    """Normal law of which the entries ``seen`` are observed as y with variance ``noise``; zero is exactly."""
    if isinstance(p, FullGaussian):
        matrix = torch.diag_embed(_flat(seen).to(p.mean.dtype))
        law, log_z = observe_linear(p, matrix, _flat(y * seen), _flat(torch.where(seen, noise, 1.0)))
        law.mean = torch.where(seen & (noise == 0), y, law.mean)
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


def observe_linear(p: Distribution, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[FullGaussian, Tensor]:
    r"""Normal law conditioned on :math:`y = A x + e` with independent errors, whose variances may be zero.

    Parameters
    ----------
    matrix : Tensor, shape (m, d) or (batch or 1, m, d)
    y, noise : Tensor, shape (batch or 1, m)
        A row of zeros in A needs noise one and y = 0, and still counts as a density.
    """
    if isinstance(p, Gaussian):
        p = FullGaussian(p.mean, torch.diag_embed(_flat(p.var).sqrt()))
    if not isinstance(p, FullGaussian):
        raise unsupported(p)
    cov = p.cov
    cross = matrix @ cov
    total = torch.linalg.cholesky(cross @ matrix.mT + torch.diag_embed(noise))
    residual = y - (matrix @ _flat(p.mean).unsqueeze(-1)).squeeze(-1)
    gain = torch.cholesky_solve(cross, total).mT
    keep = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device) - gain @ matrix
    after = keep @ cov @ keep.mT + gain @ (noise.unsqueeze(-1) * gain.mT)  # Joseph's form stays positive
    white = torch.linalg.solve_triangular(total, residual.unsqueeze(-1), upper=False).squeeze(-1)
    log_det = total.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_z = -0.5 * white.square().sum(1) - log_det - 0.5 * residual.shape[1] * LOG_2PI
    centre = p.mean + (gain @ residual.unsqueeze(-1)).view_as(p.mean)
    return FullGaussian(centre, _factor_of_free(after, cov)), log_z


def _factor_of_free(after: Tensor, before: Tensor) -> Tensor:
    """Cholesky factor of a covariance, with zero rows for entries that are sure now, up to rounding, or were before."""
    variance = after.diagonal(dim1=-2, dim2=-1)
    free = (variance > 1e-13 * before.diagonal(dim1=-2, dim2=-1)).to(after.dtype)
    inner = after * free.unsqueeze(-1) * free.unsqueeze(-2) + torch.diag_embed(1.0 - free)
    return torch.linalg.cholesky(0.5 * (inner + inner.mT)) * free.unsqueeze(-1)


def covariance_factor(cov: Tensor, least: Tensor) -> Tensor:
    """Cholesky factor of a covariance, its eigenvalues raised to at least ``least``, a number."""
    value, vector = torch.linalg.eigh(cov)
    return torch.linalg.cholesky((vector * torch.maximum(value, least).unsqueeze(-2)) @ vector.mT)


def unsupported(p: Distribution) -> InputError:
    """Say that a family of laws has no place here."""
    return InputError(f"posteriors cannot handle a kernel that returns {type(p).__name__}")
