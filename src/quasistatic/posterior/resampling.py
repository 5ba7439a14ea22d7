"""Resampling of particles by their weights."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.random import Rng, uniform

__all__ = ["systematic"]


def systematic(log_weights: Tensor, generator: Rng | None = None, *, n: int | None = None) -> Tensor:
    """Choose particles by systematic resampling.

    Particle i is kept floor(n w_i) or ceil(n w_i) times, n w_i on average. They come in order; shuffle them where the order
    matters.

    Parameters
    ----------
    log_weights : Tensor, shape (B, N)
        Up to a constant of each row.
    generator : Generator or RowStreams, optional
        Source of one uniform draw for each row.
    n : int, optional
        Particles to keep of each row; N if not given.

    Returns
    -------
    Tensor of int, shape (B, n)

    Examples
    --------
    >>> import torch
    >>> systematic(torch.tensor([[0.5, 0.0, 0.0, 0.5]]).log()).tolist()
    [[0, 0, 3, 3]]
    """
    most = log_weights.shape[1] - 1
    n = most + 1 if n is None else n
    cumulative = torch.softmax(log_weights.double(), 1).cumsum(1)
    u = uniform((len(log_weights), 1), generator, like=cumulative)
    points = (torch.arange(n, device=u.device) + u) / n * cumulative[:, -1:]
    return torch.searchsorted(cumulative, points, right=True).clamp_max(most)
