"""8-bit data as a mass and as a density: two units for one likelihood, held to each other on exact models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from quasistatic.errors import InputError
from quasistatic.estimate import unit_divisor
from quasistatic.transforms import Affine, Chain, Dequantise, Levels, bits_per_dim_from_k

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, levels=st.integers(2, 300))
def test_levels_are_an_even_grid_from_minus_one_to_one_that_comes_back(seed, levels):
    k = torch.arange(levels).view(1, -1)
    z, log_det = Levels(levels)(k)
    assert z[0, 0] == -1
    assert z[0, -1] == 1
    torch.testing.assert_close(z.diff(), torch.full((1, levels - 1), 2.0 / (levels - 1), dtype=torch.float64))
    assert log_det.tolist() == [0.0]
    # anywhere inside its cell a value belongs to its level, and beyond the ends to the last one
    off = torch.rand(z.shape, generator=Generator().manual_seed(seed), dtype=torch.float64) * 1.98 - 0.99
    assert torch.equal(Levels(levels).inverse(z + off / (levels - 1)), k.double())
    assert Levels(levels).inverse(torch.tensor([[-7.0, 7.0]])).tolist() == [[0.0, levels - 1.0]]


def test_levels_are_told_from_anything_else():
    for x in (torch.tensor([[0.5]]), torch.tensor([[-1.0]]), torch.tensor([[256.0]]), torch.tensor([[math.nan]])):
        with pytest.raises(InputError, match="every entry must be an integer from 0 to 255"):
            Levels(256)(x)
    with pytest.raises(InputError, match="levels must be at least 2, got 1"):
        Levels(1)


@pytest.mark.parametrize("dequantised", [False, True])
def test_a_fitted_scalar_makes_the_data_of_unit_variance(dequantised):
    x = torch.randint(256, (9000, 2, 3), generator=Generator().manual_seed(0), dtype=torch.uint8)
    affine = Affine.fit_scalar(x, dequantised=dequantised)
    if not dequantised:
        z, log_det = affine(x)
        assert z.mean().item() == pytest.approx(0.0, abs=1e-12)
        assert z.var(correction=0).item() == pytest.approx(1.0, abs=1e-12)
        assert log_det[0].item() == pytest.approx(-6 * affine.scale.log().item())
    else:
        # 16 points midway in the cell of each integer stand for its noise; they lack 1 / 12 / 16^2 of its variance
        u = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
        z = (x.double().unsqueeze(-1) + u - affine.shift) / affine.scale
        assert z.mean().item() == pytest.approx(0.0, abs=1e-12)
        lack = 1 / 12 / 256 / affine.scale.item() ** 2
        assert z.var(correction=0).item() == pytest.approx(1.0 - lack, abs=1e-10)


def test_constant_data_can_be_scaled_only_with_noise_to_come():
    x = torch.full((4, 2), 7)
    with pytest.raises(InputError, match=r"data of variance 0\.0 cannot be scaled"):
        Affine.fit_scalar(x)
    assert Affine.fit_scalar(x, dequantised=True).scale.item() == pytest.approx(12**-0.5)


def test_uniform_bytes_cost_eight_bits_per_dim_in_both_senses(generator):
    channels = 3
    x = torch.randint(256, (50, channels, 4, 4), generator=generator, dtype=torch.uint8)
    fitted = Affine.fit_scalar(x, dequantised=True)
    z, log_det = Chain(Dequantise(256), fitted)(x, generator)
    log_p = torch.full((len(x),), -x[0].numel() * math.log(256.0), dtype=torch.float64)  # density of x + u
    log_p_z = log_p - log_det
    k = (log_p_z / unit_divisor("bits_per_pixel", tuple(x.shape[1:]))).mean().item()
    assert bits_per_dim_from_k(k, fitted.scale.item(), channels) == pytest.approx(8.0, abs=1e-12)
    assert z.isfinite().all()


def test_bits_per_dim_from_k_is_minus_the_density_of_dequantised_data_and_bounds_the_mass(generator):
    # One pixel of one channel, three levels. A density in z: a normal. Its mass of a level is the integral over the cell.
    mean, sd = 1.2, 0.9
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), 1.0)
    x = torch.randint(3, (200_000, 1), generator=generator)
    chain = Chain(Dequantise(3), Affine(torch.tensor(mean), torch.tensor(sd)))
    z, log_det = chain(x, generator)
    k = normal.log_prob(z).squeeze(1) / math.log(2.0)
    edges = (torch.arange(4).double() - mean) / sd
    mass = normal.cdf(edges).diff()
    told = math.log2(sd) - k  # bits/dim of each example
    torch.testing.assert_close(told, -(normal.log_prob(z).squeeze(1) + log_det) / math.log(2.0))
    assert bits_per_dim_from_k(k.mean().item(), sd) == pytest.approx(told.mean().item(), abs=1e-12)
    for level in range(3):  # Jensen, level by level, and not loose by more than this density is curved
        here, exact = told[x.squeeze(1) == level].mean().item(), -mass[level].log2().item()
        assert exact < here < exact + 0.2


def test_the_conversion_needs_a_scale():
    for sd, channels in ((0.0, 1), (-1.0, 1), (math.nan, 1), (1.0, 0)):
        with pytest.raises(InputError, match="sd must be above 0 and channels at least 1"):
            bits_per_dim_from_k(1.0, sd, channels)
