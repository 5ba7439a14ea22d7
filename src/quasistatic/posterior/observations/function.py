"""Any log r(x), as a function."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from quasistatic.distributions import Bernoulli, Categorical, Distribution, Mixture
from quasistatic.distributions.operations import mean, span, take
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import Observation, Tilt
from quasistatic.posterior.observations.first_order import first_order

__all__ = ["LogFactor"]

MOST_STATES = 64  # of bits or classes that are enumerated for an exact product


class LogFactor(Observation):
    r"""Evidence that is any function, log r(x), finite everywhere.

    Kernels are multiplied by :math:`r(\mu)\, e^{g \cdot (x - \mu)}` with :math:`g = \nabla \log r(\mu)` at their mean, so
    that a normal law :math:`\mathcal{N}(\mu, \Sigma)` is moved by :math:`\Sigma g` (eq. 61), and the odds of a bit
    are multiplied by :math:`e^{g_i}`, which is the rule of Appendix C for an r that is a product over bits. Looking
    ahead, the step is shortened where log r bends down, and laws of bits or classes that have no more than 64 states
    are multiplied exactly.

    Parameters
    ----------
    log_r : callable
        (n, \*event) -> (n,), nats. For bits, classes and levels it is, if differentiable, also asked between them.
    differentiable : bool
        False for a black box: kernels stay as they are, and weights and resampling do all the work.

    Examples
    --------
    >>> from quasistatic.distributions import Gaussian
    >>> evidence = LogFactor(lambda x: 3.0 * x.sum(1))
    >>> law, log_z = evidence.tilt(Gaussian(torch.zeros(1, 2), torch.full((1, 2), 0.5)))
    >>> law.mean.tolist(), log_z.item()      # exact, for a linear log r: |g|^2 v / 2
    ([[1.5, 1.5]], 4.5)
    """

    closed = False

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

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        if refined and span(p) and (states := _few_states(p)) is not None:
            return self._enumerated(p, states, share)
        if self.differentiable:
            return first_order(p, lambda x: share * self.log_r(x), refined)
        at = mean(p)
        value = share * self.log_r(at.round() if _n_classes(p) else at)
        return Tilt(p, value, value, lambda x: share * self.log_r(x) - value)

    def _enumerated(self, p: Distribution, states: Tensor, share: float) -> Tilt:
        """Exact product, as a mixture of all states there are."""
        n, k = len(mean(p)), len(states)
        every = states.repeat(n, *(1,) * (states.dim() - 1))
        each = torch.arange(n, device=states.device).repeat_interleave(k)
        joint = (take(p, each).log_prob(every) + share * self.rows(each).log_r(every)).view(n, k)
        log_z = torch.logsumexp(joint, 1)
        plain = p.components if isinstance(p, Mixture) else p
        points = Bernoulli(every) if isinstance(plain, Bernoulli) else Categorical.points(every, _n_classes(p))
        return Tilt(Mixture(joint - log_z.unsqueeze(1), points), log_z, log_z)


def _n_classes(p: Distribution) -> int:
    """Classes of each entry, 2 for bits; 0 for laws of other kinds."""
    plain = p.components if isinstance(p, Mixture) else p
    return plain.n_classes if isinstance(plain, Categorical) else 2 * isinstance(plain, Bernoulli)


def _few_states(p: Distribution) -> Tensor | None:
    r"""All states of a law of bits or classes, (n, \*event), if they are few."""
    event, k = mean(p).shape[1:], _n_classes(p)
    d = math.prod(event)
    if not k or k**d > MOST_STATES:
        return None
    index = torch.arange(k, dtype=mean(p).dtype, device=mean(p).device)
    return torch.cartesian_prod(*[index] * d).view(-1, *event)
