"""The denoiser of bits: a zero network is independent bits, and any answer goes through the forward posterior."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Generator, Tensor

from oracles import all_bits, law_table, model_log_prob, roughen
from quasistatic.distributions import Bernoulli, Mixture
from quasistatic.forward import BernoulliDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.networks import PerStepMLP, ResidualMLP
from quasistatic.reverse import BernoulliDenoiser
from quasistatic.schedules import constant_erasure
from strategies import binomial_diffusions, seeds

RATE = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


def make(q: BernoulliDiffusion, m: int = 1, rough: bool = False, rate: Tensor = RATE) -> BernoulliDenoiser:
    d = rate.numel()
    network = ResidualMLP(d, BernoulliDenoiser.n_outputs(d, m), width=8, depth=1)
    kernel = BernoulliDenoiser(q, roughen(network) if rough else network, rate, m)
    return kernel.double().requires_grad_(False)


def independent(x: Tensor, rate: Tensor = RATE) -> Tensor:
    return (x * rate.log() + (1 - x) * (1 - rate).log()).flatten(1).sum(1)


@pytest.mark.parametrize("n_steps", [1, 2, 10, 300])
@pytest.mark.parametrize("rho", [0.5, 0.2, torch.tensor([0.3, 0.6, 0.1])])
def test_a_zero_network_is_independent_bits_for_every_number_of_steps(n_steps: int, rho: float | Tensor) -> None:
    # total erasure: exactly, per example and path
    beta = constant_erasure(n_steps) if n_steps > 1 else torch.ones(1)
    q, x = BernoulliDiffusion(beta, rho), all_bits(3)
    total = elbo(q, make(q), x, method="trajectory").total
    torch.testing.assert_close(total, independent(x), rtol=0, atol=1e-9)


@given(q=binomial_diffusions(event=(3,), max_steps=5), seed=seeds)
def test_and_for_every_schedule_if_the_noise_has_the_rate_of_the_data(q: BernoulliDiffusion, seed: int) -> None:
    # then q(x_T) is pi however little is erased, and the chain is exact
    x, rate = all_bits(3), q.rho.expand(3).contiguous()
    generator = Generator().manual_seed(seed)
    total = elbo(q, make(q, rate=rate), x, generator=generator, method="trajectory").total
    torch.testing.assert_close(total, independent(x, rate), rtol=0, atol=1e-8)


@given(q=binomial_diffusions(event=(3,), max_steps=4))
def test_a_zero_network_is_the_true_reversal_of_independent_bits(q: BernoulliDiffusion) -> None:
    # q(x_{t-1} = 1 | x_t) = q(x_t | 1) P(x_{t-1} = 1) / q(x_t), bit by bit
    kernel, states = make(q), all_bits(3)
    for t in range(1, q.n_steps + 1):
        before = q.alpha_bar[t - 1] * RATE + (1 - q.alpha_bar[t - 1]) * q.rho
        one = q.step(torch.ones_like(states), t).probs
        zero = q.step(torch.zeros_like(states), t).probs
        up = torch.where(states > 0, one, 1 - one) * before
        down = torch.where(states > 0, zero, 1 - zero) * (1 - before)
        p = kernel(states, t)
        assert isinstance(p, Bernoulli)
        torch.testing.assert_close(p.probs, up / (up + down), rtol=1e-8, atol=1e-10)


def test_pictures_of_bits() -> None:
    q = BernoulliDiffusion(constant_erasure(4), 0.5)
    rate = torch.tensor([[0.2, 0.4], [0.6, 0.8]], dtype=torch.float64)
    x = all_bits(4).view(16, 2, 2)
    for m in (1, 2):
        p = make(q, m, rate=rate)(x, 2)
        assert p.sample().shape == (16, 2, 2)
    total = elbo(q, make(q, rate=rate), x, method="trajectory").total
    torch.testing.assert_close(total, independent(x, rate), rtol=0, atol=1e-9)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("t", [1, 2, 5])
def test_the_law_of_x_0_is_sent_through_the_posterior(m: int, t: int) -> None:
    # p(x_{t-1} | x_t) = sum over components and all 8 states x_0 of p(x_0 | x_t) q(x_{t-1} | x_t, x_0)
    q, states = BernoulliDiffusion(constant_erasure(5), torch.tensor([0.3, 0.6, 0.1])), all_bits(3)
    kernel = make(q, m, rough=True)
    out = kernel.evaluate_network(states, t)
    known = RATE.logit() + q.log_likelihood_ratio(states, t)
    if m == 1:
        weights = torch.ones(8, 1, dtype=torch.float64)
        logits = (known + q.log_ratio_difference(states, t) * out).unsqueeze(1)
    else:
        weights = torch.softmax(out[:, -m:], 1)
        logits = known.unsqueeze(1) + kernel.sharpness * (out[:, :-m].view(8, m, 3) + kernel.start)
    p_0 = sum(
        (weights[:, k : k + 1] * law_table(Bernoulli(torch.sigmoid(logits[:, k])), 8, states) for k in range(m)),
        torch.zeros(8, 8, dtype=torch.float64),
    )
    expected = torch.zeros(8, 8, dtype=torch.float64)
    for k in range(8):
        x_0 = states[k].expand(8, 3)
        expected += p_0[:, k : k + 1] * law_table(q.posterior(x_0, states, t), 8, states)
    torch.testing.assert_close(law_table(kernel(states, t), 8, states), expected, rtol=1e-7, atol=1e-10)


def test_the_first_step_back_is_the_prediction_itself() -> None:
    q, states = BernoulliDiffusion(constant_erasure(5), 0.4), all_bits(3)
    kernel = make(q, rough=True)
    p = kernel(states, 1)
    assert isinstance(p, Bernoulli)
    known = RATE.logit() + q.log_likelihood_ratio(states, 1)
    torch.testing.assert_close(
        p.probs, torch.sigmoid(known + q.log_ratio_difference(states, 1) * kernel.evaluate_network(states, 1))
    )


def test_a_sure_prediction_keeps_its_digits_and_its_gradient() -> None:
    # float32: 1 - sigmoid(40) is zero, but a zero of such a bit must still cost about 40 nats, with slope one
    q = BernoulliDiffusion(torch.tensor([0.5]), 0.5)
    kernel = BernoulliDenoiser(q, PerStepMLP(1, 1, 1), torch.tensor([0.5]))
    one_bit, own = float(q.log_ratio_difference(torch.zeros(1, 1), 1)), q.log_likelihood_ratio(torch.zeros(1, 1), 1)
    out = torch.full((1, 1), 18.0, requires_grad=True)
    log_p = kernel.distribution(out, torch.zeros(1, 1), 1).log_prob(torch.zeros(1, 1))
    assert log_p.item() == pytest.approx(-(18.0 * one_bit + own.item()), rel=1e-6)
    log_p.backward()
    assert out.grad is not None
    assert out.grad.item() == pytest.approx(-one_bit)


def test_a_mixture_has_its_components_apart_and_its_model_is_no_product() -> None:
    q, states = BernoulliDiffusion(constant_erasure(3), 0.5), all_bits(3)
    kernel = make(q, 4)
    p = kernel(states, 3)
    assert isinstance(p, Mixture)
    assert isinstance(p.components, Bernoulli)
    assert torch.pdist(p.components.probs[:4]).min().item() > 1e-3
    law = model_log_prob(q, kernel, states).exp()
    margins = law @ states
    assert (law.log() - independent(states, margins)).abs().max().item() > 0.05


@pytest.mark.parametrize(("d", "m", "n"), [(3, 1, 3), (3, 4, 16), (20, 8, 168)])
def test_how_many_outputs_a_network_needs(d: int, m: int, n: int) -> None:
    assert BernoulliDenoiser.n_outputs(d, m) == n
