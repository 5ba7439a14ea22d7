"""Transforms: Jacobians, inverses and the change of variables, against autograd, grids and histograms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from quasistatic.transforms import Affine, Chain, Dequantise, HistogramGaussianizer, Transform, Whiten

SEEDS = st.integers(0, 2**31)


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def affine(seed: int, d: int) -> Affine:
    return Affine(draws(seed, d), draws(seed + 1, d).exp())


def whiten(seed: int, d: int) -> Whiten:
    # a random rotation and scales within e^-2 .. e^2, so that the inverse is well conditioned
    rotation = torch.linalg.qr(draws(seed, d, d))[0]
    return Whiten(draws(seed + 1, d), rotation @ torch.diag((4.0 * uniforms(seed + 2, d) - 2.0).exp()))


def histogram(seed: int, d: int, levels: int = 4) -> HistogramGaussianizer:
    mass = uniforms(seed, d, levels) + 0.05
    return HistogramGaussianizer(mass / mass.sum(1, keepdim=True))


def smooth(kind: str, seed: int, d: int) -> Transform:
    """Transforms that draw no noise; each maps at least the cube (0, 4)^d."""
    parts: dict[str, list[Transform]] = {
        "affine": [affine(seed, d)],
        "scalar": [Affine(torch.tensor(0.7), torch.tensor(2.5))],
        "whiten": [whiten(seed, d)],
        "histogram": [histogram(seed, d)],
        "chain": [histogram(seed, d), whiten(seed, d), affine(seed + 3, d)],
        "empty": [],
    }
    return Chain(*parts[kind])


KINDS = ("affine", "scalar", "whiten", "histogram", "chain", "empty")


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, d=st.integers(1, 4))
def test_log_det_is_that_of_the_jacobian_that_autograd_finds(kind, seed, d):
    transform = smooth(kind, seed, d)
    x = 4.0 * uniforms(seed + 7, 3, d) * 0.999 + 0.002
    log_det = transform(x)[1]
    assert log_det.shape == (3,)
    assert log_det.dtype == torch.float64
    for row, told in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: transform(y.unsqueeze(0))[0].squeeze(0), row)
        assert told.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, d=st.integers(1, 5))
def test_inverse_undoes_forward(kind, seed, d):
    transform = smooth(kind, seed, d)
    x = 4.0 * uniforms(seed + 7, 20, d) * 0.999 + 0.002
    # rounding of a distribution function near one is 1e-16 / density, so 1e-9 is generous
    torch.testing.assert_close(transform.inverse(transform(x)[0]), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, d=st.integers(1, 5))
def test_forward_undoes_inverse(kind, seed, d):
    transform = smooth(kind, seed, d)
    z = transform(4.0 * uniforms(seed + 7, 20, d) * 0.999 + 0.002)[0]
    torch.testing.assert_close(transform(transform.inverse(z))[0], z, rtol=1e-7, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, d=st.integers(1, 4), levels=st.integers(2, 9))
def test_a_normal_in_z_is_the_product_of_the_histograms_in_x(seed, d, levels):
    transform = histogram(seed, d, levels)
    x = levels * uniforms(seed + 1, 50, d)
    z, log_det = transform(x)
    log_normal = -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(1)
    expected = sum(transform.mass[i, x[:, i].long()].log() for i in range(d))
    torch.testing.assert_close(log_normal + log_det, expected, rtol=1e-9, atol=1e-9)


def test_a_density_changed_to_the_variables_of_a_histogram_integrates_to_one():
    # Midpoint rule on 300 x 200 cells that respect the levels: the density is constant in each, so this is
    # exact.
    transform = histogram(3, 2, levels=4)
    side = [(torch.arange(n, dtype=torch.float64) + 0.5) * 4 / n for n in (300, 200)]
    x = torch.cartesian_prod(*side)
    z, log_det = transform(x)
    density = (log_det - 0.5 * z.square().sum(1) - math.log(2.0 * math.pi)).exp()
    assert (density.sum() * 16 / len(x)).item() == pytest.approx(1.0, abs=1e-12)


def test_a_density_changed_to_other_variables_integrates_to_one():
    transform = Chain(whiten(0, 2), affine(5, 2))
    # The trapezoid rule on a smooth density that is nil at the edges errs by far less than 1e-9. It holds
    # the image of [-9, 9]^2 and so all but 1e-18 of the mass.
    corners = transform.inverse(torch.tensor([[-9.0, -9], [-9, 9], [9, -9], [9, 9]]))
    low, high = corners.min(0).values, corners.max(0).values
    side = [torch.linspace(low[i].item(), high[i].item(), 700, dtype=torch.float64) for i in (0, 1)]
    z, log_det = transform(torch.cartesian_prod(*side))
    density = (log_det - 0.5 * z.square().sum(1) - math.log(2.0 * math.pi)).exp()
    cell = (side[0][1] - side[0][0]) * (side[1][1] - side[1][0])
    assert (density.sum() * cell).item() == pytest.approx(1.0, abs=1e-9)


def test_log_dets_of_a_chain_add_and_its_parts_run_in_order():
    first, second = affine(0, 2), whiten(1, 2)
    x = draws(2, 5, 2)
    middle, one = first(x)
    z, two = second(middle)
    both, log_det = Chain(first, second)(x)
    torch.testing.assert_close(both, z)
    torch.testing.assert_close(log_det, one + two)
    torch.testing.assert_close(Chain(first, second).inverse(z), x)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, levels=st.integers(2, 256))
def test_dequantised_integers_come_back_as_they_were(seed, levels):
    x = torch.randint(levels, (30, 3), generator=Generator().manual_seed(seed))
    transform = Dequantise(levels)
    noisy, log_det = transform(x, Generator().manual_seed(seed))
    assert (noisy >= x).all()
    assert (noisy < x + 1).all()
    assert not log_det.any()
    assert torch.equal(transform.inverse(noisy), x.double())


def test_dequantised_integers_come_back_through_a_whole_chain():
    x = torch.randint(17, (4000, 6), generator=Generator().manual_seed(0))
    parts = [Dequantise(17), HistogramGaussianizer.fit(x, 17)]
    z, _ = Chain(*parts)(x, Generator().manual_seed(1))
    transform = Chain(*parts, Whiten.fit(z))
    z, _ = transform(x, Generator().manual_seed(2))
    # A draw within rounding (1e-11) of an integer could come back as the one below: of 24000, odds 3e-7.
    assert torch.equal(transform.inverse(z), x.double())


def test_noise_is_uniform_and_follows_the_generator():
    transform, n = Dequantise(3), 400_000
    x = torch.zeros(n // 40, 40)
    noise = transform(x, Generator().manual_seed(0))[0].flatten()
    assert torch.equal(noise, transform(x, Generator().manual_seed(0))[0].flatten())
    assert not torch.equal(noise, transform(x, Generator().manual_seed(1))[0].flatten())
    # Kolmogorov-Smirnov distance of n draws: above 2.23 / sqrt(n) with odds 2 exp(-2 * 2.23^2) = 1e-4.
    even = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    assert (noise.sort().values - even).abs().max() < 2.23 / math.sqrt(n)


def test_only_dequantisation_is_random_alone_or_in_a_chain():
    assert Chain(affine(0, 2), Chain(Dequantise(3))).random
    assert not Chain(affine(0, 2), whiten(0, 2), histogram(0, 2)).random
    assert not Chain().random


def test_inverse_of_any_real_is_a_level():
    transform = Chain(Dequantise(5), HistogramGaussianizer.fit(torch.arange(5).repeat(2, 1).T, 5))
    far = torch.tensor([[-40.0, 40.0], [-9.0, 9.0], [0.0, 0.0]])
    assert transform.inverse(far).tolist() == [[0.0, 4.0], [0.0, 4.0], [2.0, 2.0]]


def test_whiten_fit_makes_rows_white():
    x = draws(0, 500, 3) @ draws(1, 3, 3) + 5.0
    z, _ = Whiten.fit(x, ridge=0.0)(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(3).double(), atol=1e-10, rtol=0)


def test_histogram_fit_counts_with_a_prior():
    x = torch.tensor([[0, 2], [0, 1], [1, 1]])
    mass = HistogramGaussianizer.fit(x, levels=3, prior=0.5).mass
    expected = torch.tensor([[2.5, 1.5, 0.5], [0.5, 2.5, 1.5]], dtype=torch.float64) / 4.5
    torch.testing.assert_close(mass, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_stay_in_float64_whatever_the_module_is_cast_to(kind):
    x = 4.0 * uniforms(1, 10, 3) * 0.999 + 0.002
    z, log_det = smooth(kind, 0, 3)(x)
    inside = smooth(kind, 0, 3)
    torch.nn.ModuleList([inside]).to(torch.bfloat16)
    for cast in (smooth(kind, 0, 3).to(torch.float32), smooth(kind, 0, 3).half(), inside):
        assert all(b.dtype == torch.float64 for b in cast.buffers())
        again, log_det_again = cast(x)
        assert torch.equal(again, z)
        assert torch.equal(log_det_again, log_det)
        assert cast.inverse(z.float()).dtype == torch.float64


def test_the_identity_is_a_transform():
    x = draws(0, 4, 2)
    z, log_det = Transform()(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0] * 4
    assert torch.equal(Transform().inverse(z), x)
