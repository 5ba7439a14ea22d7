"""The training loss, against the bound that it estimates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import BernoulliDenoiser, GaussianDenoiser, ReverseKernel
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.train.objective import Batch, Objective, draw_batch

N_STEPS = 6


def gaussian(covariance: str = "diagonal", m: int = 1, n_steps: int = N_STEPS) -> tuple[ForwardProcess, ReverseKernel]:
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(n_steps, 3.0, -3.0) if n_steps > 1 else torch.tensor([0.9]))
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, covariance, m), width=8, depth=1)
    return process, moved(GaussianDenoiser(process, network, 2, covariance, m))


def binomial(m: int = 1) -> tuple[ForwardProcess, ReverseKernel]:
    torch.manual_seed(0)
    process = BernoulliDiffusion(constant_erasure(N_STEPS), 0.4)
    network = ResidualMLP(2, BernoulliDenoiser.n_outputs(2, m), width=8, depth=1)
    return process, moved(BernoulliDenoiser(process, network, torch.tensor([0.3, 0.6]), m))


def moved(kernel: Any) -> ReverseKernel:
    """Away from the zero network, so that each step costs something else."""
    nn.init.normal_(kernel.network.last.weight, std=0.4)
    nn.init.normal_(kernel.network.last.bias, std=0.4)
    return kernel


FAMILIES = {
    "diagonal": gaussian,
    "full": lambda: gaussian("full"),
    "mixture of normals": lambda: gaussian("full", 3),
    "bits": binomial,
    "mixture of bits": lambda: binomial(3),
    "one step": lambda: gaussian(n_steps=1),
}


def data(process: ForwardProcess, n: int, generator: Generator) -> Tensor:
    x = torch.randn(n, 2, generator=generator)
    return (x > 0.3).float() if isinstance(process, BernoulliDiffusion) else 0.5 * x + 0.3


def uneven(n_steps: int) -> TimestepSampler:
    """A sampler that has seen losses, so that its probabilities differ by a factor of some ten."""
    sampler = TimestepSampler(n_steps)
    t = torch.arange(2, n_steps + 1)
    sampler.record(t, 2.0 ** t.float())
    assert sampler.p.max() > 5 * sampler.p.min()
    return sampler


@pytest.mark.parametrize("n_first", [20, 40, 80])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_loss_is_minus_the_bound_less_its_constant_in_the_mean(family, n_first):
    process, kernel = FAMILIES[family]()
    draw_previous = kernel.n_components > 1
    sampler = uneven(N_STEPS) if process.n_steps > 1 else None
    n_first = n_first if sampler is not None else 128
    objective, generator = Objective(kernel), Generator().manual_seed(1)
    with torch.no_grad():
        losses = []
        for _ in range(500):
            x_0 = data(process, 128, generator)
            losses.append(objective(draw_batch(process, x_0, sampler, n_first, generator, draw_previous=draw_previous))[0])
        loss = torch.stack(losses).double()
        bound = elbo(process, kernel, data(process, 10000, generator), generator=generator)
    expected = -(bound.transitions.sum(1) + bound.data).double()
    error = math.sqrt(loss.var().item() / len(loss) + expected.var().item() / len(expected))
    # Two-sided at 4.5 standard errors: false alarm 7e-6 for each of the 16 cases, for another seed.
    assert abs(loss.mean() - expected.mean()) < 4.5 * error
    # and sharp enough to notice T transitions taken for T - 1 (a fifth more)
    assert 4.5 * error < 0.2 * bound.transitions.sum(1).mean().abs() or process.n_steps == 1


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_each_row_says_what_it_has_lost(family):
    process, kernel = FAMILIES[family]()
    draw_previous = kernel.n_components > 1
    sampler = uneven(N_STEPS) if process.n_steps > 1 else None
    generator = Generator().manual_seed(2)
    x_0 = data(process, 20, generator)
    batch = draw_batch(process, x_0, sampler, 5 if sampler else 20, generator, draw_previous=draw_previous)
    loss, each = Objective(kernel)(batch)
    assert not each.requires_grad
    assert loss.item() == pytest.approx((each * batch.weight).sum().item(), rel=1e-6)
    for i in range(20):  # rows do not talk to each other
        x_prev = None if batch.x_prev is None else batch.x_prev[i : i + 1]
        x_0, x_t, t, weight = (v[i : i + 1] for v in (batch.x_0, batch.x_t, batch.t, batch.weight))
        one = Batch(x_0, x_t, t, weight, x_prev, int(i < batch.n_first))
        alone = Objective(kernel)(one)[1]
        torch.testing.assert_close(alone, each[i : i + 1], rtol=1e-4, atol=1e-5)


def test_scored_at_a_draw_a_step_costs_its_kl_in_the_mean():
    process = GaussianDiffusion(geometric(N_STEPS, 3.0, -3.0))
    kernel = GaussianDenoiser(process, ResidualMLP(2, 4, 8, depth=1), 2)
    generator = Generator().manual_seed(0)
    x_0 = torch.randn(20000, 2, generator=generator, dtype=torch.float64)
    batch = draw_batch(process, x_0, TimestepSampler(N_STEPS), 100, generator, draw_previous=True)
    with torch.no_grad():
        each = Objective(kernel)(batch)[1]
    ratio = each[100:]  # log q - log p at draws of q
    t = batch.t[100:]
    q, p = process.posterior(x_0[100:], batch.x_t[100:], t), kernel(batch.x_t[100:], t)
    expected = q.kl(p[:]).detach()
    spread = (ratio - expected).std().item() / math.sqrt(len(ratio))
    # two-sided at 4.5 standard errors, false alarm 7e-6
    assert abs((ratio - expected).mean().item()) < 4.5 * spread


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_mean_over_processes_is_the_loss_and_the_gradient_of_the_whole_batch(family, world):
    process, kernel = FAMILIES[family]()
    sampler = uneven(N_STEPS) if process.n_steps > 1 else None
    generator = Generator().manual_seed(2)
    draw_previous = kernel.n_components > 1
    x_0 = data(process, 30, generator)
    # fewer first rows than processes, so that some have none
    whole = draw_batch(process, x_0, sampler, 2 if sampler else 30, generator, draw_previous=draw_previous)
    objective = Objective(kernel)

    def gradient(loss: Tensor) -> list[Tensor]:
        kernel.zero_grad()
        loss.backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in kernel.parameters()]

    loss, each = objective(whole)
    parts = [objective(whole.rows(rank, world)) for rank in range(world)]
    mean = torch.stack([part for part, _ in parts]).mean()
    torch.testing.assert_close(mean, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.stack([e for _, e in parts], 1).flatten(), each, rtol=1e-4, atol=1e-5)
    for a, b in zip(gradient(mean), gradient(loss), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_batch_gives_each_row_its_step():
    process, _ = gaussian()
    x_0 = torch.zeros(50, 2)
    batch = draw_batch(process, x_0, TimestepSampler(N_STEPS), 7, Generator().manual_seed(0), draw_previous=True)
    assert batch.t[:7].tolist() == [1] * 7
    assert batch.t[7:].min() >= 2
    assert batch.t.max() <= N_STEPS
    assert batch.weight[:7].tolist() == pytest.approx([1 / 7] * 7)
    # uniform at first: 1 / p = T - 1 each, shared among 43 rows
    assert batch.weight[7:].tolist() == pytest.approx([(N_STEPS - 1) / 43] * 43)
    assert batch.weight.dtype == x_0.dtype
    assert batch.x_prev is not None


def test_with_a_fixed_first_step_no_row_is_at_it():
    process, kernel = gaussian()
    x_0 = torch.zeros(50, 2)
    batch = draw_batch(process, x_0, TimestepSampler(N_STEPS), 0, Generator().manual_seed(0), draw_previous=False)
    assert batch.t.min() >= 2
    assert batch.weight.sum().item() == pytest.approx(N_STEPS - 1)
    assert math.isfinite(Objective(kernel)(batch)[0].item())


def test_under_autocast_the_loss_is_still_summed_in_full_precision():
    process, kernel = gaussian()
    x_0 = data(process, 512, Generator().manual_seed(0))
    batch = draw_batch(process, x_0, TimestepSampler(N_STEPS), 12, Generator().manual_seed(1), draw_previous=False)
    with torch.autocast("cpu", torch.bfloat16):
        loss, each = Objective(kernel)(batch)
    assert loss.dtype == torch.float32
    # bfloat16 keeps 8 bits; a product taken in it would be off by up to 4e-3
    assert loss.item() == pytest.approx((each.double() * batch.weight.double()).sum().item(), rel=1e-6)
