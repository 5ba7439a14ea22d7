"""Observations given as a function log r(x)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.distributions import Distribution, Mixture
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import Observation
from quasistatic.posterior.observations.first_order import first_order
from quasistatic.posterior.observations.tilt import Tilt
from quasistatic.transforms import Transform

__all__ = ["CarriedFactor", "LogFactor", "as_observation"]

MOST_STATES = 64
"""Most states of bits or classes that are listed for an exact product."""


class LogFactor(Observation):
    r"""Any function log r(x), finite everywhere.

    Kernels are multiplied by :math:`r(\mu)\, e^{g \cdot (x - \mu)}` with :math:`g = \nabla \log r(\mu)` at their mean.
    A Gaussian :math:`\mathcal{N}(\mu, \Sigma)` is moved by :math:`\Sigma g` (eq. 61). The odds of a bit are multiplied
    by :math:`e^{g_i}`, which is the rule of Appendix C for an r that is a product over bits. With the look-ahead, the
    step is shortened where log r bends down, and bits or classes with no more than 64 states are multiplied exactly.

    Parameters
    ----------
    log_r : callable
        (n, \*event) -> (n,), nats. For bits, classes and levels a differentiable function is also evaluated at numbers
        between them.
    differentiable : bool
        False for a black box: kernels stay as they are, and weights and resampling do all the work.

    Examples
    --------
    >>> import torch
    >>> from quasistatic.distributions import Gaussian
    >>> observation = LogFactor(lambda x: 3.0 * x.sum(1))
    >>> p, log_z = observation.tilt(Gaussian(torch.zeros(1, 2), torch.full((1, 2), 0.5)))
    >>> p.mean.tolist(), log_z.item()      # exact, for a linear log r: |g|^2 v / 2
    ([[1.5, 1.5]], 4.5)
    """

    has_closed_form = False

    def __init__(self, log_r: Callable[[Tensor], Tensor], differentiable: bool = True) -> None:
        if not callable(log_r):
            raise InputError(f"log_r must be a function of x, got {type(log_r).__name__}")
        self.function, self.differentiable = log_r, differentiable

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> LogFactor:
        here = copy.copy(self)
        here.event = event
        return here

    def rows(self, index: Tensor) -> LogFactor:
        return self

    def log_r(self, x: Tensor) -> Tensor:
        value = self.function(x)
        if not isinstance(value, Tensor) or value.shape != (len(x),):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"log_r must return one number for each row, shape ({len(x)},), got {got}")
        if not torch.isfinite(value).all():
            bad = value[~torch.isfinite(value)][0].item()
            raise InputError(f"log_r returned {bad}, but must be finite: r is to be positive and bounded")
        return value

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        if improved and (states := p.states(MOST_STATES)) is not None:
            return self._enumerated(p, states, share)
        if self.differentiable:
            return first_order(p, lambda x: share * self.log_potential(x), improved)
        value = share * self.log_potential(p.centre())
        return Tilt(p, value, value, lambda x: share * self.log_potential(x) - value)

    def _enumerated(self, p: Distribution, states: Tensor, share: float) -> Tilt:
        """Multiply exactly, as a mixture of all states there are."""
        n, k = len(p.mean), len(states)
        every = states.repeat(n, *(1,) * (states.dim() - 1))
        each = torch.arange(n, device=states.device).repeat_interleave(k)
        joint = (p.take(each).log_prob(every) + share * self.rows(each).log_r(every)).view(n, k)
        log_z = torch.logsumexp(joint, 1)
        return Tilt.exact((Mixture(joint - log_z.unsqueeze(1), p.point_masses(every)), log_z))

    def _through(self, transform: Transform, generator: Generator | None, n_copies: int) -> CarriedFactor:
        assert self.event is not None
        return CarriedFactor(self, transform, self.differentiable).on(self.event)


class CarriedFactor(LogFactor):
    """An observation as a function of model units.

    Rounded data has its rounded value and the gradient of the unrounded one.

    Parameters
    ----------
    inner : Observation
        In data units.
    transform : Transform
        From data units to model units.
    differentiable : bool
        Whether ``inner`` has a gradient.
    """

    def __init__(self, inner: Observation, transform: Transform, differentiable: bool = True) -> None:
        super().__init__(self._in_data_units, differentiable)
        self.inner, self.transform = inner, transform
        self.n_observations, self.batched = inner.n_observations, inner.batched

    def _in_data_units(self, z: Tensor) -> Tensor:
        return self.inner.log_r(self.transform.inverse_with_gradient(z))

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> CarriedFactor:
        here = CarriedFactor(self.inner, self.transform, self.differentiable)
        here.event, here.states = event, self.states
        return here

    def rows(self, index: Tensor) -> CarriedFactor:
        if self.n_observations == 1:
            return self
        carried = CarriedFactor(self.inner.rows(index), self.transform, self.differentiable)
        carried.event, carried.n_observations, carried.states = self.event, len(index), self.states
        return carried


def as_observation(value: Any, name: str = "observation") -> Observation:
    r"""Turn a function log r(x) into an observation.

    An observation is returned as it is.

    Parameters
    ----------
    value : Observation or callable
        A function takes (n, \*event) to (n,), nats.
    name : str
        Name of the value in messages.
    """
    if isinstance(value, Observation):
        return value
    if callable(value) and not isinstance(value, type):
        return LogFactor(value)
    rule = "an observation, such as a GaussianMeasurement or KnownEntries, or a function log r(x)"
    raise InputError(f"{name} must be {rule}, got {type(value).__name__}")
