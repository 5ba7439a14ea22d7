r"""The paper's perturbation: a log r that bends is replaced by a straight one, and the gap between them is told (eq. 61)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.distributions.conditioning import tilt_exponentially
from quasistatic.distributions.operations import covariance_times, mean, span
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import Tilt

__all__ = ["first_order", "linear_pull"]

LogR = Callable[[Tensor], Tensor]
Operator = Callable[[Tensor], Tensor]


def first_order(p: Distribution, log_r: LogR, refined: bool) -> Tilt:
    r"""Product with :math:`r(\mu)\, e^{g \cdot (x - \mu)}`, where :math:`g = \nabla \log r(\mu)` at the mean.

    A normal law :math:`\mathcal{N}(\mu, \Sigma)` is moved by :math:`\Sigma g`, and the odds of a bit are multiplied by
    :math:`e^{g_i}`. ``refined`` shortens the step where log r bends down: :math:`g` is scaled by
    :math:`1 / (1 + \kappa)`, with the curvature :math:`\kappa` along :math:`\Sigma g` from a second gradient.
    """
    at = mean(p)
    value, g = _gradient(log_r, at)
    shift = covariance_times(p, g)
    gain = (g * shift).flatten(1).sum(1)
    scale = _damping(log_r, at, g, shift, span(p)) if refined else torch.ones_like(gain)
    pull = g * scale.view(-1, *(1,) * (g.dim() - 1))
    return _straight(p, log_r, at, value, pull, value + 0.5 * scale * gain)


def linear_pull(
    p: Gaussian, log_r: LogR, operator: Operator, adjoint: Operator, y: Tensor, noise: Tensor, most: int = 60
) -> Tilt:
    r"""Move a normal law to the mean it has after :math:`y = A x + e`, without a matrix, and keep its covariance.

    The pull :math:`A^\top (A V A^\top + N)^{-1} (y - A \mu)` comes from conjugate gradients. The law stays too wide where
    A looks, and so a gap remains; the guess of log E r lacks the determinant alone.
    """
    residual = y - operator(p.mean)
    solved = _solve(lambda w: operator(p.var * adjoint(w)) + noise * w, residual, most)
    value = log_r(p.mean)
    rest = (residual * (residual / noise - solved)).flatten(1).sum(1)
    return _straight(p, log_r, p.mean, value, adjoint(solved), value + 0.5 * rest)


def _straight(p: Distribution, log_r: LogR, at: Tensor, value: Tensor, pull: Tensor, lookahead: Tensor) -> Tilt:
    """Product with r(a) e^(pull (x - a)), and its gap to r."""
    law, log_z = tilt_exponentially(p, pull, at)

    def gap(x: Tensor) -> Tensor:
        return log_r(x) - value - (pull * (x - at)).flatten(1).sum(1)

    return Tilt(law, log_z + value, lookahead, gap)


def _gradient(log_r: LogR, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log r of each row, (batch,), and its gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        value = log_r(at)
        if not value.requires_grad:
            raise InputError("log_r has no gradient: write it with torch, or say differentiable=False")
        (slope,) = torch.autograd.grad(value.sum(), at)
    if not torch.isfinite(slope).all():
        raise InputError("the gradient of log_r is not finite: mend it, or say differentiable=False")
    return value.detach(), slope


def _damping(log_r: LogR, at: Tensor, g: Tensor, shift: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """1 / (1 + kappa): the step to the top of a parabola; for a normal r with one variance, the exact one."""
    step = shift if bounds is None else (at + shift).clamp(*bounds) - at
    _, there = _gradient(log_r, at + step)
    rise = (g * step).flatten(1).sum(1)
    bend = ((g - there) * step).flatten(1).sum(1).clamp_min(0.0)
    return torch.where(rise > 0, rise / (rise + bend).clamp_min(1e-300), 1.0)


def _solve(curved: Operator, y: Tensor, most: int) -> Tensor:
    """Conjugate gradients for each row of a positive definite system; rows that have come to rest stay as they are."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).view(-1, *(1,) * (a.dim() - 1))

    solved, rest, direction = torch.zeros_like(y), y, y
    square = dot(rest, rest)
    enough = 1e-16 * square
    for _ in range(most):
        open_ = square > enough
        if not open_.any():
            break
        image = curved(direction)
        step = torch.where(open_, square / dot(direction, image).clamp_min(1e-300), 0.0)
        solved, rest = solved + step * direction, rest - step * image
        before, square = square, dot(rest, rest)
        direction = rest + square / before.clamp_min(1e-300) * direction
    return solved
