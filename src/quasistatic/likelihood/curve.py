r"""Learned log-SNR curves, for chains of many steps.

A kernel that depends on the log-SNR works with any strictly falling curve :math:`\lambda(u)`, 0 <= u <= 1, cut into T
steps. As T grows, the bound depends on the curve's ends alone. Its shape decides how evenly the bound is distributed
over u, and so the variance of an estimate from uniform draws of u (Kingma et al. 2021, Sections 5.1 and I). The shape
of least variance has the same rms loss in every step. It is the integral of the probabilities of
:class:`~quasistatic.likelihood.estimators.TimestepSampler`, so it needs no gradient. It reduces the variance by as much
as that sampler does. Only the ends are learned by gradient.

At few steps the bound depends on the shape too: use :func:`quasistatic.optimal_schedule` there. At hundreds of steps, where
that would measure as many levels, use :func:`learn_curve`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.estimators import TimestepSampler, estimate_elbo, learned_sampler
from quasistatic.reverse import ReverseKernel
from quasistatic.schedules import beta_from_log_snr

__all__ = ["even_steps", "learn_curve"]


def even_steps(process: GaussianDiffusion, sampler: TimestepSampler) -> GaussianDiffusion:
    """Choose steps for which uniform timesteps are as good as the sampler's.

    The levels are equal quantiles of the sampler's probabilities, linear in the log-SNR within a step. The first and the
    last level stay. The curve falls strictly, since no probability is zero.

    Parameters
    ----------
    process : GaussianDiffusion
        The curve to start from.
    sampler : TimestepSampler
        Of as many steps, with learned probabilities.

    Raises
    ------
    InputError
        If the sampler is of another number of steps.

    Examples
    --------
    A sampler without recorded losses keeps evenly spaced levels:

    >>> from quasistatic.schedules import geometric
    >>> q = GaussianDiffusion(geometric(5, 4.0, -4.0))
    >>> even_steps(q, TimestepSampler(5)).log_snr[1:].round(decimals=6).tolist()
    [4.0, 2.0, 0.0, -2.0, -4.0]
    """
    if sampler.n_steps != process.n_steps:
        raise InputError(
            f"the sampler has {sampler.n_steps} steps, but the process has {process.n_steps}: they must be equal"
        )
    log_snr = process.log_snr[1:].cpu()
    reached = torch.cat([log_snr.new_zeros(1), sampler.p.cumsum(0)])
    target = torch.linspace(0.0, 1.0, len(log_snr), dtype=torch.float64) * reached[-1]
    right = torch.searchsorted(reached, target).clamp(1, len(reached) - 1)
    share = (target - reached[right - 1]) / (reached[right] - reached[right - 1])
    levels = torch.lerp(log_snr[right - 1], log_snr[right], share)
    levels[0], levels[-1] = log_snr[0], log_snr[-1]
    return process.with_beta(beta_from_log_snr(levels))


def learn_curve(
    process: GaussianDiffusion,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_iterations: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.05,
    generator: Generator,
) -> GaussianDiffusion:
    r"""Learn a log-SNR curve.

    The ends are learned by gradient ascent on the bound. The shape is computed from the losses. Each iteration
    evaluates two timesteps of ``batch_size`` rows, whatever T is: t = 1, whose level is the curve's first, and another
    one.

    Parameters
    ----------
    process : GaussianDiffusion
        The curve to start from. It must not erase all at its last step.
    kernel : ReverseKernel
        A trained denoiser on the log-SNR, which stays as it is.
    x_0 : Tensor, shape (n, \*event)
        Training rows in model units.
    n_iterations : int
        Updates of the ends.
    batch_size : int
        Rows of one update.
    learning_rate : float
        Of Adam: about how far an end moves in one iteration, in units of the log-SNR.
    generator : Generator
        Source of the draws.

    Returns
    -------
    GaussianDiffusion
        As many steps on the learned curve.
    """
    shaped = even_steps(process, learned_sampler(process, kernel, x_0[:500], generator=generator))
    levels = shaped.log_snr[1:]
    ends = levels[[0, -1]].clone().requires_grad_(True)
    share = (levels[0] - levels) / (levels[0] - levels[-1])

    def curve() -> GaussianDiffusion:
        return process.with_beta(beta_from_log_snr(ends[0] + (ends[1] - ends[0]) * share))

    frozen = [p for p in kernel.parameters() if p.requires_grad]
    kernel.requires_grad_(False)
    optimiser = torch.optim.Adam([ends], lr=learning_rate)
    try:
        for _ in range(n_iterations):
            rows = torch.randint(len(x_0), (batch_size,), generator=generator)
            bound = estimate_elbo(curve(), kernel, x_0[rows], n_timesteps=1, generator=generator).total.mean()
            (ends.grad,) = torch.autograd.grad(-bound, ends)
            optimiser.step()
    finally:
        for p in frozen:
            p.requires_grad_(True)
    with torch.no_grad():
        return process.with_beta(curve().beta[1:].detach())
