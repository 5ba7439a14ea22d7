"""Measurements with Gaussian errors: of x, of some of its entries, or of any linear function."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quasistatic.checks import LARGEST, SMALLEST, shown, tensor_of
from quasistatic.distributions import LOG_2PI, Distribution, Gaussian, Mixture
from quasistatic.distributions.conditioning import observe_entries, observe_linear
from quasistatic.distributions.operations import span
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import Observation, Tilt, batch_first, require_finite
from quasistatic.posterior.observations.first_order import first_order, linear_pull

__all__ = ["GaussianMeasurement"]

Operator = Callable[[Tensor], Tensor]

DENSE = 256  # entries of an event, up to which every particle may hold a covariance of all of them


class GaussianMeasurement(Observation):
    r"""A noisy linear measurement, :math:`r(x) = \mathcal{N}(y;\, A x,\, s^2 I)`.

    Parameters
    ----------
    y : array or Tensor, shape (\*measured) or (B, \*measured)
    std : float or Tensor, shape (\*measured)
        s, positive.
    operator : None, Tensor or callable
        A: None for x itself; a bool mask (\*event) of the entries that were measured, with y in the shape of the event;
        a matrix (m, d) that acts on the flattened event; or a linear callable (n, \*event) -> (n, \*measured), such as
        those of :mod:`quasistatic.posterior.observations.operators`.
    adjoint : callable, optional
        (n, \*measured) -> (n, \*event), the transpose of a callable operator; not needed if the operator has
        an attribute of that name.

    Notes
    -----
    Of numbers, products with measurements of entries are exact, and so are those with a matrix or a callable for events
    of up to 256 entries, where every particle holds a covariance. For larger events conjugate gradients find the mean of
    the product, its covariance stays that of the kernel, and the weights make good the difference. Bits, classes and
    levels can be measured too, with A x told in their values.

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
        self.y = tensor_of("y", y).double()
        require_finite(self.y, "y")
        self.std = tensor_of("std", std, float64=True)
        if not (torch.isfinite(self.std) & (self.std > 0)).all():
            raise InputError(
                f"the standard deviation of a measurement must be positive, got {shown(self.std.tolist())}; "
                "for entries that are known exactly take KnownEntries"
            )
        if not ((self.std >= SMALLEST) & (self.std <= LARGEST)).all():
            raise InputError(
                f"the standard deviation of a measurement must lie between {SMALLEST:g} and {LARGEST:g}, got "
                f"{shown(self.std.tolist())}: rescale the data, or take KnownEntries for entries that are known exactly"
            )
        if operator is not None and not isinstance(operator, Tensor) and not callable(operator):
            raise InputError(f"the operator must be None, a tensor or a function, got {shown(operator)}")
        self.operator = operator
        self.adjoint = adjoint if adjoint is not None else getattr(operator, "adjoint", None)
        if callable(operator) and not isinstance(operator, Tensor) and not callable(self.adjoint):
            raise InputError("a callable operator needs its adjoint: pass adjoint=, or give the operator such an attribute")

    matrix: Tensor | None = None
    dense: bool = True
    entrywise: bool = True
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
            measured = self._measured(operator, event, device)
            if math.prod(event) <= DENSE:
                here.matrix = self._matrix(operator, measured, event, device)
        here.entrywise = operator is None or (isinstance(operator, Tensor) and operator.dtype == torch.bool)
        here.dense = math.prod(event) <= DENSE
        here.closed = here.entrywise or here.dense
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

    def _measured(self, operator: Operator, event: tuple[int, ...], device: torch.device | str) -> tuple[int, ...]:
        """Shape of a measurement; the operator must be linear at random vectors, and its adjoint its transpose."""
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(3, *event, generator=generator, dtype=torch.float64, device=device)
        x[2] = x[0] - 2.0 * x[1]
        a_x = operator(x)
        if not isinstance(a_x, Tensor) or a_x.shape[:1] != (3,):
            raise InputError("the operator must take (n, *event) to (n, *measured), for any n")
        u = torch.randn(3, *a_x.shape[1:], generator=generator, dtype=torch.float64, device=device)
        assert self.adjoint is not None
        back = self.adjoint(u)
        if back.shape != x.shape:
            raise InputError(f"the adjoint must return (n, *{event}), got {tuple(back.shape)} for n = 3")
        bent = (a_x[2] - a_x[0] + 2.0 * a_x[1]).abs().max() / (1.0 + a_x.abs().max())
        apart = ((a_x * u).flatten(1).sum(1) - (x * back).flatten(1).sum(1)).abs().max() / (1.0 + (a_x * u).abs().sum())
        if (wrong := max(bent.item(), apart.item())) > 1e-5:
            raise InputError(f"the operator is not linear, or its adjoint is not its transpose: they differ by {wrong:.2g}")
        return tuple(a_x.shape[1:])

    def _matrix(
        self, operator: Operator, measured: tuple[int, ...], event: tuple[int, ...], device: torch.device | str
    ) -> Tensor:
        """Rows of A, from the adjoint."""
        assert self.adjoint is not None
        units = torch.eye(math.prod(measured), dtype=torch.float64, device=device).view(-1, *measured)
        return self.adjoint(units).flatten(1).double()

    def forward(self, x: Tensor) -> Tensor:
        r"""A x, (n, \*measured), flattened where A is a matrix."""
        if self.entrywise:
            return x
        if self.matrix is not None:
            return x.flatten(1) @ self.matrix.T
        assert callable(self.operator)
        return self.operator(x)

    def backward(self, u: Tensor) -> Tensor:
        r"""The transpose of A times u, (n, \*event)."""
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

    def log_r(self, x: Tensor) -> Tensor:
        each = (self.y - self.forward(x)).square() / self.noise + self.noise.log() + LOG_2PI
        return -0.5 * torch.where(self.seen, each, 0.0).flatten(1).sum(1)

    def entry_logs(self, values: Tensor) -> Tensor:
        noise = self.noise.unsqueeze(-1)
        each = (self.y.unsqueeze(-1) - values).square() / noise + noise.log() + LOG_2PI
        return -0.5 * torch.where(self.seen.unsqueeze(-1), each, 0.0)

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        if span(p) is not None and not self.entrywise:
            return first_order(p, lambda x: share * self.log_r(x), refined)
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        if (tilt := self._of_values(p, share)) is not None:
            return tilt
        # N(y; x, s^2)^share is N(y; x, s^2 / share) but for a factor
        noise = self.noise / share
        if not self.entrywise and not self.dense and isinstance(p, Gaussian):
            return linear_pull(p, lambda x: share * self.log_r(x), self.forward, self.backward, self.y, noise)
        law: Distribution
        if self.entrywise:
            law, log_z = observe_entries(p, self.seen, self.y, noise)
        else:
            assert self.matrix is not None
            law, log_z = observe_linear(p, self.matrix, self.y, noise)
        factor = (1.0 - share) * (self.noise.log() + LOG_2PI) - math.log(share)
        log_z = log_z + 0.5 * torch.where(self.seen, factor, 0.0).sum()
        return Tilt(law, log_z, log_z)
