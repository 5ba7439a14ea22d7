"""Known entries of tables with whitened numbers."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from quasistatic.distributions import LOG_2PI, Distribution, Gaussian, Joint, KnownValues, Mixture, MultivariateGaussian
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.errors import InputError
from quasistatic.linalg import cholesky
from quasistatic.posterior.observations.base import Observation
from quasistatic.posterior.observations.tilt import Tilt

__all__ = ["KnownColumns"]


class _Plane(NamedTuple):
    """A Gaussian conditioned on known numbers."""

    centre: Tensor
    """(n, k), the mean."""
    across: Tensor
    """(n, k, h), directions of the missing numbers."""
    lower: Tensor
    """(n, h, h), Cholesky factor of their precision."""
    log_z: Tensor
    """(n,), log density of the known numbers."""


class KnownColumns(Observation):
    r"""Known entries of a table with whitened numbers.

    The columns y of numbers are :math:`y = B z + c` in model units z. Whitening mixes numbers, so a known number is an
    exact linear measurement of z. Its product with a Gaussian has a closed form: it is taken to y, conditioned there, and
    taken back to z. Bits and classes are known as they are. The evidence is a density in y, and a probability of bits and
    classes.

    Parameters
    ----------
    known : Tensor of bool, shape (B, d)
        Which entries are known.
    values : Tensor, shape (B, d)
        In the units of y; values outside ``known`` are not used.
    matrix, shift : Tensor, shape (k, k) and (k,)
        B and c, of the block of numbers.

    Examples
    --------
    Two numbers y that are 0.8 correlated; the first is known to be 1, so the second is 0.8 on average:

    >>> import torch
    >>> root = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    >>> seen = KnownColumns(torch.tensor([[True, False]]), torch.tensor([[1.0, 0.0]]), root, torch.zeros(2))
    >>> white = Gaussian(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    >>> p = seen.product(Joint([white], [torch.tensor([0, 1])])).distribution
    >>> [round(v, 6) for v in (root @ p.parts[0].mean[0]).tolist()]
    [1.0, 0.8]
    """

    has_zeros = True
    batched = True
    log_slope: Tensor | None = None
    """Log of the derivative of the known entries, (B,), where the values are those of a transform."""
    grid: tuple[float, float, float] | None = None

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
        here.log_slope = None if self.log_slope is None else self.log_slope[index]
        return here

    def log_r(self, x: Tensor) -> Tensor:
        """Return zero.

        It is log r at draws of a product only, which agree with the known numbers.
        """
        return x.new_zeros(len(x))

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return Tilt.exact(self._of_mixture(p)).plus(self.log_slope)
        parts = [self._of_block(part, *self._about(columns)) for part, columns in self._blocks(p)]
        total = torch.stack([log_z for _, log_z in parts]).sum(0)
        columns = [columns for _, columns in self._blocks(p)]
        return Tilt.exact((Joint([part for part, _ in parts], columns), total)).plus(self.log_slope)

    def _of_mixture(self, p: Mixture) -> tuple[Distribution, Tensor]:
        tilt = self._repeated(p)._without_slope().product(p.components)
        return p.reweighted(tilt.distribution, tilt.log_z)

    def _repeated(self, p: Mixture) -> KnownColumns:
        """Repeat the observations for the components of a mixture."""
        return self.rows(torch.arange(len(p), device=p.log_weights.device).repeat_interleave(p.n_components))

    def _without_slope(self) -> KnownColumns:
        here = copy.copy(self)
        here.log_slope = None
        return here

    def lookahead(self, p: Distribution) -> Tensor:
        log_z = self._log_z(p)
        return log_z if self.log_slope is None else log_z + self.log_slope

    def _log_z(self, p: Distribution) -> Tensor:
        """Return the log normaliser of the product without the product."""
        if isinstance(p, Mixture):
            inner = self._repeated(p)._log_z(p.components)
            return torch.logsumexp(p.log_weights + inner.view_as(p.log_weights), 1)
        each = []
        for part, columns in self._blocks(p):
            if isinstance(part, Gaussian):
                each.append(self._plane(part, *self._about(columns)).log_z)
            else:
                each.append(self._of_block(part, *self._about(columns))[1])
        return torch.stack(each).sum(0)

    def _blocks(self, p: Distribution) -> list[tuple[Distribution, Tensor]]:
        if not isinstance(p, Joint):
            raise InputError(
                f"known columns need the Joint distribution of a table, got a {type(p).__name__}: use KnownEntries"
            )
        return list(zip(p.parts, p.columns, strict=True))

    def _about(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return self.known[:, columns], self.values[:, columns]

    def _of_block(self, p: Distribution, known: Tensor, values: Tensor) -> tuple[Distribution, Tensor]:
        match p:
            case Gaussian():
                plane = self._plane(p, known, values)
                root = torch.linalg.solve_triangular(plane.lower, plane.across.mT, upper=False).mT
                return LowRankGaussian(plane.centre, root, torch.zeros_like(plane.centre)), plane.log_z
            case MultivariateGaussian() | LowRankGaussian():
                return self._of_numbers(p.as_multivariate(), known, values)
        return p.condition(KnownValues(known, values.to(p.mean.dtype)))

    def _plane(self, p: Gaussian, known: Tensor, values: Tensor) -> _Plane:
        r"""Return where z can be, :math:`m + \delta + A_h u`.

        A is the inverse of B, and u are the missing numbers less their mean. There log p is a square in u, with the
        precision :math:`A_h^\top V^{-1} A_h`, as large as there are missing numbers.
        """
        mean = p.mean @ self.matrix.T + self.shift
        known = known.expand(mean.shape)
        hidden = (~known).sum(1)
        width = max(1, int(hidden.max()))
        order = known.to(torch.uint8).argsort(dim=1, stable=True)[:, :width]  # missing columns first, then some to fill up
        valid = torch.arange(width, device=order.device) < hidden.unsqueeze(1)
        across = torch.where(valid.unsqueeze(1), self.inverse.T[order].mT, 0.0)
        std = p.var.sqrt()
        off = torch.where(known, values - mean, 0.0) @ self.inverse.T
        scaled = across / std.unsqueeze(2)
        precision = scaled.mT @ scaled + torch.diag_embed((~valid).to(mean.dtype))
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
        variances = cov.diagonal(dim1=1, dim2=2)
        left = torch.where(hidden & hidden.mT, cov - slope.mT @ slope, 0.0)
        left = left + torch.diag_embed(torch.where(known, 1.0, 1e-12 * variances))
        rest = cholesky(left) * hidden
        # a root of the covariance, though not a triangular one: draws and sums of covariances need no more
        return MultivariateGaussian((centre - self.shift) @ self.inverse.T, self.inverse @ rest), log_z
