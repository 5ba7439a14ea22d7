r"""Products with log-linear stand-ins for r (eq. 61)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.posterior.observations.tilt import Tilt

__all__ = ["first_order", "linear_pull"]

LogR = Callable[[Tensor], Tensor]
Operator = Callable[[Tensor], Tensor]


def first_order(p: Distribution, log_r: LogR, improved: bool) -> Tilt:
    r"""Multiply by a first-order stand-in for r.

    It is :math:`r(\mu)\, e^{g \cdot (x - \mu)}`, where :math:`g = \nabla \log r(\mu)` at the mean.

    A Gaussian :math:`\mathcal{N}(\mu, \Sigma)` is moved by :math:`\Sigma g`, and the odds of a bit are multiplied by
    :math:`e^{g_i}`.

    Parameters
    ----------
    p : Distribution
        One row for each row of ``log_r``.
    log_r : callable
        (batch, \*event) -> (batch,), nats, with a gradient.
    improved : bool
        Shorten the step where log r bends down: :math:`g` is scaled by :math:`1 / (1 + \kappa)`, with the curvature
        :math:`\kappa` along :math:`\Sigma g` from a second gradient.
    """
    at = p.mean
    value, g = _gradient(log_r, at)
    shift = p.covariance_times(g)
    gain = (g * shift).flatten(1).sum(1)
    scale = _damping(log_r, at, g, shift, p) if improved else torch.ones_like(gain)
    pull = g * scale.view(-1, *(1,) * (g.dim() - 1))
    return _straight(p, log_r, at, value, pull, value + 0.5 * scale * gain)


def linear_pull(
    p: Distribution, log_r: LogR, operator: Operator, adjoint: Operator, y: Tensor, noise: Tensor, most: int = 60
) -> Tilt:
    r"""Move a density to its conditional mean.

    The condition is :math:`y = A x + e`, and the covariance stays as it is.

    No matrix is needed: the pull :math:`A^\top (A V A^\top + N)^{-1} (y - A \mu)` comes from conjugate gradients. The
    result stays too wide where A measures, so a difference to r remains. The estimate of log E r lacks the determinant
    alone.

    Parameters
    ----------
    p : Distribution
        With covariance V.
    log_r : callable
        (batch, \*event) -> (batch,), nats.
    operator, adjoint : callable
        A and its transpose.
    y, noise : Tensor
        Measurements, and variances of their errors.
    most : int
        Iterations of conjugate gradients at most.
    """
    residual = y - operator(p.mean)
    solved = _solve(lambda w: operator(p.covariance_times(adjoint(w))) + noise * w, residual, most)
    value = log_r(p.mean)
    rest = (residual * (residual / noise - solved)).flatten(1).sum(1)
    return _straight(p, log_r, p.mean, value, adjoint(solved), value + 0.5 * rest)


def _straight(p: Distribution, log_r: LogR, at: Tensor, value: Tensor, pull: Tensor, lookahead: Tensor) -> Tilt:
    """Multiply by r(a) e^(pull (x - a)), with the difference to r."""
    result, log_z = p.tilt(pull, at)

    def difference(x: Tensor) -> Tensor:
        return log_r(x) - value - (pull * p.offset(x, at)).flatten(1).sum(1)

    return Tilt(result, log_z + value, lookahead, difference)


def _gradient(log_r: LogR, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return log r of each row, (batch,), and its gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        value = log_r(at)
        if not value.requires_grad:
            raise InputError("log_r has no gradient: write it with torch, or pass differentiable=False")
        (slope,) = torch.autograd.grad(value.sum(), at)
    if not torch.isfinite(slope).all():
        raise InputError("the gradient of log_r is not finite: correct log_r, or pass differentiable=False")
    return value.detach(), slope


def _damping(log_r: LogR, at: Tensor, g: Tensor, shift: Tensor, p: Distribution) -> Tensor:
    """Return the step factor 1 / (1 + kappa).

    With it the step ends at the maximum of a parabola that is fitted along the step. It is exact for a Gaussian r with
    one variance.
    """
    step = p.step_inside(at, shift)
    _, ahead = _gradient(log_r, at + step)
    rise = (g * step).flatten(1).sum(1)
    bend = ((g - ahead) * step).flatten(1).sum(1).clamp_min(0.0)
    return torch.where(rise > 0, rise / (rise + bend).clamp_min(1e-300), 1.0)


def _solve(curved: Operator, y: Tensor, most: int) -> Tensor:
    """Solve linear systems by conjugate gradients.

    The system of each row is positive definite. Rows that have converged stay.
    """

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
