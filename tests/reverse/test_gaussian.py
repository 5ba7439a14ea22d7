"""The Gaussian denoiser: a zero network is white data, and any answer goes through the forward posterior."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Generator, Tensor

from oracles import roughen, white
from quasistatic.distributions import Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.networks import NormalisedRBF, ResidualMLP
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import cosine, geometric, linear
from strategies import events, gaussian_diffusions, seeds


def make(q: GaussianDiffusion, d: int, covariance: str = "diagonal", m: int = 1, rough: bool = False) -> GaussianDenoiser:
    network = ResidualMLP(d, GaussianDenoiser.n_outputs(d, covariance, m), width=8, depth=1)
    return GaussianDenoiser(q, roughen(network) if rough else network, d, covariance, m).requires_grad_(False)


@given(q=gaussian_diffusions(max_steps=20), seed=seeds, event=events())
def test_a_zero_network_is_the_unit_gaussian_for_every_schedule(
    q: GaussianDiffusion, seed: int, event: tuple[int, ...]
) -> None:
    # exactly, per example and path: the bound along a path is log N(x; 0, I)
    d = torch.Size(event).numel()
    x = 2.0 * torch.randn(4, *event, generator=Generator().manual_seed(seed), dtype=torch.float64)
    total = elbo(q, make(q, d), x, generator=Generator().manual_seed(seed), method="trajectory").total
    torch.testing.assert_close(total, white(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", [linear, cosine, geometric])
@pytest.mark.parametrize("n_steps", [2, 10, 1000])
def test_a_zero_network_is_the_unit_gaussian_for_every_number_of_steps(
    schedule: Callable[[int], torch.Tensor], n_steps: int
) -> None:
    q = GaussianDiffusion(schedule(n_steps))
    x = torch.randn(3, 2, dtype=torch.float64)
    total = elbo(q, make(q, 2), x, method="trajectory").total
    torch.testing.assert_close(total, white(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_so_is_one_with_full_covariance(d: int) -> None:
    # beyond two dimensions the factor has a floor of 1e-6 of the variance
    q = GaussianDiffusion(geometric(8))
    x = torch.randn(5, d, dtype=torch.float64)
    estimate = importance_weighted_log_prob(q, make(q, d, "full"), x, n_trajectories=4)
    torch.testing.assert_close(estimate, white(x), rtol=0, atol=1e-8 if d == 2 else 1e-4)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_untrained_on_the_papers_network_too(covariance: str) -> None:
    q = GaussianDiffusion(geometric(5))
    network = NormalisedRBF(2, GaussianDenoiser.n_outputs(2, covariance), 5)
    x = torch.randn(5, 2, dtype=torch.float64)
    total = elbo(q, GaussianDenoiser(q, network, 2, covariance), x, method="trajectory").total
    torch.testing.assert_close(total, white(x), rtol=1e-8, atol=1e-8)


def read(kernel: GaussianDenoiser, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x_0 given x_t as the docstring says, from the network's outputs."""
    d = kernel.n_dims
    out = kernel.evaluate_network(x, t)
    signal, noise = kernel.process.alpha_bar[t].sqrt(), 1 - kernel.process.alpha_bar[t]
    mean = signal * x + noise.sqrt() * out[:, :d]
    if kernel.covariance == "diagonal":
        return mean, noise * torch.diag_embed(out[:, d:].exp())
    s = torch.diag_embed(out[:, d : 2 * d])
    row, column = torch.tril_indices(d, d, -1)
    s[:, row, column] = s[:, column, row] = out[:, 2 * d :]
    return mean, noise * torch.matrix_exp(s)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("t", [1, 3, 6])
def test_the_law_of_x_0_is_sent_through_the_posterior(covariance: str, d: int, t: int) -> None:
    # mean of means and mean of variances plus variance of means, with the slope of the posterior from differences
    q = GaussianDiffusion(geometric(6, 4.0, -4.0))
    kernel = make(q, d, covariance, rough=True).double()
    x = torch.randn(5, d, dtype=torch.float64)
    mean, cov = read(kernel, x, t)
    back, zero = q.posterior(mean, x, t), torch.zeros(1, d, dtype=torch.float64)
    slope = (q.posterior(zero + 1, zero, t).mean - q.posterior(zero, zero, t).mean)[0, 0]
    p = kernel(x, t)
    assert isinstance(p, Gaussian | MultivariateGaussian)
    torch.testing.assert_close(p.mean, back.mean, rtol=1e-9, atol=1e-9)
    expected = slope.square() * cov + torch.diag_embed(back.var)
    ours = p.cov if isinstance(p, MultivariateGaussian) else torch.diag_embed(p.var)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("t", [1, 4, torch.tensor([1, 3, 6, 2, 4])])
def test_a_mixture_is_made_of_such_gaussians(covariance: str, t: int | Tensor) -> None:
    # component m alone: a kernel of one component fed with outputs m, shifted by its start
    q, m, d = GaussianDiffusion(geometric(6, 4.0, -4.0)), 3, 2
    kernel = make(q, d, covariance, m, rough=True).double()
    single = make(q, d, covariance).double()
    x = torch.randn(5, d, dtype=torch.float64)
    p = kernel(x, t)
    assert isinstance(p, Mixture)
    out = kernel.evaluate_network(x, t)
    torch.testing.assert_close(p.log_weights, torch.log_softmax(out[:, -m:], 1))
    for k, part in enumerate(out[:, :-m].view(5, m, -1).unbind(1)):
        shifted = torch.cat([part[:, :d] + kernel.start[k], part[:, d:]], 1)
        expected = single.distribution(shifted, x, t).log_prob(x)
        ours = p.components.log_prob(x.repeat_interleave(m, 0)).view(5, m)[:, k]
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("covariance", "d", "m", "n"), [
    ("diagonal", 3, 1, 6), ("full", 3, 1, 9), ("full", 2, 4, 4 * 6), ("diagonal", 2, 4, 4 * 5), ("full", 1, 1, 2),
])  # fmt: skip
def test_how_many_outputs_a_network_needs(covariance: str, d: int, m: int, n: int) -> None:
    assert GaussianDenoiser.n_outputs(d, covariance, m) == n
    network = ResidualMLP(d, n, width=4, depth=1)
    kernel = GaussianDenoiser(GaussianDiffusion(geometric(4)), network, d, covariance, m)
    assert kernel(torch.zeros(2, d), 2).log_prob(torch.zeros(2, d)).shape == (2,)


def test_components_start_apart() -> None:
    q = GaussianDiffusion(geometric(4))
    p = make(q, 2, m=6)(torch.zeros(1, 2), 4)
    assert isinstance(p, Mixture)
    assert isinstance(p.components, Gaussian)
    assert torch.pdist(p.components.mean).min().item() > 1e-3


def test_only_two_covariances() -> None:
    with pytest.raises(ValueError, match='covariance must be "diagonal" or "full", got \'banana\''):
        make(GaussianDiffusion(geometric(4)), 2, "banana")
