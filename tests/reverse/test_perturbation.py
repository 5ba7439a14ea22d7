"""The paper's read-out, letter by letter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Generator, Tensor

from quasistatic.distributions import Gaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo, null_log_prob
from quasistatic.networks import NormalisedRBF, ResidualMLP
from quasistatic.reverse import PaperKernel
from quasistatic.schedules import geometric
from strategies import gaussian_diffusions, seeds


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


@given(q=gaussian_diffusions(), seed=seeds)
def test_a_released_zero_network_is_the_forward_kernel(q: GaussianDiffusion, seed: int) -> None:
    kernel = PaperKernel(q, NormalisedRBF(2, 4, q.n_steps)).requires_grad_(False)
    x = randn(seed, 5, 2)
    for t in range(1, q.n_steps + 1):
        for time in (t, torch.full((5,), t)):
            p, step = kernel(x, time), q.step(x, time)
            assert isinstance(p, Gaussian)
            torch.testing.assert_close(p.mean, step.mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(p.var, step.var, rtol=1e-9, atol=1e-12)


def test_so_it_is_the_null_model() -> None:
    # the forward step is in detailed balance with the noise: along every path the bound is log pi(x_0)
    q, x = GaussianDiffusion(geometric(5, 3.0, -3.0)), randn(0, 6, 2)
    kernel = PaperKernel(q, NormalisedRBF(2, 4, 5)).requires_grad_(False)
    total = elbo(q, kernel, x, method="trajectory").total
    torch.testing.assert_close(total, null_log_prob(q, x), rtol=1e-8, atol=1e-8)


@given(q=gaussian_diffusions(), seed=seeds)
def test_equations_64_and_65(q: GaussianDiffusion, seed: int) -> None:
    kernel = PaperKernel(q, ResidualMLP(3, 6, width=4, depth=1), "equation")
    z, x = randn(seed, 4, 6), randn(seed + 1, 4, 3)
    z_mean, z_var = z[:, :3], z[:, 3:]
    for t in range(1, q.n_steps + 1):
        beta = q.beta[t]
        var = 1 / (1 + torch.exp(-(z_var + torch.log(beta / (1 - beta)))))
        for time in (t, torch.full((4,), t)):
            p = kernel.distribution(z, x, time)
            torch.testing.assert_close(p.var, var, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(p.mean, (x - z_mean) * (1 - var) + z_mean, rtol=1e-9, atol=1e-12)


@given(q=gaussian_diffusions(), seed=seeds)
def test_the_released_mean(q: GaussianDiffusion, seed: int) -> None:
    kernel = PaperKernel(q, ResidualMLP(3, 6, width=4, depth=1))
    z, x = randn(seed, 4, 6), randn(seed + 1, 4, 3)
    for t in range(1, q.n_steps + 1):
        beta = q.beta[t]
        p = kernel.distribution(z, x, t)
        torch.testing.assert_close(p.mean, (1 - beta).sqrt() * x + beta.sqrt() * z[:, :3], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(p.var, torch.sigmoid(z[:, 3:] + beta.logit()), rtol=1e-9, atol=1e-12)


def test_a_zero_network_in_the_equation_misses_by_the_root() -> None:
    q = GaussianDiffusion(torch.tensor([0.19, 0.5], dtype=torch.float64))
    kernel = PaperKernel(q, NormalisedRBF(1, 2, 2), "equation").requires_grad_(False)
    p = kernel(torch.ones(1, 1, dtype=torch.float64), 1)
    assert isinstance(p, Gaussian)
    assert p.mean.item() == pytest.approx(0.81)  # sqrt(0.81) = 0.9 for the forward kernel
    assert p.var.item() == pytest.approx(0.19)


def test_the_variance_stays_below_one_whatever_the_network_says() -> None:
    q = GaussianDiffusion(geometric(4))
    kernel = PaperKernel(q, NormalisedRBF(1, 2, 4))
    p = kernel.distribution(torch.tensor([[0.0, 30.0], [0.0, -30.0]], dtype=torch.float64), torch.zeros(2, 1).double(), 2)
    assert ((p.var > 0) & (p.var < 1)).all()


def test_pictures_keep_their_shape() -> None:
    q = GaussianDiffusion(geometric(4))
    kernel = PaperKernel(q, ResidualMLP(4, 8, width=4, depth=1))
    assert kernel(torch.zeros(3, 2, 2), 2).sample().shape == (3, 2, 2)


def test_only_two_means() -> None:
    with pytest.raises(ValueError, match='mean must be "released" or "equation", got \'banana\''):
        PaperKernel(GaussianDiffusion(geometric(4)), ResidualMLP(1, 2), "banana")
