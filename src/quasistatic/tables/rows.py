"""Log densities that depend on the row alone.

The noise of each row is drawn from a seed that is a hash of its numbers, so rows may be scored in any order and batch.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Generator, Tensor

from quasistatic.checks import whole_number
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Joint
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.scores import path_scores
from quasistatic.model import DiffusionModel
from quasistatic.random import RowStreams
from quasistatic.streams import bar

__all__ = ["encode_rows", "row_log_prob", "row_noise", "row_seed"]


def row_seed(row: Tensor, seed: int) -> int:
    """Hash the numbers of a row to a seed.

    Parameters
    ----------
    row : Tensor, shape (d,)
        In float64.
    seed : int
        Another seed gives another hash.
    """
    digest = hashlib.blake2b(row.numpy().tobytes(), digest_size=7, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "big")


def row_noise(x: Tensor, seed: int) -> RowStreams:
    """Return random numbers with one stream per row.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Rows, which seed their streams.
    seed : int
    """
    return RowStreams([row_seed(row, seed) for row in x])


def encode_rows(model: DiffusionModel, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Take rows to model units, each with its own noise.

    Parameters
    ----------
    model : DiffusionModel
    x : Tensor, shape (n, d)
    seed : int

    Returns
    -------
    z : Tensor, shape (n, d)
    log_det : Tensor, shape (n,)
    """
    if not model.transform.random and not x.isnan().any():
        return model.encode(x)
    return model.encode(x, row_noise(x, seed))


def row_log_prob(model: DiffusionModel, x: Tensor, n_trajectories: int, seed: int) -> Tensor:
    r"""Estimate log p of each row by importance weights.

    The estimate is a lower bound of log p in expectation. With one trajectory it is the bound; with more it tightens
    (:func:`quasistatic.likelihood.importance.importance_weighted_log_prob`). It is a function of the row and the seed.

    Parameters
    ----------
    model : DiffusionModel
    x : Tensor, shape (n, d)
    n_trajectories : int
    seed : int

    Returns
    -------
    Tensor, shape (n,)
        Nats.
    """
    whole_number("n_trajectories", n_trajectories, 1)
    process = model.process
    size = (process.n_steps + 1) * x.shape[1]
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    with torch.no_grad():
        for k in bar(range(n_trajectories), "scoring"):
            z, log_det = encode_rows(model, x, seed + k)
            for rows in torch.arange(len(x)).split(max(1, 2**22 // size)):
                states = _trajectories(process, z[rows], x[rows], seed + k)
                transitions, data = path_scores(process, model.kernel.on(process), states)
                weight = transitions.sum(1) + data + log_det[rows]
                total[rows] = torch.logaddexp(total[rows], weight)
    return total - math.log(n_trajectories)


def _trajectories(process: ForwardProcess, z: Tensor, x: Tensor, seed: int) -> Tensor:
    """Draw forward trajectories seeded by each row, (n, T + 1, d)."""
    shape = (process.n_steps, x.shape[1])
    uniform = torch.stack([
        torch.rand(shape, generator=Generator().manual_seed(row_seed(row, seed) + 1), dtype=torch.float64) for row in x
    ])  # fmt: skip
    path = [z]
    for t in range(1, process.n_steps + 1):
        path.append(_inverse_cdf(process.step(path[-1], t), uniform[:, t - 1]))
    return torch.stack(path, 1)


def _inverse_cdf(p: Distribution, u: Tensor) -> Tensor:
    """Return the quantiles of a distribution."""
    match p:
        case Joint():
            return p.joined([_inverse_cdf(part, columns) for part, columns in p.blocks(u)])
        case Gaussian():
            normal = torch.special.ndtri(u.clamp(1e-16, 1.0 - 1e-16))
            return torch.addcmul(p.mean, p.var.sqrt(), normal)
        case Bernoulli():
            return (u < p.probs).to(u.dtype)
        case Categorical():
            below = p.log_probs.exp().cumsum(-1)
            return (below <= (u * below[..., -1]).unsqueeze(-1)).sum(-1).to(u.dtype)
    raise NotImplementedError(f"quantiles of a {type(p).__name__}")
