"""Any log r(x), as a function."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from quasistatic.distributions import Bernoulli, Distribution, Mixture
from quasistatic.errors import InputError
from quasistatic.evidence.base import Evidence, Tilt
from quasistatic.evidence.laws import covariance_times, mean, tilt_exponentially

__all__ = ["LogEvidence"]


class LogEvidence(Evidence):
    r"""Evidence that is any function, log r(x), finite everywhere.

    Kernels are multiplied by :math:`r(\mu)\, e^{g \cdot (x - \mu)}` with :math:`g = \nabla \log r(\mu)` at their mean, so
    that a normal law :math:`\mathcal{N}(\mu, \Sigma)` is moved by :math:`\Sigma g` (eq. 61), and the odds of a bit
    are multiplied by :math:`e^{g_i}`, which is the rule of Appendix C for an r that is a product over bits. Looking
    ahead, the step is shortened where log r bends down: :math:`g` is scaled by :math:`1 / (1 + \kappa)`, with the
    curvature :math:`\kappa` along :math:`\Sigma g` from a second gradient.

    Parameters
    ----------
    log_r : callable
        (n, \*event) -> (n,), nats. For binary data, if differentiable, it is also asked at probabilities.
    differentiable : bool
        False for a black box: kernels stay as they are, and weights and resampling do all the work.

    Examples
    --------
    >>> from quasistatic.distributions import Gaussian
    >>> evidence = LogEvidence(lambda x: 3.0 * x.sum(1))
    >>> law, log_z = evidence.tilt(Gaussian(torch.zeros(1, 2), torch.full((1, 2), 0.5)))
    >>> law.mean.tolist(), log_z.item()      # exact, for a linear log r: |g|^2 v / 2
    ([[1.5, 1.5]], 4.5)
    """

    closed = False

    def __init__(self, log_r: Callable[[Tensor], Tensor], differentiable: bool = True) -> None:
        if not callable(log_r):
            raise InputError(f"log_r must be a function of x, got {type(log_r).__name__}")
        self.function, self.differentiable = log_r, differentiable

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> LogEvidence:
        here = copy.copy(self)
        here.event = event
        return here

    def rows(self, index: Tensor) -> LogEvidence:
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

    def _gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            value = self.log_r(at)
            if not value.requires_grad:
                raise InputError("log_r has no gradient: write it with torch, or say differentiable=False")
            (gradient,) = torch.autograd.grad(value.sum(), at)
        if not torch.isfinite(gradient).all():
            raise InputError("the gradient of log_r is not finite: mend it, or say differentiable=False")
        return value.detach(), gradient

    def product(self, p: Distribution, share: float = 1.0, damped: bool = False) -> Tilt:
        at, bits = mean(p), _of_bits(p)
        if not self.differentiable:
            value = share * self.log_r((at > 0.5).to(at.dtype) if bits else at)
            return Tilt(p, value, value, lambda x: share * self.log_r(x) - value)
        value, gradient = self._gradient(at)
        value, g = share * value, share * gradient
        shift = covariance_times(p, g)
        gain = (g * shift).flatten(1).sum(1)
        scale = self._damping(at, g, shift, share, bits) if damped else torch.ones_like(gain)
        pull = g * scale.view(-1, *(1,) * (g.dim() - 1))
        law, log_z = tilt_exponentially(p, pull, at)

        def gap(x: Tensor) -> Tensor:
            return share * self.log_r(x) - value - (pull * (x - at)).flatten(1).sum(1)

        return Tilt(law, log_z + value, value + 0.5 * scale * gain, gap)

    def _damping(self, at: Tensor, g: Tensor, shift: Tensor, share: float, bits: bool) -> Tensor:
        """1 / (1 + kappa): the step to the top of a parabola; for a normal r with one variance, the exact one."""
        step = ((at + shift).clamp(0.0, 1.0) - at) if bits else shift
        _, there = self._gradient(at + step)
        rise = (g * step).flatten(1).sum(1)
        bend = ((g - share * there) * step).flatten(1).sum(1).clamp_min(0.0)
        return torch.where(rise > 0, rise / (rise + bend).clamp_min(1e-300), 1.0)


def _of_bits(p: Distribution) -> bool:
    return isinstance(p.components if isinstance(p, Mixture) else p, Bernoulli)
