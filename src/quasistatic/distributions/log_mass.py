"""Log mass of a Gaussian between two edges."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["log_mass"]


def log_mass(mean: Tensor, var: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return the log mass of a Gaussian between two edges, elementwise.

    Parameters
    ----------
    mean, var : Tensor
        Of the Gaussian.
    below, above : Tensor
        The edges, which may be infinite.

    Examples
    --------
    >>> import torch
    >>> edges = torch.tensor(-1.0), torch.tensor(1.0)
    >>> round(log_mass(torch.tensor(0.0), torch.tensor(1.0), *edges).exp().item(), 4)
    0.6827
    """
    return _LogMass.apply(mean, var, below, above)


class _LogMass(torch.autograd.Function):
    r"""Log mass with its gradient.

    The precision is full, however far out the edges are.

    By symmetry the nearer edge is a and the farther b, both in deviations, b > \|a\|. With both on one side

    .. math:: \log(Q(a) - Q(b)) = -\tfrac{a^2}{2} + \log \tfrac12\left(
              \mathrm{erfcx}\tfrac{a}{\sqrt2} - \mathrm{erfcx}\tfrac{b}{\sqrt2}\, e^{-(b - a)(b + a)/2}\right),

    and :math:`\phi(a) / (Q(a) - Q(b))`, from which the gradient follows, needs the bracket alone.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, var: Tensor, below: Tensor, above: Tensor) -> Tensor:
        sd = var.sqrt()
        low, high = (below - mean) / sd, (above - mean) / sd
        mirrored = low + high < 0
        a, b = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
        fall = torch.exp(-0.5 * (b - a) * (b + a))  # phi(b) / phi(a)
        outside = a > 0
        bracket = 0.5 * (_erfcx(a.clamp_min(0.0)) - _erfcx(b) * fall)
        middle = 0.5 * (torch.erf(b * math.sqrt(0.5)) - torch.erf(a * math.sqrt(0.5)))
        # phi(a) / mass; a is finite
        density = math.sqrt(0.5 / math.pi) / torch.where(outside, bracket, middle)
        at_a = torch.where(outside, density, density * torch.exp(-0.5 * a.square()))
        at_b = torch.where(outside, density * fall, density * torch.exp(-0.5 * b.square()))
        by_mean = torch.where(mirrored, at_b - at_a, at_a - at_b) / sd
        by_log_sd = a * at_a - torch.where(b.isinf(), 0.0, b) * at_b
        ctx.save_for_backward(by_mean, 0.5 * by_log_sd / var)
        return torch.where(outside, bracket.log() - 0.5 * a.clamp_min(0.0).square(), middle.log())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        by_mean, by_var = ctx.saved_tensors
        return weight * by_mean, weight * by_var, None, None


def _erfcx(x: Tensor) -> Tensor:
    return torch.special.erfcx(x * math.sqrt(0.5))
