"""Which particles go on, by their weights."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["systematic"]


def systematic(log_weights: Tensor, generator: Generator | None = None) -> Tensor:
    """Systematic resampling: of each row's N particles, which to keep, (B, N) -> (B, N).

    Particle i is kept floor(N w_i) or ceil(N w_i) times, N w_i on average.

    Examples
    --------
    >>> systematic(torch.tensor([[0.5, 0.0, 0.0, 0.5]]).log()).tolist()
    [[0, 0, 3, 3]]
    """
    n = log_weights.shape[1]
    cumulative = torch.softmax(log_weights.double(), 1).cumsum(1)
    u = torch.rand(len(log_weights), 1, generator=generator, dtype=torch.float64, device=log_weights.device)
    points = (torch.arange(n, device=u.device) + u) / n * cumulative[:, -1:]
    return torch.searchsorted(cumulative, points, right=True).clamp_max(n - 1)
