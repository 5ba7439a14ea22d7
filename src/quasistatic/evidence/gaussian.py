"""Measurements with Gaussian errors: of x, of some of its entries, or of any linear function."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quasistatic.distributions import LOG_2PI, Bernoulli, Distribution, Mixture
from quasistatic.errors import InputError
from quasistatic.evidence.base import Evidence, Tilt, batch_first, require_finite
from quasistatic.evidence.laws import observe_entries, observe_linear

__all__ = ["GaussianMeasurement"]

Operator = Callable[[Tensor], Tensor]


class GaussianMeasurement(Evidence):
    r"""A noisy linear measurement, :math:`r(x) = \mathcal{N}(y;\, A x,\, s^2 I)`.

    Parameters
    ----------
    y : array or Tensor, shape (\*measured) or (B, \*measured)
    std : float or Tensor, shape (\*measured)
        s, positive.
    operator : None, Tensor or callable
        A: None for x itself; a bool mask (\*event) of the entries that were measured, with y in the shape of the event;
        a matrix (m, d) that acts on the flattened event; or a linear callable (n, \*event) -> (n, \*measured).
    adjoint : callable, optional
        (n, \*measured) -> (n, \*event), the transpose of a callable operator; not needed if the operator has
        an attribute of that name.

    Notes
    -----
    With a matrix or a callable every particle holds a covariance of d by d numbers: meant for d up to about a thousand.

    Examples
    --------
    The sum of two standard normals, measured as 2 with error 1, pulls both to 2/3:

    >>> from quasistatic.distributions import Gaussian
    >>> total = GaussianMeasurement(torch.tensor([2.0]), std=1.0, operator=torch.ones(1, 2))
    >>> law, log_z = total.tilt(Gaussian(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)))
    >>> [round(v, 4) for v in law.mean[0].tolist()], round(log_z.item(), 4)      # log N(2; 0, 3)
    ([0.6667, 0.6667], -2.1349)
    """

    def __init__(
        self, y: Any, std: float | Tensor, operator: Tensor | Operator | None = None, adjoint: Operator | None = None
    ) -> None:
        self.y = torch.as_tensor(y).double()
        require_finite(self.y, "y")
        self.std = torch.as_tensor(std, dtype=torch.float64)
        if not (torch.isfinite(self.std) & (self.std > 0)).all():
            raise InputError(
                f"the standard deviation of a measurement must be positive, got {self.std.tolist()}; "
                "for entries that are known exactly take KnownEntries"
            )
        self.operator = operator
        self.adjoint = adjoint if adjoint is not None else getattr(operator, "adjoint", None)
        if callable(operator) and not isinstance(operator, Tensor) and not callable(self.adjoint):
            raise InputError("a callable operator needs its adjoint: pass adjoint=, or give the operator such an attribute")

    matrix: Tensor | None = None
    seen: Tensor
    noise: Tensor

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> GaussianMeasurement:
        here, operator = copy.copy(self), self.operator
        here.event = event
        measured = event
        if isinstance(operator, Tensor) and operator.dtype != torch.bool:
            here.matrix = operator.double().to(device)
            if here.matrix.dim() != 2 or here.matrix.shape[1] != math.prod(event):
                shape = tuple(operator.shape)
                raise InputError(f"the operator has shape {shape}, but must be a matrix with {math.prod(event)} columns")
            measured = (len(here.matrix),)
        elif callable(operator) and not isinstance(operator, Tensor):
            here.matrix, measured = self._matrix(operator, event, device)
        here.y, here.batched = batch_first(self.y, measured, "y", device)
        if self.std.shape not in ((), measured):
            raise InputError(f"std has shape {tuple(self.std.shape)}, but must be one number or {measured}")
        here.noise = self.std.to(device).square().expand(1, *measured)
        here.seen = torch.ones(1, *measured, dtype=torch.bool, device=device)
        if isinstance(operator, Tensor) and operator.dtype == torch.bool:
            if tuple(operator.shape) != event:
                raise InputError(f"the mask has shape {tuple(operator.shape)}, but must have shape {event}")
            here.seen = operator.to(device).unsqueeze(0)
        if here.matrix is not None:
            here.y, here.noise, here.seen = here.y.flatten(1), here.noise.flatten(1), here.seen.flatten(1)
        here.n_observations = len(here.y)
        return here

    def _matrix(
        self, operator: Operator, event: tuple[int, ...], device: torch.device | str
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Rows of A, from the adjoint, and the shape of a measurement; the two must agree at random vectors."""
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(1, *event, generator=generator, dtype=torch.float64, device=device)
        a_x = operator(x)
        measured = tuple(a_x.shape[1:])
        if a_x.shape[:1] != (1,):
            raise InputError(f"the operator must take (n, *event) to (n, *measured), got {tuple(a_x.shape)} for one event")
        units = torch.eye(math.prod(measured), dtype=torch.float64, device=device).view(-1, *measured)
        assert self.adjoint is not None
        matrix = self.adjoint(units).flatten(1)
        if matrix.shape != (len(units), math.prod(event)):
            raise InputError(f"the adjoint must return (n, *{event}), got {tuple(matrix.shape)} when flattened")
        wrong = (matrix @ x.flatten() - a_x.flatten()).abs().max()
        if wrong > 1e-5 * (1.0 + a_x.abs().max()):
            raise InputError(f"the operator is not linear, or its adjoint is not its transpose: they differ by {wrong:.2g}")
        return matrix.double(), measured

    def rows(self, index: Tensor) -> GaussianMeasurement:
        if self.n_observations == 1:
            return self
        here = copy.copy(self)
        here.y, here.n_observations = self.y[index], len(index)
        return here

    def log_r(self, x: Tensor) -> Tensor:
        predicted = x if self.matrix is None else x.flatten(1) @ self.matrix.T
        each = (self.y - predicted).square() / self.noise + self.noise.log() + LOG_2PI
        return -0.5 * torch.where(self.seen, each, 0.0).flatten(1).sum(1)

    def product(self, p: Distribution, share: float = 1.0, damped: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        if isinstance(p, Bernoulli):
            raise InputError("a Gaussian measurement is evidence about numbers; for binary data take BitFlips")
        # N(y; x, s^2)^share is N(y; x, s^2 / share) but for a factor
        law: Distribution
        noise = self.noise / share
        if self.matrix is None:
            law, log_z = observe_entries(p, self.seen, self.y, noise)
        else:
            law, log_z = observe_linear(p, self.matrix, self.y, noise)
        factor = (1.0 - share) * (self.noise.log() + LOG_2PI) - math.log(share)
        log_z = log_z + 0.5 * torch.where(self.seen, factor, 0.0).sum()
        return Tilt(law, log_z, log_z)
