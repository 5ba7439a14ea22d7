"""The Gaussian mixture that others are set beside: normalised in data units, and chosen by validation alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from chance import check_mean
from quasistatic.baselines import GaussianMixtureBaseline
from quasistatic.errors import InputError
from quasistatic.transforms import Affine, Chain, Dequantise

HALVES = Chain(Affine(torch.tensor([3.0, -1.0]), torch.tensor([0.5, 4.0])))


def clusters(n: int, seed: int) -> Tensor:
    """Two round clusters of deviation 1/2 at (-2, 0) and (2, 0), (n, 2)."""
    generator = Generator().manual_seed(seed)
    side = 4.0 * torch.randint(2, (n, 1), generator=generator).double() - 2.0
    noise = 0.5 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.cat([side, torch.zeros_like(side)], 1) + noise


def test_the_density_integrates_to_one_in_data_units():
    fitted = GaussianMixtureBaseline.fit(HALVES, clusters(400, 0), clusters(200, 1), sizes=(2,), regularisation=(1e-3,))
    side = torch.linspace(-8.0, 8.0, 321, dtype=torch.float64)
    density = fitted.log_prob(torch.cartesian_prod(side, side)).exp()
    assert density.sum().item() * (16.0 / 320) ** 2 == pytest.approx(1.0, abs=1e-6)


def test_it_knows_the_law_it_was_fitted_to():
    fitted = GaussianMixtureBaseline.fit(Chain(), clusters(20_000, 0), clusters(2000, 1), sizes=(2,))
    x = clusters(4000, 2)
    far = (x[:, :1] - torch.tensor([[-2.0, 2.0]])).square() + x[:, 1:].square()
    true = torch.logsumexp(-2.0 * far, 1) - math.log(2.0) - math.log(2.0 * math.pi * 0.25)
    # what a fit to n rows loses is about parameters / 2 n = 3e-4 nats, and the ridge of 0.01 about 1e-3
    check_mean(true - fitted.log_prob(x), 1.2e-3, resolves=0.01)


def test_validation_rows_choose_and_training_rows_do_not():
    one = torch.randn(2000, 2, generator=Generator().manual_seed(3), dtype=torch.float64)
    sizes, ridges = (1, 2, 20), (1e-3,)
    for validation, chosen in ((clusters(500, 4), "2"), (one, "1")):
        train = clusters(60, 5) if chosen == "2" else one[:60]
        fitted = GaussianMixtureBaseline.fit(Chain(), train, validation, sizes=sizes, regularisation=ridges)
        assert fitted.choice.split()[0] == chosen
        scores = [
            GaussianMixtureBaseline.fit(Chain(), train, validation, sizes=(k,), regularisation=ridges)
            .log_prob(validation)
            .mean()
            for k in sizes
        ]
        assert fitted.log_prob(validation).mean() == max(scores)


def test_dequantised_integers_are_scored_at_noisy_values():
    x = torch.randint(4, (3000, 1), generator=Generator().manual_seed(6)).double()
    fitted = GaussianMixtureBaseline.fit(Chain(Dequantise(4)), x[:2000], x[2000:], sizes=(1, 8))
    draws = torch.stack([fitted.log_prob(x[:500], generator=Generator().manual_seed(k)) for k in range(3)])
    assert (draws.std(0) > 0).all()
    # a density of the noisy values is a bound of the mass: it cannot pass -log 4, and a mixture comes near
    assert -math.log(4.0) - 0.25 < draws.mean().item() < -math.log(4.0) + 0.02


@pytest.mark.parametrize(("sizes", "rows"), [((50,), 10), ((1,), 0)])
def test_too_few_rows_are_one_sentence(sizes, rows):
    with pytest.raises(InputError, match="a mixture needs a size of at most 20, its training rows, and validation rows"):
        GaussianMixtureBaseline.fit(Chain(), clusters(20, 0), clusters(max(rows, 1), 1)[:rows], sizes=sizes)
