"""Rejuvenation moves: they leave every law as it is, and part copies."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Generator, Tensor

from chance import check_mean
from oracles import RandomBits, all_bits, model_log_prob
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, LogFactor
from quasistatic.posterior.particles import ParticleSystem
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.posterior.twisting import TwistedKernel
from quasistatic.schedules import constant_erasure, geometric


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


def bits() -> tuple[BernoulliDiffusion, RandomBits, LogFactor]:
    q = BernoulliDiffusion(constant_erasure(4), 0.4)
    odds = torch.tensor([3.0, -2.0, 2.5, 1.0, -1.5, 2.0, -3.0], dtype=torch.float64)  # 7 bits: too many to enumerate
    return q, RandomBits(q, 7, seed=1, spread=0.7), LogFactor(lambda x: 0.07 * (x @ odds.to(x.dtype)) ** 2)


def test_moves_leave_evidence_unbiased_and_the_posterior_right() -> None:
    q, kernel, about = bits()
    states = all_bits(7)
    log_joint = model_log_prob(q, kernel, states) + about.log_r(states)
    truth = torch.softmax(log_joint, 0)
    z, mean, resampled = [], [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        for i in range(150):
            twist = ("lookahead", "power")[i % 2]
            p = posterior_sample(q, kernel, about, 60, shape=(7,), twist=twist, moves=2, generator=seed(i))
            resampled += p.n_resampled.item() > 0
            z.append((p.log_evidence - torch.logsumexp(log_joint, 0)).exp())
            mean.append(z[-1] * p.mean)
    assert resampled > 100
    check_mean(torch.stack(z), 1.0, resolves=0.5)
    check_mean(torch.stack(mean), truth @ states)  # Z-hat times an average is unbiased too
    # many moves would lead to another law, were they accepted by another rule, and the weights that follow be wrong
    for twist in ("lookahead", "power", "constant"):
        big = posterior_sample(q, kernel, about, 600, shape=(7,), twist=twist, moves=15, generator=seed(0), n_runs=8)
        assert big.n_resampled.item() >= 1
        off = big.log_evidence.item() - torch.logsumexp(log_joint, 0).item()
        error = 0.1 if twist == "constant" else big.log_evidence_error.item()
        assert abs(off) < 4.5 * error, twist


def test_moves_part_copies_and_keep_weights_equal() -> None:
    q = GaussianDiffusion(geometric(6, 4.0, -6.0))
    kernel = ExactGaussianMixtureKernel(q, torch.tensor([[-1.0, 0.3], [1.2, 0.0]]), 0.1, family="diagonal")
    observation = GaussianMeasurement(torch.tensor([1.1, 0.2]), 0.2).on((2,))

    def distinct(moves: int) -> float:
        particles = ParticleSystem(
            TwistedKernel(kernel, q, observation, "power"), observation, 400, 150, True, moves, seed(1)
        )
        counts = []
        look: list[Tensor] = []
        real = particles._resample

        def watched(output):  # type: ignore[no-untyped-def]
            before = particles.n_resampled.clone()
            after = real(output)
            if (particles.n_resampled > before).all():
                counts.append(len(particles.x.unique(dim=0)))
                look.append(particles.log_path + after.log_potential)
            return after

        particles._resample = watched  # type: ignore[method-assign]
        for t in range(6, 0, -1):
            particles.step(t)
        assert counts
        assert all(w.std().item() < 1e-9 for w in look)
        return sum(counts) / len(counts)

    assert distinct(3) > 1.15 * distinct(0)


def test_moves_work_at_the_first_step_and_with_several_observations() -> None:
    q = GaussianDiffusion(geometric(3, 2.0, -1.0))  # much signal is left at the noise end
    kernel = ExactGaussianMixtureKernel(q, torch.tensor([[0.0, 0.0]]), 1.0, family="diagonal")
    y = torch.tensor([[2.5, 0.0], [-2.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    p = posterior_sample(q, kernel, GaussianMeasurement(y, 0.3), 3000, shape=(2,), moves=2, generator=seed(0), chunk=1000)
    v = 1.0 + 0.09
    truth = -0.5 * y.square().sum(1) / v - math.log(2 * math.pi * v)
    assert (p.n_resampled > 0).any()
    assert ((p.log_evidence - truth).abs() < 4.5 * p.log_evidence_error).all()


def test_bad_moves_are_refused() -> None:
    q, kernel, about = bits()
    with pytest.raises(InputError, match="the number of moves must be at least 0, got -1"):
        posterior_sample(q, kernel, about, 5, shape=(7,), moves=-1)
    copies = KnownEntries(torch.ones(4, 7, dtype=torch.bool), torch.zeros(4, 7)).on((7,))
    copies.n_copies = 4
    with pytest.raises(InputError, match="has 4 copies, but there are 5 particles"):
        posterior_sample(q, kernel, copies, 5, shape=(7,))
