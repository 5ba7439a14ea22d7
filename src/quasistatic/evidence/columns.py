"""Known entries of a mixed table, whose numbers the model sees whitened."""

from __future__ import annotations

import copy

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
from quasistatic.evidence.base import Evidence, Tilt
from quasistatic.evidence.laws import unsupported
from quasistatic.evidence.observe import observe_bits

__all__ = ["KnownColumns"]


class KnownColumns(Evidence):
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
    >>> law = seen.product(BlockProduct([white], [torch.tensor([0, 1])])).law
    >>> [round(v, 6) for v in (root @ law.parts[0].mean[0]).tolist()]
    [1.0, 0.8]
    """

    vanishes = True
    batched = True

    def __init__(self, known: Tensor, values: Tensor, matrix: Tensor, shift: Tensor) -> None:
        self.known, self.values = known, values.double()
        self.matrix, self.shift = matrix.double(), shift.double()
        self.inverse = torch.linalg.inv(self.matrix)
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
        if not isinstance(p, BlockProduct):
            raise unsupported(p)
        parts, total = [], torch.zeros((), dtype=torch.float64)
        for part, columns in zip(p.parts, p.columns, strict=True):
            law, log_z = self._of_block(part, self.known[:, columns], self.values[:, columns])
            parts.append(law)
            total = total + log_z
        return Tilt(BlockProduct(parts, p.columns), total, total)

    def _of_block(self, p: Distribution, known: Tensor, values: Tensor) -> tuple[Distribution, Tensor]:
        if isinstance(p, Gaussian | FullGaussian):
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

    def _of_numbers(self, p: Gaussian | FullGaussian, known: Tensor, values: Tensor) -> tuple[Distribution, Tensor]:
        root = p.scale_tril if isinstance(p, FullGaussian) else torch.diag_embed(p.var.sqrt())
        factor = self.matrix @ root
        cov, mean = factor @ factor.mT, p.mean @ self.matrix.T + self.shift
        known = known.expand(mean.shape)
        seen, hidden = known.unsqueeze(2), ~known.unsqueeze(2)
        inner = torch.where(seen & seen.mT, cov, torch.diag_embed((~known).to(cov.dtype)))
        lower = torch.linalg.cholesky(inner)
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
        rest = torch.linalg.cholesky(left) * hidden
        # a root of the covariance, though not a triangular one: draws, and sums of covariances, ask for no more
        return FullGaussian((centre - self.shift) @ self.inverse.T, self.inverse @ rest), log_z
