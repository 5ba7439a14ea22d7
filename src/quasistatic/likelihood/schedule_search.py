r"""Schedules chosen by the bound of a trained kernel.

``learn_schedule`` is the paper's method, for Gaussian processes: ascend the bound in beta by gradient, with the noise held
fixed within each gradient. ``optimal_schedule`` needs no gradient, no starting schedule and no step size, and works for bits
as well. It measures the cost of every possible step between two noise levels with the trained kernel, and chooses the T
steps of least total cost by dynamic programming. The kernel must work with any steps (a denoiser on the log-SNR).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.scores import step_log_ratio
from quasistatic.reverse import ReverseKernel
from quasistatic.schedules import beta_from_log_snr

__all__ = ["cheapest_path", "learn_schedule", "optimal_schedule", "step_costs"]


@torch.no_grad()
def step_costs(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    generator: Generator | None = None,
    reach: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Measure the cost of every possible step on a grid.

    The cost of ending at each level is measured as well.

    Parameters
    ----------
    process : ForwardProcess
        The fine grid, T steps.
    kernel : ReverseKernel
        The trained model. It is used between pairs of levels, so it must not hold parameters for each step.
    x_0 : Tensor, shape (n, *event)
        Data in model units. Take thousands of points, or the choice follows their noise.
    generator : Generator, optional
        Source of the draws, which are the same at every level.
    reach : int, optional
        Longest step considered, in levels; steps to the data may have any length.

    Returns
    -------
    cost : Tensor, shape (T + 1, T + 1)
        ``cost[i, j]``, i < j: mean nats lost by one step back from level j to level i (for i = 0 minus
        log p(x_0 | x_j)); infinite where not considered.
    end : Tensor, shape (T + 1,)
        Mean KL(q(x_j | x_0) || pi).
    """
    T, reach = process.n_steps, reach or process.n_steps
    cost = torch.full((T + 1, T + 1), math.inf, dtype=torch.float64)
    end = torch.full((T + 1,), math.inf, dtype=torch.float64)
    pi = process.stationary(x_0.shape, x_0.dtype)
    generator = generator or Generator(x_0.device).manual_seed(0)
    noise = generator.get_state()
    for j in range(1, T + 1):
        generator.set_state(noise)  # the same noise at every level: the choice must not follow its differences
        marginal = process.marginal(x_0, j)
        x_j = marginal.sample(generator)
        end[j] = marginal.kl(pi).mean()
        step_back = kernel.on(process).from_level(x_j, j)
        for i in [0, *range(max(1, j - reach), j)]:
            pair = process.respaced([*([i] if i else []), j, *([T] if j < T else [])])
            t = 2 if i else 1
            p = step_back(pair, t)
            loss = -step_log_ratio(pair.posterior(x_0, x_j, t), p, generator) if i else -p.log_prob(x_0)
            cost[i, j] = loss.mean()
    return cost, end


def cheapest_path(cost: Tensor, end: Tensor, n_steps: int) -> list[int]:
    """Find the cheapest chain of ``n_steps`` steps by dynamic programming.

    Parameters
    ----------
    cost, end : Tensor
        As :func:`step_costs` returns them.
    n_steps : int
        Number of steps, the one to the data (level 0) included.

    Returns
    -------
    list of int
        The levels of the chain, from the data upwards.

    Raises
    ------
    InputError
        If there is no such chain.

    Examples
    --------
    Two steps over three levels, where the direct step is expensive:

    >>> inf = math.inf
    >>> cost = torch.tensor([[inf, 1.0, 5.0, 9.0], [inf, inf, 1.0, 1.5], [inf] * 3 + [1.0], [inf] * 4])
    >>> cheapest_path(cost, torch.tensor([inf, 3.0, 2.0, 0.0]), 2)
    [1, 3]
    """
    best = cost[0].clone()  # cost of reaching level j in one step
    came: list[Tensor] = []
    for _ in range(n_steps - 1):
        best, origin = (best.unsqueeze(1) + cost).min(0)
        came.append(origin)
    levels = [int((best + end).argmin())]
    if not torch.isfinite((best + end)[levels[0]]):
        raise InputError(f"no chain of {n_steps} steps fits on {len(end) - 1} levels with these costs")
    for origin in reversed(came):
        levels.append(int(origin[levels[-1]]))
    return levels[::-1]


