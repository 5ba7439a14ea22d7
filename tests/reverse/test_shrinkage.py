"""Covariances of few pictures are shrunk until they hold for pictures left out, and of many are left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

import pictures
from quasistatic.errors import InputError
from quasistatic.reverse.cosine import dense_covariance, spectrum
from quasistatic.reverse.shrinkage import ImageShrinkage, fit_shrunk
from quasistatic.reverse.wiener import WienerBase

LEAST = (2.0 / 255.0) ** 2 / 12.0


def smooth(n: int, seed: int) -> Tensor:
    return torch.as_tensor(pictures.smooth(n, 1, 8, seed)).float() / 127.5 - 1.0


def with_margin(n: int, seed: int) -> Tensor:
    """Pictures whose outer pixels are black, but for one in a hundred pictures."""
    x = smooth(n, seed)
    rare = torch.rand(n, generator=Generator().manual_seed(seed)) < 0.01
    margin = torch.ones(8, 8, dtype=torch.bool)
    margin[2:6, 2:6] = False
    return torch.where(margin & ~rare.view(-1, 1, 1, 1), -1.0, x)


def log_density(base: WienerBase, x: Tensor) -> float:
    """Mean log density of pictures under the base's Gaussian, nats."""
    values, vectors = base.values.double(), base.vectors.double()
    white = ((x - base.mean).flatten(1).double() @ vectors).square() / values
    return -0.5 * (white.sum(1).mean() + values.log().sum() + len(values) * math.log(2 * math.pi)).item()


def test_of_many_pictures_the_sample_covariance_is_kept() -> None:
    x = smooth(6000, 0)
    base, shrinkage = fit_shrunk(x, LEAST)
    assert shrinkage.smooth + shrinkage.white < 0.02
    plain = WienerBase.fit(x)
    assert abs(log_density(base, smooth(500, 1)) - log_density(plain, smooth(500, 1))) < 0.1  # of 64 pixels, nats


def test_few_pictures_hold_for_others() -> None:
    x, others = smooth(50, 0), smooth(500, 1)
    base, shrinkage = fit_shrunk(x, LEAST)
    assert shrinkage.smooth > 0.1
    truth = log_density(WienerBase.fit(smooth(6000, 2)), others)
    assert log_density(base, others) > truth - 12.0
    assert log_density(WienerBase.fit(x), others) < truth - 1000.0


def test_pixels_that_never_changed_are_left_room() -> None:
    x, others = with_margin(60, 0), with_margin(500, 1)
    base, _ = fit_shrunk(x, LEAST)
    assert log_density(base, others) > 0.0
    assert log_density(WienerBase.fit(x), others) < -10_000.0


def test_the_covariance_is_the_mixture_that_the_formula_says() -> None:
    x = smooth(80, 3)
    base, (s, w) = fit_shrunk(x, LEAST)
    off = (x.double() - x.double().mean(0)).flatten(1)
    sample = off.T @ off / len(x)
    cosine = dense_covariance(*spectrum(x, x.double().mean(0)))
    torch.testing.assert_close(cosine.trace(), sample.trace())
    mixed = (1 - w) * ((1 - s) * sample + s * cosine) + w * sample.diagonal().mean() * torch.eye(64)
    back = (base.vectors * base.values) @ base.vectors.T
    assert base.values.min() >= LEAST
    torch.testing.assert_close(back.double(), mixed, rtol=0, atol=1e-5)
    torch.testing.assert_close(base.mean, x.mean(0))


def test_pictures_that_are_all_alike_have_the_least_variance() -> None:
    base, _ = fit_shrunk(torch.full((5, 1, 4, 4), 0.25), LEAST)
    torch.testing.assert_close(base.values, torch.full((16,), LEAST))
    base, shrinkage = fit_shrunk(smooth(2, 0), LEAST)
    assert isinstance(shrinkage, ImageShrinkage)
    assert (base.values >= LEAST).all()
    with pytest.raises(InputError, match="needs at least 2 images, got 1"):
        fit_shrunk(smooth(1, 0), LEAST)
