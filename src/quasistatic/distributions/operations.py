"""What posteriors ask of distributions beyond their protocol: some of their rows, several one after the other, moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quasistatic.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Gaussian,
    Joint,
    Mixture,
    MultivariateGaussian,
)
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.distributions.weighted_levels import ObservedLevels
from quasistatic.errors import InputError
from quasistatic.linalg import cholesky

__all__ = ["covariance_factor", "covariance_times", "joined", "mean", "span", "take", "unsupported"]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def take(p: Distribution, rows: Tensor) -> Distribution:
    """The laws of some rows, in any order and with repeats."""
    if isinstance(p, Gaussian):
        return Gaussian(p.mean[rows], p.var[rows])
    if isinstance(p, MultivariateGaussian):
        return MultivariateGaussian(p.mean[rows], p.scale_tril[rows])
    if isinstance(p, LowRankGaussian):
        return LowRankGaussian(p.mean[rows], p.root[rows], p.var[rows])
    if isinstance(p, Bernoulli):
        return Bernoulli(p.probs[rows], p.complement[rows])
    if isinstance(p, Categorical):
        return Categorical(p.log_probs[rows])
    if isinstance(p, DiscretisedGaussian):
        return DiscretisedGaussian(p.mean[rows], p.var[rows], p.step, p.low, p.high)
    if isinstance(p, Joint):
        return Joint([take(part, rows) for part in p.parts], p.columns)
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
    if isinstance(first, MultivariateGaussian):
        return MultivariateGaussian(_cat(laws, "mean"), _cat(laws, "scale_tril"))
    if isinstance(first, Bernoulli):
        return Bernoulli(_cat(laws, "probs"), _cat(laws, "complement"))
    if isinstance(first, Categorical):
        return Categorical(_cat(laws, "log_probs"))
    if isinstance(first, DiscretisedGaussian):
        return DiscretisedGaussian(_cat(laws, "mean"), _cat(laws, "var"), first.step, first.low, first.high)
    if isinstance(first, Joint):
        blocks = zip(*(p.parts for p in laws), strict=True)  # type: ignore[attr-defined]
        return Joint([joined(each) for each in blocks], first.columns)
    if isinstance(first, Mixture):
        return Mixture(_cat(laws, "log_weights"), joined([p.components for p in laws]))  # type: ignore[attr-defined]
    raise unsupported(first)


def _cat(laws: Sequence[Distribution], name: str) -> Tensor:
    return torch.cat([getattr(p, name) for p in laws])


def mean(p: Distribution) -> Tensor:
    """Mean of each row, (batch, *event): of levels that of the normal law, of classes that of their index."""
    if isinstance(p, Mixture):
        weights = p.log_weights.exp()
        each = mean(p.components).view(*weights.shape, -1)
        return (weights.unsqueeze(1) @ each).view(len(weights), *mean(p.components).shape[1:])
    if isinstance(p, Gaussian | MultivariateGaussian | Bernoulli | DiscretisedGaussian | ObservedLevels):
        return p.mean
    if isinstance(p, Categorical):
        return p.log_probs.exp() @ torch.arange(p.n_classes, dtype=p.log_probs.dtype, device=p.log_probs.device)
    raise unsupported(p)


def covariance_times(p: Distribution, g: Tensor) -> Tensor:
    """Covariance of each row times a vector, (batch, *event)."""
    if isinstance(p, Gaussian | DiscretisedGaussian):
        return p.var * g
    if isinstance(p, ObservedLevels):
        return p.levels.var * g
    if isinstance(p, Categorical):
        index = torch.arange(p.n_classes, dtype=g.dtype, device=g.device)
        return ((p.log_probs.exp() @ index.square()) - mean(p).square()) * g
    if isinstance(p, MultivariateGaussian):
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


def covariance_factor(cov: Tensor, least: Tensor) -> Tensor:
    """Cholesky factor of a covariance, its eigenvalues raised to at least ``least``, a number."""
    value, vector = torch.linalg.eigh(cov)
    return cholesky((vector * torch.maximum(value, least).unsqueeze(-2)) @ vector.mT)


def span(p: Distribution) -> tuple[float, float] | None:
    """Lowest and highest value of an entry, for laws that give probabilities to values; None for densities."""
    if isinstance(p, Mixture):
        return span(p.components)
    if isinstance(p, Bernoulli):
        return 0.0, 1.0
    if isinstance(p, Categorical):
        return 0.0, p.n_classes - 1.0
    if isinstance(p, DiscretisedGaussian):
        return p.low, p.high
    return span(p.levels) if isinstance(p, ObservedLevels) else None


def unsupported(p: Distribution) -> InputError:
    """Say that a family of laws has no place here."""
    return InputError(f"posteriors cannot handle a kernel that returns {type(p).__name__}")
