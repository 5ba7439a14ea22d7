"""Linear measurements with Gaussian errors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.checks import LARGEST, SMALLEST, shown, tensor_of
from quasistatic.distributions import LOG_2PI, Distribution, MeasuredEntries
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import EntryObservation, Observation
from quasistatic.posterior.observations.first_order import first_order, linear_pull
from quasistatic.posterior.observations.function import CarriedFactor
from quasistatic.posterior.observations.operators import check_linear
from quasistatic.posterior.observations.tilt import Tilt
from quasistatic.posterior.observations.values import batch_first, require_finite
from quasistatic.transforms import Transform

__all__ = ["GaussianMeasurement"]

Operator = Callable[[Tensor], Tensor]

DENSE = 256
"""Most entries of an event for which every particle may hold a covariance of all of them."""


class GaussianMeasurement(EntryObservation):
    r"""A linear measurement with Gaussian noise.

    .. math:: r(x) = \mathcal{N}(y;\, A x,\, s^2 I)

    Parameters
    ----------
    y : array or Tensor, shape (\*measured) or (B, \*measured)
        The measurements.
    std : float or Tensor, shape (\*measured)
        s, the standard deviation of the errors, positive.
    operator : None, Tensor or callable
        A: None for x itself; a bool mask (\*event) of the entries that were measured, with y in the shape of the event;
        a matrix (m, d) that acts on the flattened event; or a linear callable (n, \*event) -> (n, \*measured), such as
        those of :mod:`quasistatic.posterior.observations.operators`.
    adjoint : callable, optional
        (n, \*measured) -> (n, \*event), the transpose of a callable operator; not needed if the operator has
        an attribute of that name.

    Notes
    -----
    For numbers, products with measurements of entries are exact. So are those with a matrix or a callable for events of
    up to 256 entries, where every particle holds a covariance. For larger events conjugate gradients find the mean of the
    product, its covariance stays that of the kernel, and the weights correct the difference. Bits, classes and levels can
    be measured too, with A x a function of their values. In a table, a measurement of entries of one block of columns is
    exact.

    Examples
    --------
    The sum of two standard normals, measured as 2 with error 1, pulls both to 2/3:

    >>> import torch
    >>> from quasistatic.distributions import Gaussian
    >>> total = GaussianMeasurement(torch.tensor([2.0]), std=1.0, operator=torch.ones(1, 2))
    >>> p, log_z = total.tilt(Gaussian(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)))
    >>> [round(v, 4) for v in p.mean[0].tolist()], round(log_z.item(), 4)      # log N(2; 0, 3)
    ([0.6667, 0.6667], -2.1349)
    """

    def __init__(
        self, y: Any, std: float | Tensor, operator: Tensor | Operator | None = None, adjoint: Operator | None = None
    ) -> None:
        self.y = tensor_of("y", y).double()
        require_finite(self.y, "y")
        self.std = tensor_of("std", std, float64=True)
        if not (torch.isfinite(self.std) & (self.std > 0)).all():
            raise InputError(
                f"the standard deviation of a measurement must be positive, got {shown(self.std.tolist())}; "
                "for entries that are known exactly use KnownEntries"
            )
        if not ((self.std >= SMALLEST) & (self.std <= LARGEST)).all():
            raise InputError(
                f"the standard deviation of a measurement must lie between {SMALLEST:g} and {LARGEST:g}, got "
                f"{shown(self.std.tolist())}: rescale the data, or use KnownEntries for entries that are known exactly"
            )
        self.operator, self.adjoint = operator, adjoint
        self.mask: Tensor | None = None
        self.given_matrix: Tensor | None = None
        self.function: Operator | None = None
        if isinstance(operator, Tensor):
            self.mask, self.given_matrix = (operator, None) if operator.dtype == torch.bool else (None, operator)
        elif callable(operator):
            self.function = operator
            self.adjoint = adjoint if adjoint is not None else getattr(operator, "adjoint", None)
            if not callable(self.adjoint):
                raise InputError(
                    "a callable operator needs its adjoint: pass adjoint=, or give the operator such an attribute"
                )
        elif operator is not None:
            raise InputError(f"the operator must be None, a tensor or a function, got {shown(operator)}")

    matrix: Tensor | None = None
    dense: bool = True
    entrywise: bool = True
    measured: Tensor
    """Which measurements there are, (1, *measured)."""
    noise: Tensor
    """Variances of the errors, (1, *measured)."""

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> GaussianMeasurement:
        here = copy.copy(self)
        here.event = event
        here.dense = math.prod(event) <= DENSE
        shape = here._bind_operator(event, device)
        here.has_closed_form = here.entrywise or here.dense
        here.y, here.batched = batch_first(self.y, shape, "y", device)
        if self.std.shape not in ((), shape):
            raise InputError(f"std has shape {tuple(self.std.shape)}, but must be one number or {shape}")
        here.noise = self.std.to(device).square().expand(1, *shape)
        here.measured = torch.ones(1, *shape, dtype=torch.bool, device=device)
        if self.mask is not None:
            here.measured = self.mask.to(device).unsqueeze(0)
        if here.matrix is not None:
            here.y, here.noise, here.measured = here.y.flatten(1), here.noise.flatten(1), here.measured.flatten(1)
        here.n_observations = len(here.y)
        return here

    def _bind_operator(self, event: tuple[int, ...], device: torch.device | str) -> tuple[int, ...]:
        """Check the operator and make its matrix.

        The result is the shape of a measurement.
        """
        d = math.prod(event)
        self.entrywise = self.function is None and self.given_matrix is None
        if self.mask is not None and tuple(self.mask.shape) != event:
            raise InputError(f"the mask has shape {tuple(self.mask.shape)}, but must have shape {event}")
        if self.given_matrix is not None:
            shape = tuple(self.given_matrix.shape)
            if len(shape) != 2 or shape[1] != d:
                raise InputError(f"the operator has shape {shape}, but must be a matrix with {d} columns")
            self.matrix = self.given_matrix.double().to(device)
            return (len(self.matrix),)
        if self.function is None:
            return event
        assert self.adjoint is not None
        shape = check_linear(self.function, self.adjoint, event, device)
        if self.dense:  # rows of A, from the adjoint
            units = torch.eye(math.prod(shape), dtype=torch.float64, device=device).view(-1, *shape)
            self.matrix = self.adjoint(units).flatten(1).double()
        return shape

    def forward(self, x: Tensor) -> Tensor:
        r"""Return A x, (n, \*measured), flattened where A is a matrix."""
        if self.entrywise:
            return x
        if self.matrix is not None:
            return x.flatten(1) @ self.matrix.T
        assert self.function is not None
        return self.function(x)

    def backward(self, u: Tensor) -> Tensor:
        r"""Return the transpose of A times u, (n, \*event)."""
        assert self.event is not None
        if self.matrix is not None:
            return (u @ self.matrix).view(-1, *self.event)
        assert self.adjoint is not None
        return self.adjoint(u)

    def rows(self, index: Tensor) -> GaussianMeasurement:
        if self.n_observations == 1:
            return self
        here = copy.copy(self)
        here.y, here.n_observations = self.y[index], len(index)
        return here

    def each_log_r(self, x: Tensor) -> Tensor:
        each = (self.y - self.forward(x)).square() / self.noise + self.noise.log() + LOG_2PI
        return -0.5 * torch.where(self.measured, each, 0.0)

    def log_r(self, x: Tensor) -> Tensor:
        each = (self.y - self.forward(x)).square() / self.noise + self.noise.log() + LOG_2PI
        return -0.5 * torch.where(self.measured, each, 0.0).flatten(1).sum(1)

    def log_potential(self, x: Tensor) -> Tensor:
        return super().log_potential(x) if self.entrywise else Observation.log_potential(self, x)

    def factor(self, share: float = 1.0) -> MeasuredEntries:
        return MeasuredEntries(self.measured, self.y, self.noise, share)

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        if self.entrywise:
            return super().product(p, share)
        if self.dense and self.matrix is not None and p.has_linear_product(self.matrix):
            factor = self.factor(share)
            result, log_z = p.observe_linear(self.matrix, self.y, self.noise / share)
            return Tilt.exact((result, log_z + factor.log_constant()))
        if self.dense or p.support is not None:
            return first_order(p, lambda x: share * self.log_potential(x), improved)
        # N(y; x, s^2)^share is N(y; x, s^2 / share) up to a constant
        return linear_pull(
            p, lambda x: share * self.log_potential(x), self.forward, self.backward, self.y, self.noise / share
        )

    # ---- units

    def _through(self, transform: Transform, generator: Generator | None, n_copies: int) -> Observation:
        """Carry the measurement to model units.

        It stays one through a linear transform, and becomes a function through others.

        A dequantised integer counts as its value plus one half.
        """
        assert self.event is not None
        if not transform.is_linear:
            return CarriedFactor(self, transform).on(self.event)
        through, log_jacobian = self._scaled(transform) if transform.is_elementwise else (self._mixed(transform), None)
        through = through.on(self.event, self.y.device)
        through.batched, through.log_jacobian = self.batched, log_jacobian
        return through

    def _scaled(self, transform: Transform) -> tuple[GaussianMeasurement, Tensor | None]:
        """Carry the measurement through scaled entries.

        They are x = scale z + zero.
        """
        assert self.event is not None
        one = torch.ones(1, *self.event, dtype=torch.float64, device=self.y.device)
        zero = transform.smooth_inverse(torch.zeros_like(one))
        scale = transform.smooth_inverse(one) - zero
        if self.entrywise:
            std = self.noise.sqrt() / scale.abs()
            mask = None if self.measured.all() else self.measured[0]
            log_jacobian = -torch.where(self.measured, scale.abs().log(), 0.0).sum().reshape(1)
            return GaussianMeasurement((self.y - zero) / scale, std[0], mask), log_jacobian
        y = self.y - self.forward(zero)
        if self.matrix is not None:
            return GaussianMeasurement(y, self.noise[0].sqrt(), self.matrix * scale.flatten()), None
        return GaussianMeasurement(
            y, self.noise[0].sqrt(), lambda z: self.forward(scale * z), lambda u: scale * self.backward(u)
        ), None

    def _mixed(self, transform: Transform) -> GaussianMeasurement:
        """Carry the measurement through a linear transform, as a matrix."""
        assert self.event is not None
        d, device = math.prod(self.event), self.y.device
        slope, zero = transform.inverse_matrix(self.event, device)
        picked = self.measured.flatten()
        matrix = self.matrix if self.matrix is not None else torch.eye(d, dtype=torch.float64, device=device)
        y = self.y.flatten(1) - zero.flatten() @ matrix.T
        std = self.noise.flatten().sqrt()
        return GaussianMeasurement(y[:, picked], std[picked], (matrix @ slope)[picked])