def optimal_schedule(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    n_steps: int,
    *,
    n_levels: int = 80,
    reach: int | None = None,
    generator: Generator | None = None,
) -> ForwardProcess:
    """Choose the steps with the highest bound for a trained kernel.

    The candidates are ``n_levels`` noise levels, evenly spaced over the log-SNR range of ``process``. The range is extended
    by one unit at the data, and by one before total erasure. No level is chosen outside it, so ``process`` should cover
    the useful range. Compare schedules on other data: on ``x_0`` the bound of the chosen one is biased upwards.

    Parameters
    ----------
    process : ForwardProcess
        Gives the range of log-SNR and the family; its own steps do not matter.
    kernel : ReverseKernel
        The trained model; it must work with any steps.
    x_0 : Tensor, shape (n, *event)
        Data in model units, thousands of rows.
    n_steps : int
        Steps of the result.
    n_levels : int
        Levels to choose from; the time to measure grows as its square.
    reach : int, optional
        Longest step considered, in levels.
    generator : Generator, optional
        Source of the draws.

    Returns
    -------
    ForwardProcess
        Of the same family, with ``n_steps`` steps.

    Raises
    ------
    InputError
        If ``n_levels`` is below ``n_steps``, or the process erases all in one step.
    """
    if n_levels < n_steps:
        raise InputError(f"n_levels must be at least n_steps = {n_steps}, got {n_levels}")
    log_snr = process.log_snr[1:]
    erased = bool(torch.isinf(log_snr[-1]))
    if erased and len(log_snr) < 2:
        raise InputError("a process that erases all in one step gives no range of levels to choose from")
    high, low = log_snr[0].item() + 1.0, log_snr[-2].item() - 1.0 if erased else log_snr[-1].item()
    levels = torch.linspace(high, low, n_levels - erased, dtype=torch.float64, device=log_snr.device)
    if erased:
        levels = torch.cat([levels, levels.new_full((1,), -math.inf)])
    fine = process.with_beta(beta_from_log_snr(levels))
    reach = reach or max(4, math.ceil(6 * n_levels / n_steps))
    cost, end = step_costs(fine, kernel, x_0, generator=generator, reach=reach)
    chosen = cheapest_path(cost, end, n_steps)
    return process.with_beta(beta_from_log_snr(levels[torch.tensor(chosen) - 1]))


def learn_schedule(
    process: GaussianDiffusion,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_iterations: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    fix_beta_1: bool = True,
    fresh_noise: bool = True,
    generator: Generator,
    on_iteration: Callable[[float], None] | None = None,
) -> GaussianDiffusion:
    """Learn beta_2 .. beta_T by gradient ascent on the bound (Section 2.4.1).

    The noise is held fixed within a gradient, so that the bound is a function of beta. With ``fresh_noise`` it is drawn
    anew for each iteration, and so are the examples. Without it the schedule fits one draw, the paper's "frozen noise", and
    overfits it on few points: in a prototype the bound rose from 2.48 to 3.09 bits on that draw while the true bound fell
    from 2.21 to 1.95.

    Parameters
    ----------
    process : GaussianDiffusion
        The schedule to start from.
    kernel : ReverseKernel
        The trained model, which stays as it is.
    x_0 : Tensor, shape (n, *event)
        Data in model units.
    n_iterations : int
        Updates of the schedule.
    batch_size : int
        Examples of one update.
    learning_rate : float
        Of Adam, in units of the logits of the levels.
    fix_beta_1 : bool
        Keep beta_1 as it is, as the paper does "to prevent overfitting".
    fresh_noise : bool
        Draw new noise and examples for each iteration.
    generator : Generator
        Source of the draws.
    on_iteration : callable, optional
        Called with the bound of each iteration, on its own noise, in nats.
    """
    trained = [p for p in kernel.parameters() if p.requires_grad]
    kernel.requires_grad_(False)
    # a softmax of the log-SNR differences keeps the levels in order and the last one where it is
    first, last = process.log_snr[1], process.log_snr[-1]
    falls = -process.log_snr[1:].diff()
    logits = falls.log().clone().requires_grad_(True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=not fix_beta_1)

    def schedule() -> GaussianDiffusion:
        top = first + shift
        below = torch.softmax(logits, 0).cumsum(0) * (top - last)
        return process.with_beta(beta_from_log_snr(torch.cat([top.reshape(1), top - below])))

    optimiser = torch.optim.Adam([logits] if fix_beta_1 else [logits, shift], lr=learning_rate)
    frozen = generator.get_state()
    try:
        for _ in range(n_iterations):
            if not fresh_noise:
                generator.set_state(frozen)
            rows = torch.randint(len(x_0), (batch_size,), generator=generator, device=generator.device)
            bound = elbo(schedule(), kernel, x_0[rows], generator=generator).total.mean()
            optimiser.zero_grad()
            (-bound).backward()
            optimiser.step()
            if on_iteration is not None:
                on_iteration(bound.item())
    finally:
        for p in trained:
            p.requires_grad_(True)
    with torch.no_grad():
        return process.with_beta(schedule().beta[1:].detach())
