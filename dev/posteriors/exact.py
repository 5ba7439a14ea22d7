"""Gaussian and Gaussian-mixture priors with exact kernels: every number has a closed form."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posteriors.common import Measured, mean_error, seed
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.posterior.observations import GaussianMeasurement, LogFactor, Observation
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.schedules import geometric

N_PARTICLES, N_REPEATS, FEW = 10_000, 1000, 100
Y, STD, VAR = torch.tensor([0.6, 0.1], dtype=torch.float64), 0.5, 0.15
PRIORS = {
    "normal": (torch.tensor([[0.2, -0.3]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)),
    "mixture": (
        torch.tensor([[-1.0, 0.5], [1.0, -0.2], [0.3, 1.2]], dtype=torch.float64),
        torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    ),
}


def truth(centres: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean, covariance and log evidence of the posterior."""
    total = VAR + STD**2
    log_joint = shares.log() - 0.5 * (Y - centres).square().sum(1) / total - math.log(2 * math.pi * total)
    share, each = torch.softmax(log_joint, 0), centres + VAR / total * (Y - centres)
    mean = share @ each
    cov = ((each - mean).T * share) @ (each - mean) + VAR * STD**2 / total * torch.eye(2)
    return mean, cov, torch.logsumexp(log_joint, 0).item()


def seen(how: str, repeats: int | None) -> Observation:
    """r in closed form, where nothing varies, or as a function, where the weights do the work; perhaps many times."""
    one = GaussianMeasurement(Y, STD).on((2,))
    if how == "closed form":
        return GaussianMeasurement(Y if repeats is None else Y.expand(repeats, 2), STD)
    free = LogFactor(one.log_r)
    if repeats is None:
        return free
    nothing = GaussianMeasurement(torch.zeros(repeats, 2), 1e8)  # comes in a batch, and says nothing
    level = nothing.on((2,)).log_r(torch.zeros(repeats, 2, dtype=torch.float64))[0].item()
    return LogFactor(lambda x: one.log_r(x) - level) & nothing


def scores(p: PosteriorSamples, mean: Tensor, cov: Tensor, log_z: float) -> dict[str, float]:
    """How many standard errors each number is off."""
    off = p.x - mean
    pairs = {"xx": off[:, 0] * off[:, 0], "xy": off[:, 0] * off[:, 1], "yy": off[:, 1] * off[:, 1]}
    values = torch.stack([p.x[:, 0], p.x[:, 1], *pairs.values()], 1)
    expected = torch.stack([*mean, cov[0, 0], cov[0, 1], cov[1, 1]])
    z = (p.weights @ values - expected) / mean_error(p, values)
    told = dict(zip(("mean x", "mean y", "cov xx", "cov xy", "cov yy"), z.tolist(), strict=True))
    # 2e-5: what is left of the signal at the noise end, by which the chain's own evidence differs
    told["log evidence"] = (p.log_evidence.item() - log_z) / (p.log_evidence_error.item() + 2e-5)
    return told


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    q = GaussianDiffusion(geometric(10, 8.0, -14.0))
    details: dict[str, Any] = {"n_particles": N_PARTICLES, "n_repeats": N_REPEATS, "particles_of_a_repeat": FEW}
    worst: list[float] = []
    for name, (centres, shares) in PRIORS.items():
        mean, cov, log_z = truth(centres, shares)
        kernel = ExactGaussianMixtureKernel(q, centres, VAR, shares, "mixture" if len(centres) > 1 else "diagonal")
        for how in ("closed form", "function"):
            p = posterior_sample(q, kernel, seen(how, None), N_PARTICLES, shape=(2,), generator=seed(of_seed))
            z = scores(p, mean, cov, log_z)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PosteriorWarning)
                many = posterior_sample(q, kernel, seen(how, N_REPEATS), FEW, shape=(2,), generator=seed(100 + of_seed))
            ratio = (many.log_evidence - log_z).exp()
            error = ratio.std().item() / N_REPEATS**0.5
            z["mean of Z-hat"] = (ratio.mean().item() - 1.0) / (error + 2e-5)
            worst += map(abs, z.values())
            details[f"{name}, r as {how}"] = {
                "standard_errors_off": z, "ess": p.ess.item(), "n_resampled": p.n_resampled.item(),
                "log_evidence_error": p.log_evidence_error.item(),
                "mean_of_Z_hat_over_Z": {"value": ratio.mean().item(), "standard_error": error},
            }  # fmt: skip
    details["n_numbers"] = len(worst)
    return {"posterior-exact": Measured(max(worst), 0.0, N_PARTICLES, details)}
