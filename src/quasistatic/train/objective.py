"""The training loss of one batch: an unbiased estimate of minus the bound."""

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
    """Examples with the step each n_timesteps. The first ``n_first`` rows are at t = 1."""

    x_0: Tensor
    x_t: Tensor
    t: Tensor
    weight: Tensor
    x_prev: Tensor | None
    n_first: int

    def rows(self, rank: int, world: int) -> Batch:
        """Take every world-th row, for one of many processes, with weights whose mean over them is right."""
        mine = slice(rank, None, world)
        x_prev = None if self.x_prev is None else self.x_prev[mine]
        n_first = len(range(rank, self.n_first, world))
        return Batch(self.x_0[mine], self.x_t[mine], self.t[mine], self.weight[mine] * world, x_prev, n_first)

    def parts(self, n_rows: int) -> Iterator[Batch]:
        """Some rows after the other, whose losses, and so whose gradients, add up to those of the whole; 0 for all."""
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
    at_draws: bool,
    noise: Generator | None = None,
) -> Batch:
    """Give each example a step and a noisy state, and for kernels without a closed-form KL the one before.

    Steps are drawn from ``generator``, states from ``noise`` if it is given.
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
    x_prev = process.posterior(x_0, x_t, t).sample(noise) if at_draws else None
    return Batch(x_0, x_t, t, weight, x_prev, n_first)


class Objective(nn.Module):
    """Minus the bound, less its constants: KL of each visited transition, -log p(x_0 | x_1) at t = 1."""

    def __init__(self, kernel: ReverseKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss (a scalar, nats) and what each row has lost, (batch,)."""
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
