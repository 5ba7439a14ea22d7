"""Scores of the steps of a chain, at draws of its forward process."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from quasistatic.distributions import Distribution
from quasistatic.forward import ForwardProcess
from quasistatic.random import Rng, repeated, selected
from quasistatic.reverse import ReverseKernel
from quasistatic.streams import bar

__all__ = ["path_scores", "score_steps", "score_trajectories", "stacked_rows", "step_log_ratio"]


def stacked_rows(x_0: Tensor) -> int:
    """Return how many (example, step) pairs the network evaluates at once.

    It is large enough to use the processor fully, and small enough for its cache. On the CPU the numbers are those of
    the least time of ``benchmarks/whole_bound.py`` and ``benchmarks/pictures.py``: a perceptron of 38 k parameters, and
    U-Nets, which were slower on 16 and on 128 images than on 32. On a GPU the limit is memory.
    """
    if x_0.device.type != "cpu":
        return max(16, min(4096, 2**22 // max(1, x_0[0].numel())))
    if x_0.dim() == 4:
        return 32
    return max(16, min(4096, 2**16 // max(1, x_0[0].numel())))


def step_log_ratio(q: Distribution, p: Distribution, generator: Rng | None = None) -> Tensor:
    """Return the log ratio of one step.

    It is -KL(q || p) where that has a closed form, and otherwise log p - log q at a draw of q.

    Parameters
    ----------
    q : Distribution
        Forward posterior of the step.
    p : Distribution
        Reverse kernel of the step.
    generator : Generator or RowStreams, optional
        Source of the draws.

    Returns
    -------
    Tensor, shape (batch,)
    """
    if q.has_kl and p.has_kl:
        return -q.kl(p)
    x = q.sample(generator)
    return p.log_prob(x) - q.log_prob(x)


def _pairs(x_0: Tensor, n_steps: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Iterate over chunks of (example, step) pairs, t = 2..T.

    A chunk has at most :func:`stacked_rows` pairs. It is yielded as its slice of all pairs, the rows of the examples and
    the steps. The step varies fastest.
    """
    n_pairs, rows = len(x_0) * (n_steps - 1), stacked_rows(x_0)
    for start in bar(range(0, n_pairs, rows), "bound"):
        chunk = slice(start, min(start + rows, n_pairs))
        pair = torch.arange(chunk.start, chunk.stop, device=x_0.device)
        yield chunk, pair // (n_steps - 1), pair % (n_steps - 1) + 2


def _stacked(scores: list[Tensor], x_0: Tensor, n_steps: int) -> Tensor:
    return torch.cat(scores).view(len(x_0), n_steps - 1) if scores else x_0.new_zeros(len(x_0), 0)


def _data_term(kernel: ReverseKernel, x_0: Tensor, x_1: Tensor) -> Tensor:
    """Return log p(x_0 | x_1) of each example."""
    return kernel(x_1, torch.ones(len(x_1), dtype=torch.long, device=x_1.device)).log_prob(x_0)


def score_steps(process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Rng | None) -> tuple[Tensor, Tensor]:
    """Score each step at its own draw of x_t.

    The result is the scores of steps t = 2..T, (batch, T - 1), and the data term, (batch,).
    """
    n_steps, rows = process.n_steps, stacked_rows(x_0)
    streams, streams_of_data = repeated(generator, n_steps - 1), repeated(generator, 1)
    scores = []
    for chunk, i, t in _pairs(x_0, n_steps):
        x, rng = x_0[i], selected(streams, chunk)
        x_t = process.marginal(x, t).sample(rng)
        scores.append(step_log_ratio(process.posterior(x, x_t, t), kernel(x_t, t), rng))
    data = []
    for start in range(0, len(x_0), rows):
        chunk = slice(start, start + rows)
        x_1 = process.marginal(x_0[chunk], 1).sample(selected(streams_of_data, chunk))
        data.append(_data_term(kernel, x_0[chunk], x_1))
    return _stacked(scores, x_0, n_steps), torch.cat(data)


def score_trajectories(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Rng | None
) -> tuple[Tensor, Tensor]:
    """Score one forward trajectory per row by :func:`path_scores`."""
    rows = max(1, 2**22 // ((process.n_steps + 1) * x_0[0].numel()))
    scores: list[Tensor] = []
    data: list[Tensor] = []
    for start in range(0, len(x_0), rows):
        chunk = slice(start, start + rows)
        rng, path = selected(generator, chunk), [x_0[chunk]]
        for t in range(1, process.n_steps + 1):  # cheap: no network here
            path.append(process.step(path[-1], t).sample(rng))
        scored, log_data = path_scores(process, kernel, torch.stack(path, 1))
        scores.append(scored)
        data.append(log_data)
    return torch.cat(scores), torch.cat(data)


def path_scores(process: ForwardProcess, kernel: ReverseKernel, states: Tensor) -> tuple[Tensor, Tensor]:
    """Score whole forward trajectories.

    Parameters
    ----------
    process : ForwardProcess
        The process that the trajectories are drawn from.
    kernel : ReverseKernel
        The model, on the same steps.
    states : Tensor, shape (batch, T + 1, *event)
        The trajectories x_0 .. x_T.

    Returns
    -------
    scores : Tensor, shape (batch, T)
        log p - log q of each step back, t = 2..T, and last log pi(x_T) - log q(x_T | x_0).
    data : Tensor, shape (batch,)
        log p(x_0 | x_1). The sum of both is the log weight of the trajectory, whose exponential is unbiased for p(x_0).
    """
    x, last, n_steps, rows = states[:, 0], states[:, -1], process.n_steps, stacked_rows(states[:, 0])
    log_end = process.stationary(x.shape, x.dtype).log_prob(last) - process.marginal(x, n_steps).log_prob(last)
    scores = []
    for _, i, t in _pairs(x, n_steps):
        x_t, x_prev = states[i, t], states[i, t - 1]
        back = process.posterior(x[i], x_t, t)
        scores.append(kernel(x_t, t).log_prob(x_prev) - back.log_prob(x_prev))
    data = [_data_term(kernel, x_0, x_1) for x_0, x_1 in zip(x.split(rows), states[:, 1].split(rows), strict=True)]
    return torch.cat([_stacked(scores, x, n_steps), log_end.unsqueeze(1)], 1), torch.cat(data)
