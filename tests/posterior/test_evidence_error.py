"""The error of the log evidence: what it says is how far repeats differ, and it says nothing where it cannot know."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from chance import check_mean
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.posterior.observations import GaussianMeasurement
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.schedules import geometric

Q = GaussianDiffusion(geometric(10))
PRIOR = ExactGaussianMixtureKernel(Q, torch.zeros(1, 2), 1.0, family="diagonal")
SEEN = GaussianMeasurement(torch.tensor([1.0, -0.5]), std=0.5)
TRUTH = -0.5 * (1.25 / 1.25) - math.log(2.0 * math.pi * 1.25)  # log N(y; 0, 1.25 I)


def drawn(twist: str, seed: int, n: int = 400, **settings: Any) -> PosteriorSamples:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        generator = Generator().manual_seed(seed)
        return posterior_sample(Q, PRIOR, SEEN, n, shape=(2,), twist=twist, generator=generator, **settings)


@pytest.mark.parametrize("twist", ["constant", "power"])
def test_a_single_run_without_the_lookahead_states_no_error(twist: str) -> None:
    assert drawn(twist, 0).log_evidence_error.isnan()
    assert torch.isfinite(drawn(twist, 0).log_evidence)
    assert drawn(twist, 0, n_runs=3).log_evidence_error.isnan() == (twist == "constant")
    assert torch.isfinite(drawn("lookahead", 0).log_evidence_error)


@pytest.mark.parametrize(("twist", "n_runs"), [("lookahead", 1), ("lookahead", 6), ("power", 6)])
def test_the_stated_error_is_how_far_repeats_differ(twist: str, n_runs: int) -> None:
    """Over 60 repeats the root mean square of the stated error is within a factor of two of the observed one.

    The log of an unbiased estimate is low by half its variance: the mean is held to the truth after that is added.
    """
    n = 400 if n_runs == 1 else 150
    each = [drawn(twist, seed, n, n_runs=n_runs) for seed in range(60)]
    off = torch.stack([p.log_evidence for p in each]) - TRUTH
    stated = torch.stack([p.log_evidence_error for p in each]).square().mean().sqrt().item()
    assert 0.5 < stated / max(off.std().item(), 1e-6) < 2.0 or off.abs().max() < 1e-4
    check_mean(off.exp(), 1.0, false_alarm=1e-4)


def test_pooled_runs_are_one_weighted_sample() -> None:
    runs = [drawn("power", seed, 100) for seed in range(3)]
    pooled = PosteriorSamples.pooled(runs)
    assert pooled.x.shape == (300, 2)
    z = torch.stack([run.log_evidence for run in runs]).exp()
    assert pooled.log_evidence.exp().item() == pytest.approx(z.mean().item())
    assert pooled.weights.sum().item() == pytest.approx(1.0)
    means = torch.stack([run.mean for run in runs])
    torch.testing.assert_close(pooled.mean, (z[:, None] * means).sum(0) / z.sum())
    assert pooled.ancestors.unique().numel() == sum(run.ancestors.unique().numel() for run in runs)
    assert pooled.log_evidence_error.item() == pytest.approx(z.std().item() / (3**0.5 * z.mean().item()))


def test_runs_come_in_batches_too(tmp_path: Path) -> None:
    seen = GaussianMeasurement(torch.tensor([[1.0, -0.5], [0.0, 0.2], [2.0, 2.0]]), std=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        p = posterior_sample(Q, PRIOR, seen, 50, shape=(2,), generator=Generator().manual_seed(0), n_runs=4)
    assert p.x.shape == (3, 200, 2)
    assert p.log_evidence_error.shape == (3,)
    one: Tensor = p.observation(1).mean
    torch.testing.assert_close(one, p.mean[1])
    p.save(tmp_path / "p")
    torch.testing.assert_close(PosteriorSamples.load(tmp_path / "p").log_evidence_error, p.log_evidence_error)


def test_few_lines_of_descent_state_no_error() -> None:
    x, log_w = torch.zeros(1, 4, 1), torch.tensor([[0.0, -40.0, -40.0, -40.0]])
    assert PosteriorSamples.of(x, log_w, torch.zeros(1)).log_evidence_error.isnan().all()
