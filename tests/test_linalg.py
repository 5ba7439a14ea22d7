"""Factors of covariances: of those that rounding made singular, in any unit, and none of what is no covariance."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

import quasistatic as qs
from chance import check_mean
from little_tables import quick
from quasistatic.errors import InputError
from quasistatic.linalg import cholesky, inverse_root


def summed(n: int = 300, d: int = 56, seed: int = 0) -> Tensor:
    """Columns, half of which are sums of two others but for a rounding of the last digits, in many units."""
    draw = Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    for j in range(d // 2, d):
        x[:, j] = x[:, j - d // 2] + x[:, (j * 7) % (d // 2)] + 1e-9 * x[:, j]
    return x * 10.0 ** torch.randint(-6, 7, (d,), generator=draw)


def test_a_positive_definite_matrix_has_the_factor_of_torch() -> None:
    x = torch.randn(3, 9, 4, dtype=torch.float64, generator=Generator().manual_seed(0))
    cov = x.mT @ x
    assert torch.equal(cholesky(cov), torch.linalg.cholesky(cov))


@pytest.mark.parametrize("seed", range(3))
def test_the_factor_of_a_singular_covariance_is_one(seed: int) -> None:
    x = summed(seed=seed)
    cov = (x - x.mean(0)).T @ (x - x.mean(0)) / len(x)
    factor = cholesky(cov)
    scale = cov.diagonal().sqrt()
    assert ((factor @ factor.T - cov) / (scale * scale[:, None])).abs().max() < 1e-5
    w = inverse_root(cov)
    assert torch.isfinite(w).all()


def test_columns_of_variance_zero_keep_zeros() -> None:
    cov = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
    factor = cholesky(torch.stack([cov, torch.eye(3, dtype=torch.float64)]))
    torch.testing.assert_close(factor @ factor.mT, torch.stack([cov, torch.eye(3, dtype=torch.float64)]))


@pytest.mark.parametrize("wrong", [[[1.0, 2.0], [2.0, 1.0]], [[math.nan, 0.0], [0.0, 1.0]]])
def test_what_is_no_covariance_is_refused(wrong: list[list[float]]) -> None:
    for factor in (cholesky, inverse_root):
        with pytest.raises(InputError, match="covariance"):
            factor(torch.tensor(wrong, dtype=torch.float64))


def test_a_table_with_columns_that_are_sums_is_fitted() -> None:
    model = quick().fit(summed(240).numpy())
    assert np.isfinite(model.score_samples(summed(20).numpy())).all()


def test_entries_known_exactly_beside_a_linear_measurement() -> None:
    """A normal distribution conditioned in closed form: mean within the error of 4,000 particles, log evidence to 0.01."""
    draw = Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=draw, dtype=torch.float64) @ torch.randn(4, 4, generator=draw, dtype=torch.float64)
    q = qs.GaussianDiffusion(qs.schedules.geometric(20, log_snr_max=6.0, log_snr_min=-5.0))
    kernel = qs.GaussianDenoiser(q, qs.ResidualMLP(4, qs.GaussianDenoiser.n_outputs(4, "full"), width=8), 4, "full")
    model = qs.DiffusionModel(qs.Whiten.fit(x), q, kernel, (4,))
    a = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    known = qs.KnownEntries(torch.tensor([True, False, False, False]), torch.tensor([0.5, 0.0, 0.0, 0.0]))
    seen = qs.GaussianMeasurement(torch.tensor([1.0, 0.2]), std=0.3, operator=a)
    cov, mean = torch.cov(x.T, correction=0), x.mean(0)
    h = torch.cat([torch.eye(4, dtype=torch.float64)[:1], a.double()])
    noise = torch.diag(torch.tensor([0.0, 0.09, 0.09], dtype=torch.float64))
    y = torch.tensor([0.5, 1.0, 0.2], dtype=torch.float64)
    total = h @ cov @ h.T + noise
    exact = mean + cov @ h.T @ torch.linalg.solve(total, y - h @ mean)
    log_z = torch.distributions.MultivariateNormal(h @ mean, total).log_prob(y).item()
    for both in (known & seen, seen & known):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p = model.posterior(both, n_particles=4000, generator=Generator().manual_seed(1))
        assert abs(float(p.log_evidence) - log_z) < 0.01
        drawn = p.resample(4000, generator=Generator().manual_seed(2))
        check_mean(drawn.reshape(-1, 4)[:, 1:], exact[1:], false_alarm=1e-4)
        assert (drawn.reshape(-1, 4)[:, 0] - 0.5).abs().max() < 1e-6
