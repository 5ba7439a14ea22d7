"""Known entries of a mixed table, whose numbers the model sees whitened."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from quasistatic.distributions import (
    LOG_2PI,
    Bernoulli,
    Categorical,
    Distribution,
    Gaussian,
    Joint,
    Mixture,
    MultivariateGaussian,
)
from quasistatic.distributions.conditioning import observe_bits
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.distributions.operations import unsupported
from quasistatic.linalg import cholesky
from quasistatic.posterior.observations.base import Observation, Tilt

__all__ = ["KnownColumns"]


class _Plane(NamedTuple):
    """What known numbers leave of a normal law with independent coordinates."""

    centre: Tensor
    """(n, k), the mean."""
    across: Tensor
    """(n, k, h), directions of the hidden numbers."""
    lower: Tensor
    """(n, h, h), Cholesky factor of their precision."""
    log_z: Tensor
    """(n,), log density of the known numbers."""


class KnownColumns(Observation):
    r"""Some entries of the rows of a table are known exactly; numbers are seen through :math:`y = B z + c`.

    Whitening mixes numbers, so a known number is an exact linear measurement of z. Its product with a normal law has a
    closed form: the law is told in y, conditioned there, and told in z again. Bits and classes are known as they are. The
    evidence is a density in y, and a probability of bits and classes.

    Parameters
    ----------
    known : Tensor of bool, shape (B, d)
    values : Tensor, shape (B, d)
        In the units of y; what stands outside ``known`` is not used.
    matrix, shift : Tensor, shape (k, k) and (k,)
        B and c, of the block of numbers.

    Examples
    --------
    Two numbers y that are 0.8 correlated; the first is known to be 1, so the second is 0.8 on average:

    >>> root = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    >>> seen = KnownColumns(torch.tensor([[True, False]]), torch.tensor([[1.0, 0.0]]), root, torch.zeros(2))
    >>> white = Gaussian(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    >>> law = seen.product(Joint([white], [torch.tensor([0, 1])])).law
    >>> [round(v, 6) for v in (root @ law.parts[0].mean[0]).tolist()]
    [1.0, 0.8]
    """

    vanishes = True
    batched = True

    def __init__(self, known: Tensor, values: Tensor, matrix: Tensor, shift: Tensor) -> None:
        self.known, self.values = known, values.double()
        self.matrix, self.shift = matrix.double(), shift.double()
        self.inverse = torch.linalg.inv(self.matrix)
        self.log_det = torch.linalg.slogdet(self.inverse).logabsdet
        self.n_observations = len(known)

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> KnownColumns:
        here = copy.copy(self)
        here.event = event
        return here

    def rows(self, index: Tensor) -> KnownColumns:
        if self.n_observations == 1:
            return self
        here = copy.copy(self)
        here.known, here.values, here.n_observations = self.known[index], self.values[index], len(index)
        return here

    def log_r(self, x: Tensor) -> Tensor:
        """Zero, for draws of a product; no draw of another law agrees with numbers known exactly."""
        return x.new_zeros(len(x))

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        if not isinstance(p, Joint):
            raise unsupported(p)
        pairs = [self._of_block(part, *self._about(columns)) for part, columns in zip(p.parts, p.columns, strict=True)]
        total = torch.stack([log_z for _, log_z in pairs]).sum(0)
        return Tilt(Joint([law for law, _ in pairs], p.columns), total, total)

    def lookahead(self, p: Distribution) -> Tensor:
        if isinstance(p, Mixture):
            index = torch.arange(len(p.log_weights)).repeat_interleave(p.n_components)
            inner = self.rows(index).lookahead(p.components)
            return torch.logsumexp(p.log_weights + inner.view_as(p.log_weights), 1)
        if not isinstance(p, Joint):
            raise unsupported(p)
        each = []
        for part, columns in zip(p.parts, p.columns, strict=True):
            if isinstance(part, Gaussian):
                each.append(self._plane(part, *self._about(columns)).log_z)
            else:
                each.append(self._of_block(part, *self._about(columns))[1])
        return torch.stack(each).sum(0)

    def _about(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return self.known[:, columns], self.values[:, columns]

    def _of_block(self, p: Distribution, known: Tensor, values: Tensor) -> tuple[Distribution, Tensor]:
        if isinstance(p, Gaussian):
            plane = self._plane(p, known, values)
            root = torch.linalg.solve_triangular(plane.lower, plane.across.mT, upper=False).mT
            return LowRankGaussian(plane.centre, root, torch.zeros_like(plane.centre)), plane.log_z
        if isinstance(p, MultivariateGaussian):
            return self._of_numbers(p, known, values)
        if isinstance(p, Bernoulli):
            never = torch.full_like(p.probs, -torch.inf)
            log_one = torch.where(known & (values == 0), never, 0.0)
            log_zero = torch.where(known & (values == 1), never, 0.0)
            return observe_bits(p, log_one, log_zero)
        if isinstance(p, Categorical):
            codes = torch.where(known, values, 0.0).to(p.log_probs.dtype).expand(p.log_probs.shape[:-1])
            log_z = torch.where(known, p._each_log_prob(codes), 0.0)
            sure = Categorical.points(codes, p.n_classes).log_probs
            return Categorical(torch.where(known.unsqueeze(-1), sure, p.log_probs)), log_z.sum(1)
        raise unsupported(p)

    def _plane(self, p: Gaussian, known: Tensor, values: Tensor) -> _Plane:
        r"""Where z can be, :math:`m + \delta + A_h u` with A the inverse of B and u the hidden numbers off their mean.

        There log p is a square in u, with the precision :math:`A_h^\top V^{-1} A_h`: as large as there are hidden numbers.
        """
        mean = p.mean @ self.matrix.T + self.shift
        known = known.expand(mean.shape)
        hidden = (~known).sum(1)
        width = max(1, int(hidden.max()))
        which = known.to(torch.uint8).argsort(dim=1, stable=True)[:, :width]  # hidden columns first, then some to fill up
        there = torch.arange(width, device=which.device) < hidden.unsqueeze(1)
        across = torch.where(there.unsqueeze(1), self.inverse.T[which].mT, 0.0)
        std = p.var.sqrt()
        off = torch.where(known, values - mean, 0.0) @ self.inverse.T
        scaled = across / std.unsqueeze(2)
        precision = scaled.mT @ scaled + torch.diag_embed((~there).to(mean.dtype))
        lower = cholesky(precision)
        best = torch.cholesky_solve(scaled.mT @ (off / std).unsqueeze(2), lower)
        left = off - (across @ best).squeeze(2)
        log_z = (
            -0.5 * (left / std).square().sum(1) - std.log().sum(1) - lower.diagonal(dim1=1, dim2=2).log().sum(1)
            + self.log_det - 0.5 * LOG_2PI * known.sum(1, dtype=mean.dtype)
        )  # fmt: skip
        return _Plane(p.mean + left, across, lower, log_z)

    def _of_numbers(self, p: MultivariateGaussian, known: Tensor, values: Tensor) -> tuple[Distribution, Tensor]:
        factor = self.matrix @ p.scale_tril
        cov, mean = factor @ factor.mT, p.mean @ self.matrix.T + self.shift
        known = known.expand(mean.shape)
        seen, hidden = known.unsqueeze(2), ~known.unsqueeze(2)
        inner = torch.where(seen & seen.mT, cov, torch.diag_embed((~known).to(cov.dtype)))
        lower = cholesky(inner)
        off = torch.where(known, values - mean, 0.0).unsqueeze(2)
        solved = torch.linalg.solve_triangular(lower, torch.cat([torch.where(seen, cov, 0.0), off], 2), upper=False)
        slope, white = solved[:, :, :-1], solved[:, :, -1:]
        log_det = lower.diagonal(dim1=1, dim2=2).log().sum(1)
        log_z = -0.5 * white.square().sum((1, 2)) - log_det - 0.5 * LOG_2PI * known.sum(1, dtype=cov.dtype)
        centre = torch.where(known, values, mean + (slope.mT @ white).squeeze(2))
        # what is left of the covariance, up to rounding, which must not cost positive definiteness
        spread = cov.diagonal(dim1=1, dim2=2)
        left = torch.where(hidden & hidden.mT, cov - slope.mT @ slope, 0.0)
        left = left + torch.diag_embed(torch.where(known, 1.0, 1e-12 * spread))
        rest = cholesky(left) * hidden
        # a root of the covariance, though not a triangular one: draws, and sums of covariances, ask for no more
        return MultivariateGaussian((centre - self.shift) @ self.inverse.T, self.inverse @ rest), log_z
