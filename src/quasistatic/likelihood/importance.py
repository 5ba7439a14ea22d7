"""Log likelihood by importance sampling over forward trajectories."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.checks import whole_number
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.scores import score_trajectories, stacked_rows
from quasistatic.random import Rng, repeated
from quasistatic.reverse import ReverseKernel

__all__ = ["importance_weighted_log_prob"]


def importance_weighted_log_prob(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_trajectories: int,
    generator: Rng | None = None,
) -> Tensor:
    r"""Estimate log p(x_0) by importance sampling over forward trajectories.

    .. math:: \log \hat p(x_0) = \log \frac1N \sum_{k=1}^N
              \frac{\pi(x_T^k) \prod_t p(x_{t-1}^k \mid x_t^k)}{q(x_{1..T}^k \mid x_0)} \qquad (9)

    :math:`\hat p` is unbiased, so the log is a lower bound in expectation: the trajectory bound at N = 1, log p as N
    grows. Trajectories are drawn in chunks, so that memory does not grow with N.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; the kernel is moved to its steps.
    kernel : ReverseKernel
        The model.
    x_0 : Tensor, shape (batch, *event)
        Data in model units.
    n_trajectories : int
        N, at least 1. Cost is N whole chains for each example.
    generator : Generator or RowStreams, optional
        Source of the draws. With a stream for each row the result of a row does not depend on the other rows, but for
        rounding.

    Returns
    -------
    Tensor, shape (batch,)
        Nats.

    Examples
    --------
    An exact chain needs one trajectory only:

    >>> import torch
    >>> from quasistatic.networks import ResidualMLP
    >>> from quasistatic.reverse import GaussianDenoiser
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q, x = GaussianDiffusion(geometric(8)), torch.zeros(1, 2, dtype=torch.float64)
    >>> kernel = GaussianDenoiser(q, ResidualMLP(2, 4), 2)
    >>> with torch.no_grad():
    ...     round(importance_weighted_log_prob(q, kernel, x, n_trajectories=3).item(), 5)
    -1.83788
    """
    whole_number("n_trajectories", n_trajectories, 1)
    kernel = kernel.on(process)
    copies = max(1, min(n_trajectories, 2 * stacked_rows(x_0) // max(1, len(x_0))))
    log_sum = x_0.new_full((len(x_0),), -math.inf)
    done = 0
    while done < n_trajectories:
        m = min(copies, n_trajectories - done)
        scores, data = score_trajectories(process, kernel, x_0.repeat_interleave(m, 0), repeated(generator, m))
        log_weight = (scores.sum(1) + data).view(len(x_0), m)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 1))
        done += m
    return log_sum - math.log(n_trajectories)
