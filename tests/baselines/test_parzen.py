"""Parzen windows: a normalised density, the same as by brute force, with the deviation that data asks for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gaussian_kde, multivariate_normal, norm
from torch import Generator, Tensor

from chance import check_mean
from quasistatic.baselines import choose_sd, parzen, parzen_log_prob
from quasistatic.errors import InputError


def normal(n: int, *event: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *event, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_the_density_integrates_to_one_on_a_line() -> None:
    grid = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64)
    density = parzen_log_prob(normal(7, 1), grid.unsqueeze(1), sd=0.3).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-12)


def test_the_density_integrates_to_one_on_a_plane() -> None:
    axis = torch.linspace(-9.0, 9.0, 301, dtype=torch.float64)
    density = parzen_log_prob(normal(5, 2), torch.cartesian_prod(axis, axis), sd=0.5).exp().view(301, 301)
    assert torch.trapezoid(torch.trapezoid(density, axis), axis).item() == pytest.approx(1.0, abs=1e-12)


@given(d=st.integers(1, 5), m=st.integers(1, 9), sd=st.floats(0.05, 3.0), seed=st.integers(0, 99))
def test_it_is_the_mean_of_normal_densities(d: int, m: int, sd: float, seed: int) -> None:
    samples, x = normal(m, d, seed=seed), normal(4, d, seed=seed + 1000)
    each = [np.atleast_1d(multivariate_normal(s, sd**2 * np.eye(d)).logpdf(x.numpy())) for s in samples.numpy()]
    expected = np.logaddexp.reduce(each) - math.log(m)
    np.testing.assert_allclose(parzen_log_prob(samples, x, sd).numpy(), expected, rtol=1e-10)


def test_it_agrees_with_scipy_where_scipy_takes_the_same_window() -> None:
    samples, x = normal(50, 1), normal(20, 1, seed=1)
    kde = gaussian_kde(samples.squeeze(1).numpy(), bw_method=0.4 / samples.std().item())
    np.testing.assert_allclose(parzen_log_prob(samples, x, 0.4).numpy(), kde.logpdf(x.squeeze(1).numpy()), rtol=1e-10)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, x = normal(30, 1, 2, 3), normal(17, 1, 2, 3, seed=1)
    whole = parzen_log_prob(samples, x, 0.7)
    monkeypatch.setattr(parzen, "CHUNK", 90)  # three rows
    torch.testing.assert_close(parzen_log_prob(samples, x, 0.7), whole, rtol=1e-13, atol=0.0)


def test_no_digits_are_lost_far_from_the_origin_or_in_float32() -> None:
    samples, x = normal(20, 4), normal(6, 4, seed=1)
    near = parzen_log_prob(samples, x, 0.01)
    torch.testing.assert_close(parzen_log_prob(samples + 2.0**20, x + 2.0**20, 0.01), near, rtol=1e-5, atol=0.0)
    in_single = parzen_log_prob(samples.float(), x.float(), 0.01)
    assert in_single.dtype == torch.float64
    torch.testing.assert_close(in_single, parzen_log_prob(samples.float().double(), x.float().double(), 0.01))


def test_a_far_row_has_a_log_density_rather_than_minus_infinity() -> None:
    log_prob = parzen_log_prob(torch.zeros(3, 2), torch.full((1, 2), 100.0), 0.1)
    assert log_prob.item() == pytest.approx(-(100.0**2) / 0.1**2 - math.log(2 * math.pi * 0.01), rel=1e-12)


def test_windows_widen_the_law_by_their_variance() -> None:
    """Over draws of its one sample from N(0, 1) the mean density at 0.7 is that of N(0, 1 + sd^2); false alarm 1e-6."""
    sd, place = 0.8, torch.full((1, 1), 0.7, dtype=torch.float64)
    density = parzen_log_prob(place, normal(20000, 1), sd).exp()  # a window is symmetric in its two arguments
    check_mean(density, norm(scale=math.hypot(1.0, sd)).pdf(0.7), resolves=0.01)


def test_the_chosen_deviation_has_the_best_mean() -> None:
    samples, validation, grid = normal(200, 3), normal(150, 3, seed=1), [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    means = [parzen_log_prob(samples, validation, sd).mean().item() for sd in grid]
    assert choose_sd(samples, validation, grid[::-1]) == grid[int(np.argmax(means))]


def test_one_window_of_many_rows_asks_for_their_own_deviation() -> None:
    """The likelihood of N(0, sd^2) is highest at the root mean square, on a grid as near as its spacing."""
    validation = 0.5 * normal(4000, 2)
    rms = validation.square().mean().sqrt().item()
    grid = np.linspace(0.4, 0.6, 41)
    assert choose_sd(torch.zeros(1, 2), validation, list(grid)) == pytest.approx(rms, abs=0.0051)


def test_an_end_of_the_grid_is_told() -> None:
    with pytest.warns(UserWarning, match=r"sd = 0\.01 is an end of the grid: widen the grid"):
        choose_sd(torch.zeros(1, 2), 1e-3 * normal(9, 2), [0.01, 0.1, 1.0])


@pytest.mark.parametrize("sd", [0.0, -1.0, math.inf, math.nan])
def test_a_window_has_a_width(sd: float) -> None:
    with pytest.raises(InputError, match=f"sd must be positive and finite, got {sd}"):
        parzen_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), sd)


@pytest.mark.parametrize("shapes", [((3, 2), (4, 3)), ((0, 2), (4, 2)), ((3, 2), (0, 2)), ((3,), (4,))])
def test_samples_and_rows_are_some_of_one_event(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="must be some of one event each"):
        parzen_log_prob(torch.zeros(shapes[0]), torch.zeros(shapes[1]), 1.0)


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(InputError, match="the grid of deviations is empty"):
        choose_sd(torch.zeros(1, 2), torch.zeros(1, 2), [])
