"""Draws follow their generator, not the device they are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from chance import check_frequencies, check_mean
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Masked, Mixture
from quasistatic.random import RowNoise, normal, uniform


def seeded() -> Generator:
    return Generator().manual_seed(0)


def test_on_the_cpu_the_draws_are_torchs_own() -> None:
    like = torch.empty(3, 2, dtype=torch.float64)
    assert torch.equal(normal(like, seeded()), torch.randn(3, 2, generator=seeded(), dtype=torch.float64))
    assert torch.equal(uniform((4,), seeded(), like=like), torch.rand(4, generator=seeded(), dtype=torch.float64))
    assert uniform((4,), seeded(), like=torch.empty(0), dtype=torch.float64).dtype == torch.float64


def test_without_a_generator_the_global_one_is_drawn_from() -> None:
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
def test_a_generator_on_the_cpu_gives_the_same_numbers_on_a_gpu() -> None:
    for here, there in zip(laws(torch.ones(64, 3)), laws(torch.ones(64, 3, device="cuda")), strict=True):
        assert torch.equal(there.sample(seeded()).cpu(), here.sample(seeded()))
    weights = torch.full((64, 2), 0.5).log()
    parts = Gaussian(torch.zeros(128, 2), torch.ones(128, 2))
    on_gpu = Mixture(weights.cuda(), Gaussian(parts.mean.cuda(), parts.var.cuda()))
    assert torch.equal(on_gpu.sample(seeded()).cpu(), Mixture(weights, parts).sample(seeded()))
    assert normal(torch.empty(3, device="cuda"), Generator("cuda").manual_seed(0)).device.type == "cuda"


def test_noise_of_rows_is_that_of_splitmix() -> None:
    # the first three numbers after seed 0, of the authors' own program
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    told = RowNoise([0]).numbers((1, 3))[0]
    assert told.tolist() == [((number >> 11) + 0.5) * 2.0**-53 for number in known]


def test_a_row_s_noise_is_its_own_and_goes_on() -> None:
    seeds = [3, -(2**62), 2**61 + 5]
    many = RowNoise(seeds)
    first, then = uniform((3, 4), many, like=torch.zeros(0)), normal(torch.zeros(3, 2), many)
    for k, seed in enumerate(seeds):
        alone = RowNoise([seed])
        assert torch.equal(uniform((1, 4), alone, like=torch.zeros(0))[0], first[k])
        assert torch.equal(normal(torch.zeros(1, 2), alone)[0], then[k])


def test_noise_of_rows_is_even_within_rows_and_across_them() -> None:
    seeds = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 400).tolist()
    u = RowNoise(seeds).numbers((400, 250))
    for cells in (u, u[:, :1], u[:1]):
        counts = torch.histc(cells, bins=20, min=0.0, max=1.0)
        check_frequencies(counts, torch.full((20,), 0.05, dtype=torch.float64))
    check_mean(torch.special.ndtri(u[:, 0]) * torch.special.ndtri(u[:, 1]), 0.0)
    check_mean(torch.special.ndtri(u[0, :-1]) * torch.special.ndtri(u[0, 1:]), 0.0)
