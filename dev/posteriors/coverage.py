"""Calibration with the trained model as truth: draw x from it, look at x, and see where x stands in its posterior."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posteriors.common import Measured, say, seed, trained
from quasistatic.datasets.digits import load_digits
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.plots import coverage, energy_score, rank_test, ranks
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, Observation
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import geometric
from quasistatic.train import TrainConfig, fit
from quasistatic.transforms import Chain, Dequantise, HistogramGaussianizer

N_PROBLEMS, LEVEL, NOISE, LEVELS = 500, 0.9, 0.3, 17
ROLL_PARTICLES, DIGIT_PARTICLES, DIGIT_STEPS = 200, 2000, 40


@cache
def digits() -> DiffusionModel:
    """A model of 8 x 8 digits whose pixels are not mixed, so that known ones stay entries."""
    parts = load_digits(0)
    train, validation = (torch.as_tensor(x).double() for x in (parts.train, parts.validation))
    transform = Chain(Dequantise(LEVELS), HistogramGaussianizer.fit(train, LEVELS))
    torch.manual_seed(0)
    q = GaussianDiffusion(geometric(DIGIT_STEPS, 6.0, -6.0))
    kernel = GaussianDenoiser(q, ResidualMLP(64, GaussianDenoiser.n_outputs(64), 128, 2, dropout=0.2), 64)
    config = TrainConfig(n_updates=3000, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, evaluate_every=1000)
    return fit(DiffusionModel(transform, q, kernel, (64,)), train, validation, config, quiet=True)


def calibrated(
    model: DiffusionModel, observation: Observation, truth: Tensor, n_particles: int, of_seed: int, project: Tensor | None
) -> dict[str, Any]:
    """Ranks of each problem's truth, or of some sums of its entries, and what follows from them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        p = model.posterior(observation, n_particles, generator=seed(of_seed))
    x, draws = (truth, p.x) if project is None else (truth @ project, p.x @ project)
    u = ranks(x.numpy(), draws.numpy(), p.weights.numpy(), seed=of_seed)
    got = coverage(u, LEVEL)
    return {
        "coverage": {"value": got.share, "standard_error": got.standard_error, "n": got.n},
        "p_values_of_uniform_ranks": [rank_test(column) for column in u.T],
        "energy_score": float(energy_score(x.numpy(), draws.numpy(), p.weights.numpy()).mean()),
        "n_particles": n_particles,
        "ess": {"median": p.ess.median().item(), "lowest": p.ess.min().item()},
        "lines": {"median": p.n_ancestors.median().item(), "lowest": p.n_ancestors.min().item()},
    }


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    roll = trained(runs, "swiss-roll")
    x = roll.sample(N_PROBLEMS, generator=seed(10 + of_seed)).double()
    y = x + NOISE * torch.randn(x.shape, generator=seed(20 + of_seed), dtype=x.dtype)
    of_roll = calibrated(roll, GaussianMeasurement(y, NOISE), x, ROLL_PARTICLES, of_seed, None)
    say(f"swiss roll: {of_roll}")
    model = digits()
    z = model.sample(N_PROBLEMS, generator=seed(30 + of_seed)).double()
    known = torch.arange(64) < 32
    # sums over the unknown rows and over the columns of the unknown half
    unknown = torch.eye(64, dtype=torch.float64)[:, ~known].view(64, 4, 8)
    sums = torch.cat([unknown.sum(2), unknown.sum(1)], 1)
    of_digits = calibrated(model, KnownEntries(known, z), z, DIGIT_PARTICLES, of_seed, sums)
    say(f"digits: {of_digits}")
    details = {"level": LEVEL, "swiss roll": of_roll, "digits": of_digits, "noise": NOISE, "digit_steps": DIGIT_STEPS}
    return {
        row: Measured(abs(told["coverage"]["value"] - LEVEL), told["coverage"]["standard_error"], N_PROBLEMS, details)
        for row, told in (("posterior-coverage-roll", of_roll), ("posterior-coverage-digits", of_digits))
    }
