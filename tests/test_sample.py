"""Samples against the law that the matrices say the model has."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from chance import check_covariance, check_frequencies, check_mean
from oracles import ExactGaussianData, RandomBits, all_bits, index_of, model_log_prob, random_weights, state_probs
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.exact import ExactBernoulliKernel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import FixedFirstStep, GaussianDenoiser
from quasistatic.sample import reverse_trajectory, sample_ancestral
from quasistatic.schedules import constant_erasure, geometric

STATES = all_bits(3)
N = 40_000


def counts(x: torch.Tensor) -> torch.Tensor:
    return torch.bincount(index_of(x), minlength=8)


def bits_model(n_steps: int = 4) -> tuple[BernoulliDiffusion, RandomBits]:
    q = BernoulliDiffusion(constant_erasure(n_steps), torch.tensor([0.2, 0.5, 0.7]))
    return q, RandomBits(q, 3, spread=2.0)


def test_samples_have_the_frequencies_of_the_model(generator: Generator) -> None:
    # chi-square, 1e-6
    q, kernel = bits_model()
    p = model_log_prob(q, kernel, STATES).exp()
    assert (p.max() / p.min()).item() > 3
    check_frequencies(counts(sample_ancestral(q, kernel, (N, 3), generator=generator)), p)


def test_every_state_on_the_way_has_its_law(generator: Generator) -> None:
    # chi-square, 1e-6 for each of 5 steps; the states of one path depend on each other, the rows do not
    q, kernel = bits_model()
    for t, x in reverse_trajectory(q, kernel, (N, 3), generator=generator):
        check_frequencies(counts(x), state_probs(q, kernel, STATES, t))


def test_samples_of_the_exact_mixture_have_the_frequencies_of_the_data(generator: Generator) -> None:
    # chi-square, 1e-6; five of eight states never occur
    q, weights = BernoulliDiffusion(constant_erasure(3), 0.5), torch.tensor([0.2, 0.5, 0.3])
    kernel = ExactBernoulliKernel(q, STATES[[0, 3, 6]], weights)
    expected = torch.zeros(8, dtype=torch.float64)
    expected[[0, 3, 6]] = weights.double()
    check_frequencies(counts(sample_ancestral(q, kernel, (N, 3), generator=generator)), expected / expected.sum())


def test_samples_of_gaussian_data_have_its_moments(generator: Generator) -> None:
    # 1e-6 for the mean and for the covariance
    q = GaussianDiffusion(geometric(10, 5.0, -12.0))  # what is left of the signal at T is below the errors here
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.2]], dtype=torch.float64)
    kernel = ExactGaussianData(q, torch.tensor([0.5, -1.0]), cov)
    x = sample_ancestral(q, kernel, (N, 2), generator=generator)
    check_mean(x, kernel.mean, resolves=0.05)
    check_covariance(x, cov)


@pytest.mark.parametrize("steps", [1, 2, [1, 3, 6]])
def test_a_respaced_chain_is_the_model_of_that_chain(steps: int | list[int], generator: Generator) -> None:
    # chi-square, 1e-6: the exact mixture samples the data on any grid, and reads the coarse grid's own steps
    q, weights = BernoulliDiffusion(constant_erasure(6), 0.5), random_weights(8)
    kernel, coarse = ExactBernoulliKernel(q, STATES, weights), q.respaced(steps)
    check_frequencies(counts(sample_ancestral(coarse, kernel, (N, 3), generator=generator)), weights)
    assert [t for t, _ in reverse_trajectory(coarse, kernel, (2, 3))] == list(range(coarse.n_steps, -1, -1))
    assert kernel.process is q


def test_the_papers_first_step_is_drawn_as_it_is_scored(generator: Generator) -> None:
    # chi-square, 1e-6
    q, kernel = bits_model()
    first = FixedFirstStep(kernel, q)
    expected = model_log_prob(q, first, STATES).exp()
    assert (expected - model_log_prob(q, kernel, STATES).exp()).abs().max().item() > 0.05
    check_frequencies(counts(sample_ancestral(q, first, (N, 3), generator=generator)), expected)


def test_a_trajectory_goes_from_noise_to_data() -> None:
    q, kernel = bits_model()
    steps = list(reverse_trajectory(q, kernel, (5, 3), generator=Generator().manual_seed(3)))
    assert [t for t, _ in steps] == [4, 3, 2, 1, 0]
    assert all(x.shape == (5, 3) for _, x in steps)
    assert torch.equal(steps[-1][1], sample_ancestral(q, kernel, (5, 3), generator=Generator().manual_seed(3)))


def test_samples_repeat_with_their_generator_and_leave_the_global_one_alone() -> None:
    q = GaussianDiffusion(geometric(4))
    kernel = GaussianDenoiser(q, ResidualMLP(4, 8, width=8, depth=1), 4)
    before = torch.get_rng_state()
    a, b, c = (sample_ancestral(q, kernel, (3, 2, 2), generator=Generator().manual_seed(s)) for s in (1, 1, 2))
    assert a.shape == (3, 2, 2)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_ordinary_tensors() -> None:
    q = GaussianDiffusion(geometric(4))
    x = sample_ancestral(q, GaussianDenoiser(q, ResidualMLP(2, 4, width=8, depth=1), 2), (3, 2))
    assert not x.requires_grad
    weight = torch.ones(2, requires_grad=True)
    (x * weight).sum().backward()
    assert weight.grad is not None
