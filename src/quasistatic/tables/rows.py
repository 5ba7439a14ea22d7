"""Scores of rows that depend on the row alone: its noise is drawn from a seed that is read off its own numbers."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Generator, Tensor

from quasistatic.checks import whole_number
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Joint
from quasistatic.forward import MixedDiffusion
from quasistatic.likelihood.bound import path_scores
from quasistatic.model import DiffusionModel
from quasistatic.random import RowStreams
from quasistatic.streams import bar

__all__ = ["encode_alone", "log_prob_alone", "noise_of", "seed_of"]


def seed_of(row: Tensor, seed: int) -> int:
    """Read a seed off the numbers of a row, (d,) float64."""
    digest = hashlib.blake2b(row.numpy().tobytes(), digest_size=7, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "big")


def noise_of(x: Tensor, seed: int) -> RowStreams:
    """Noise for rows (n, d) that is drawn from the numbers of each."""
    return RowStreams([seed_of(row, seed) for row in x])


def encode_alone(model: DiffusionModel, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Take rows to model units, each with noise of its own."""
    if not model.transform.random and not x.isnan().any():
        return model.encode(x)
    return model.encode(x, noise_of(x, seed))


def log_prob_alone(model: DiffusionModel, x: Tensor, n_trajectories: int, seed: int) -> Tensor:
    r"""Log of the mean weight of ``n_trajectories`` forward paths of each row, (n,): a lower bound of log p in expectation.

    With one path it is the bound; it tightens to log p as paths are added
    (:func:`quasistatic.likelihood.bound.importance_weighted_log_prob`).
    It is a function of the row, so that rows may be scored in any order and company.
    """
    whole_number("n_trajectories", n_trajectories, 1)
    process = model.process
    assert isinstance(process, MixedDiffusion)
    size = (process.n_steps + 1) * x.shape[1]
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    with torch.no_grad():
        for k in bar(range(n_trajectories), "scoring"):
            z, log_det = encode_alone(model, x, seed + k)
            for rows in torch.arange(len(x)).split(max(1, 2**22 // size)):
                states = _paths(process, z[rows], x[rows], seed + k)
                transitions, data = path_scores(process, model.kernel.on(process), states)
                weight = transitions.sum(1) + data + log_det[rows]
                total[rows] = torch.logaddexp(total[rows], weight)
    return total - math.log(n_trajectories)


def _paths(process: MixedDiffusion, z: Tensor, x: Tensor, seed: int) -> Tensor:
    """Forward paths, (n, T + 1, d), moved by uniform numbers that belong to each row."""
    shape = (process.n_steps, x.shape[1])
    uniform = torch.stack([
        torch.rand(shape, generator=Generator().manual_seed(seed_of(row, seed) + 1), dtype=torch.float64) for row in x
    ])  # fmt: skip
    path = [z]
    for t in range(1, process.n_steps + 1):
        path.append(_moved(process.step(path[-1], t), uniform[:, t - 1]))
    return torch.stack(path, 1)


def _moved(law: Distribution, u: Tensor) -> Tensor:
    """Draw of a law by the inverse of its distribution function at uniform numbers."""
    if isinstance(law, Joint):
        blocks = [_moved(part, u.index_select(1, c)) for part, c in zip(law.parts, law.columns, strict=True)]
        return law.joined(blocks)
    if isinstance(law, Gaussian):
        normal = torch.special.ndtri(u.clamp(1e-16, 1.0 - 1e-16))
        return torch.addcmul(law.mean, law.var.sqrt(), normal)
    if isinstance(law, Bernoulli):
        return (u < law.probs).to(u.dtype)
    assert isinstance(law, Categorical)
    below = law.log_probs.exp().cumsum(-1)
    return (below <= (u * below[..., -1]).unsqueeze(-1)).sum(-1).to(u.dtype)
