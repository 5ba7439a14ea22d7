r"""A log-SNR curve that follows the model: its ends by the bound, its shape by the variance.

A kernel on the log-SNR clock serves any strictly falling curve :math:`\lambda(u)`, 0 <= u <= 1, cut into T steps. As T
grows the bound comes to depend on the curve's ends alone; its shape decides how evenly the bound is spread over u, and so
the variance of an estimate from uniform draws of u (Kingma et al. 2021, Sections 5.1 and I). The shape of least variance
has the same rms loss in every step. It is the integral of the probabilities that
:class:`~quasistatic.likelihood.estimators.TimestepSampler` draws steps with, so it needs no gradient, and it saves
no more than they do:
uniform draws on it are those draws on the curve it came from. What is learned by gradient here are the ends.

Which one? At few steps the bound itself depends on the shape: there :func:`quasistatic.optimal_schedule` finds the
best one. At
hundreds of steps, where it would have to measure as many levels, :func:`learn_curve`.
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
    """Cut the curve anew so that uniform draws of t are the sampler's draws on the steps there are.

    Levels stand at equal quantiles of the sampler's probabilities, followed linearly in the log-SNR within a step. The
    first and the last level stay, and the curve falls strictly, for no probability is zero.

    Examples
    --------
    A sampler that has seen nothing leaves levels of equal distance where they are:

    >>> from quasistatic.schedules import geometric
    >>> q = GaussianDiffusion(geometric(5, 4.0, -4.0))
    >>> even_steps(q, TimestepSampler(5)).log_snr[1:].round(decimals=6).tolist()
    [4.0, 2.0, 0.0, -2.0, -4.0]
    """
    if sampler.n_steps != process.n_steps:
        raise InputError(f"the sampler draws from {sampler.n_steps} steps, the chain has {process.n_steps}")
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
    r"""Learn the ends of the log-SNR curve by gradient ascent on the bound, and its shape from the losses of its steps.

    Each iteration costs ``batch_size`` rows two n_timesteps with their gradient, whatever T is: one of t = 1, whose level is
    the curve's first, and one of another step.

    Parameters
    ----------
    diffusion : GaussianDiffusion
        The curve to start from. It must not erase all at its last step.
    kernel : ReverseKernel
        A denoiser on the log-SNR clock; it stays as it is.
    x_0 : Tensor, shape (n, \*event)
        Training rows in model units.
    learning_rate : float
        About what an end may move in one iteration, in units of the log-SNR (Adam).

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
