"""The training loss of one batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.reverse import ReverseKernel

__all__ = ["Batch", "Objective", "draw_batch"]


class Batch(NamedTuple):
    """Examples, a timestep for each, and their noisy states.

    Attributes
    ----------
    x_0 : Tensor, shape (batch, *event)
        Data in model units.
    x_t : Tensor, shape (batch, *event)
        States at t.
    t : Tensor of int, shape (batch,)
        Timesteps; the first ``n_first`` are 1.
    weight : Tensor, shape (batch,)
        Weight of each row's loss.
    x_prev : Tensor or None
        States at t - 1, for kernels without a closed-form KL.
    n_first : int
        Rows at t = 1.
    """

    x_0: Tensor
    x_t: Tensor
    t: Tensor
    weight: Tensor
    x_prev: Tensor | None
    n_first: int

    def rows(self, rank: int, world: int) -> Batch:
        """Return every world-th row, for one of many processes.

        The weights are such that the mean of the processes' losses is the batch loss.

        Parameters
        ----------
        rank, world : int
            Number of this process, and number of processes.
        """
        mine = slice(rank, None, world)
        x_prev = None if self.x_prev is None else self.x_prev[mine]
        n_first = len(range(rank, self.n_first, world))
        return Batch(self.x_0[mine], self.x_t[mine], self.t[mine], self.weight[mine] * world, x_prev, n_first)

    def parts(self, n_rows: int) -> Iterator[Batch]:
        """Split into micro-batches of ``n_rows`` (0: one batch).

        Their losses sum to the batch loss.
        """
        n, n_rows = len(self.x_0), n_rows or len(self.x_0)
        for start in range(0, n, n_rows):
            part = slice(start, start + n_rows)
            x_prev = None if self.x_prev is None else self.x_prev[part]
            n_first = max(0, min(self.n_first - start, n_rows))
            yield Batch(self.x_0[part], self.x_t[part], self.t[part], self.weight[part], x_prev, n_first)


def draw_batch(
    process: ForwardProcess,
    x_0: Tensor,
    sampler: TimestepSampler | None,
    n_first: int,
    generator: Generator,
    *,
    draw_previous: bool,
    noise: Generator | None = None,
) -> Batch:
    """Draw a timestep and a noisy state for each example.

    Parameters
    ----------
    process : ForwardProcess
        Forward process.
    x_0 : Tensor, shape (batch, *event)
        Examples in model units.
    sampler : TimestepSampler or None
        Draws the timesteps; None for a chain of one step.
    n_first : int
        Rows at t = 1.
    generator : Generator
        Source of the timesteps.
    draw_previous : bool
        Draw the state at t - 1 too, for kernels without a closed-form KL.
    noise : Generator, optional
        Source of the states; ``generator`` if not given.
    """
    noise = noise or generator
    n_other = len(x_0) - n_first
    if sampler is not None and n_other:
        t, inverse = sampler.draw(n_other, generator)
        t, weight = pad(t, (n_first, 0), value=1), pad(inverse, (n_first, 0), value=n_other / max(1, n_first)) / n_other
    else:
        t, weight = torch.ones(len(x_0), dtype=torch.long), torch.full((len(x_0),), 1.0 / max(1, n_first))
    t, weight = t.to(x_0.device, non_blocking=True), weight.to(x_0, non_blocking=True)
    x_t = process.marginal(x_0, t).sample(noise)
    x_prev = process.posterior(x_0, x_t, t).sample(noise) if draw_previous else None
    return Batch(x_0, x_t, t, weight, x_prev, n_first)


class Objective(nn.Module):
    """Unbiased estimate of minus the bound, without its constants.

    The loss of a row is the KL of its transition, and -log p(x_0 | x_1) at t = 1.

    Parameters
    ----------
    kernel : ReverseKernel
        The kernel that is trained, on its own process.
    """

    def __init__(self, kernel: ReverseKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and of each row, nats."""
        x_0, x_t, t, weight, x_prev, k = batch
        p = self.kernel(x_t, t)
        back = self.kernel.process.posterior(x_0, x_t, t)  # at t = 1 the point x_0
        if x_prev is None:
            each = back.cost(p, k)
        else:
            scores = -p.log_prob(x_prev)  # at t = 1 x_prev is x_0
            each = torch.cat([scores[:k], scores[k:] + back[k:].log_prob(x_prev[k:])])
        # not each @ weight: under autocast that product would be taken in bfloat16
        return (each * weight).sum(), each.detach()
