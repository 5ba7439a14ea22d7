"""Draws follow their generator, not the device they are for."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Masked, Mixture
from quasistatic.noise import normal, uniform


def seeded() -> Generator:
    return Generator().manual_seed(0)


def test_on_the_cpu_the_draws_are_torchs_own():
    like = torch.empty(3, 2, dtype=torch.float64)
    assert torch.equal(normal(like, seeded()), torch.randn(3, 2, generator=seeded(), dtype=torch.float64))
    assert torch.equal(uniform((4,), seeded(), like=like), torch.rand(4, generator=seeded(), dtype=torch.float64))
    assert uniform((4,), seeded(), like=torch.empty(0), dtype=torch.float64).dtype == torch.float64


def test_without_a_generator_the_global_one_is_drawn_from():
    like = torch.empty(5)
    for strided in (like, torch.empty(10)[::2]):
        torch.manual_seed(3)
        drawn = normal(strided, None)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.randn(5))
    torch.manual_seed(3)
    drawn = uniform((5,), None, like=like)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(5))


def laws(like: Tensor) -> list[Distribution]:
    """One law of each family, as far as tensors without numbers can tell."""
    half = torch.full_like(like, 0.5)
    log_probs = half.log().unsqueeze(-1).expand(*like.shape, 2)
    masked = Masked(like, 2, half, half)
    return [Gaussian(like, half), Bernoulli(half), Categorical(log_probs), masked]


@pytest.mark.parametrize("family", range(4))
def test_a_generator_on_the_cpu_serves_tensors_on_another_device(family):
    # the meta device stands for a GPU: it has shapes and no numbers, so what is drawn on it leaves the generator alone
    here, there = (laws(torch.zeros(3, 2, device=device))[family] for device in ("cpu", "meta"))
    a, b = seeded(), seeded()
    x = there.sample(a)
    here.sample(b)
    assert x.device.type == "meta"
    assert torch.equal(a.get_state(), b.get_state())
    assert not torch.equal(a.get_state(), seeded().get_state())


@pytest.mark.gpu
def test_a_generator_on_the_cpu_gives_the_same_numbers_on_a_gpu():
    for here, there in zip(laws(torch.ones(64, 3)), laws(torch.ones(64, 3, device="cuda")), strict=True):
        assert torch.equal(there.sample(seeded()).cpu(), here.sample(seeded()))
    weights = torch.full((64, 2), 0.5).log()
    parts = Gaussian(torch.zeros(128, 2), torch.ones(128, 2))
    on_gpu = Mixture(weights.cuda(), Gaussian(parts.mean.cuda(), parts.var.cuda()))
    assert torch.equal(on_gpu.sample(seeded()).cpu(), Mixture(weights, parts).sample(seeded()))
    assert normal(torch.empty(3, device="cuda"), Generator("cuda").manual_seed(0)).device.type == "cuda"
