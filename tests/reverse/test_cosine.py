"""Cosines as principal components: the exact denoiser of a law that has them, and near it for images."""

from __future__ import annotations

import pytest
import torch

import pictures
from quasistatic.errors import InputError
from quasistatic.reverse.cosine import CosineBase, cosines
from quasistatic.reverse.wiener import WienerBase

SHAPE = (3, 4, 5)


@pytest.fixture
def base(generator):
    values = torch.rand(SHAPE, generator=generator, dtype=torch.float64) + 0.05
    colours, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return CosineBase(torch.randn(3, generator=generator, dtype=torch.float64), values, colours)


def as_wiener(base: CosineBase) -> WienerBase:
    """The same law by its d x d matrix of components."""
    vectors = torch.kron(base.colours.contiguous(), torch.kron(base.down, base.across).T.contiguous())
    mean = base.mean.expand(SHAPE).contiguous()
    return WienerBase(mean, base.values.flatten(), vectors)


def test_it_is_the_wiener_filter_of_its_components(base, generator):
    x = torch.randn(6, *SHAPE, generator=generator, dtype=torch.float64)
    log_snr = torch.linspace(-4.0, 8.0, 6, dtype=torch.float64)
    for ours, exact in zip(base(x, log_snr), as_wiener(base)(x, log_snr), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)


def test_a_fit_finds_the_law_that_its_examples_came_from(base, generator):
    n = 20_000
    coefficients = torch.randn(n, *SHAPE, generator=generator, dtype=torch.float64) * base.values.sqrt()
    x = torch.einsum("dc,bchw->bdhw", base.colours, base.down.T @ coefficients @ base.across) + base.mean
    found = CosineBase.fit(x, dtype=torch.float64)
    assert (found.mean - base.mean).abs().max() < 4.5 * (base.values.mean() / (n * 20)).sqrt() * 4
    y, log_snr = x[:50], torch.full((50,), 0.5)
    for ours, exact in zip(found(y, log_snr), base(y, log_snr), strict=True):
        # colours whose variances are close are found as mixtures, so the filters are compared and not the components
        assert (ours - exact).square().mean().sqrt() < 0.1


def test_for_smooth_pictures_it_is_near_the_principal_components():
    x = torch.as_tensor(pictures.smooth(3000, 1, 8, 0)).float() / 127.5 - 1.0
    noisy = 0.5**0.5 * (x + x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    log_snr = torch.full((3000,), -2.0 * x.std().log().item())
    a = log_snr.sigmoid()[:, None, None, None]
    noisy = a.sqrt() * x + (1 - a).sqrt() * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    errors = [(kind.fit(x)(noisy, log_snr)[0] - x).square().mean().item() for kind in (WienerBase, CosineBase)]
    assert errors[0] < errors[1] < 1.1 * errors[0]
    assert errors[1] < 0.6 * x.var().item()


def test_variances_must_be_positive_and_precision_is_kept(base):
    with pytest.raises(InputError, match="variances of the components must be positive, the least is 0"):
        CosineBase(torch.zeros(1), torch.zeros(1, 2, 2), torch.eye(1))
    assert base.half().values.dtype == torch.float64
    assert cosines(1).item() == pytest.approx(1.0)
