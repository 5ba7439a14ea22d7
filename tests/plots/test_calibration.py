"""Ranks, coverage, energy score and distances, against posteriors and distances that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from quasistatic.errors import InputError
from quasistatic.plots import coverage, energy_score, rank_histogram, rank_test, ranks, sliced_wasserstein

N, DRAWS = 2000, 99


def problems(width: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """x ~ N(0, 1), y ~ N(x, 1), posterior N(y / 2, 1 / 2), perhaps too wide or beside the truth."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 1))
    y = x + rng.standard_normal((N, 1))
    draws = y[:, None] / 2 + shift + width * np.sqrt(0.5) * rng.standard_normal((N, DRAWS, 1))
    return x, draws


def test_ranks_of_right_posteriors_are_uniform_and_of_wrong_ones_not() -> None:
    u = ranks(*problems())[:, 0]
    assert rank_test(u) > 1e-6  # the false alarm rate of a fresh seed
    assert stats.kstest(u, "uniform").pvalue > 1e-6
    for wrong in ({"width": 1.4}, {"width": 0.7}, {"shift": 0.2}):
        assert rank_test(ranks(*problems(**wrong))[:, 0]) < 1e-6


def test_ranks_heed_weights() -> None:
    # draws of the prior, weighted by the likelihood
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, 1))
    y = x + rng.standard_normal((N, 1))
    draws = rng.standard_normal((N, 500, 1))
    w = np.exp(-0.5 * (y - draws[:, :, 0]) ** 2)
    assert rank_test(ranks(x, draws, w)[:, 0]) > 1e-6
    assert rank_test(ranks(x, draws, w**2)[:, 0]) < 1e-6  # evidence counted twice


def test_ranks_of_discrete_truths_are_uniform_too() -> None:
    rng = np.random.default_rng(2)
    p = rng.random((N, 1))
    x = (rng.random((N, 1)) < p).astype(float)
    draws = (rng.random((N, DRAWS, 1)) < p[:, None]).astype(float)
    assert rank_test(ranks(x, draws)[:, 0]) > 1e-6


def test_equal_weights_put_a_truth_into_the_place_of_its_rank() -> None:
    samples = np.tile(np.arange(9.0)[None, :, None], (50, 1, 1))
    u = ranks(np.full((50, 1), 2.5), samples)
    assert (u > 0.3).all()  # three of nine below, ten places
    assert (u < 0.4).all()


def test_a_test_of_ranks_is_two_sided() -> None:
    assert rank_test((np.arange(2000) + 0.5) / 2000) < 1e-6  # too even to be chance


def test_coverage_is_that_of_the_interval() -> None:
    u = ranks(*problems())[:, 0]
    for level in (0.5, 0.9):
        got = coverage(u, level)
        assert abs(got.share - level) < 4 * got.standard_error
        assert got.standard_error == pytest.approx((level * (1 - level) / N) ** 0.5, rel=0.1)
    assert coverage(ranks(*problems(width=0.5))[:, 0], 0.9).share < 0.8


def test_entries_of_one_problem_are_not_counted_as_problems() -> None:
    u = np.repeat(ranks(*problems()), 10, axis=1)  # ten copies of one entry
    assert coverage(u, 0.9).standard_error == pytest.approx(coverage(u[:, 0], 0.9).standard_error)


def test_the_energy_score_is_the_crps_of_a_normal_law() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((1, 4000, 1))
    for y in (0.0, 1.3):
        closed = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - np.pi**-0.5
        assert energy_score([[y]], draws)[0] == pytest.approx(closed, abs=0.05)


def test_the_right_posterior_has_the_lowest_energy_score() -> None:
    right = energy_score(*problems())
    for wrong in ({"width": 1.5}, {"width": 0.5}, {"shift": 0.4}):
        worse = energy_score(*problems(**wrong)) - right  # the same problems and noise
        assert worse.mean() > 4 * worse.std() / N**0.5


def test_repeated_draws_are_weights() -> None:
    x, w = np.array([[0.3, 1.0]]), np.array([[0.25, 0.75]])
    two = np.array([[[0.0, 0.0], [1.0, 2.0]]])
    exact = 0.25 * np.hypot(0.3, 1.0) + 0.75 * np.hypot(0.7, 1.0) - 0.5 * np.hypot(1.0, 2.0)
    # two draws that are not the same are one of either kind
    assert energy_score(x, two, w)[0] == pytest.approx(exact)


def test_a_distance_is_that_of_sorted_samples_and_heeds_weights() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((300, 3)), rng.standard_normal((300, 3)) + 0.5
    d = np.random.default_rng(0).standard_normal((3, 64))
    d /= np.linalg.norm(d, axis=0)
    truth = np.mean([stats.wasserstein_distance(a @ v, b @ v) for v in d.T])
    assert sliced_wasserstein(a, b) == pytest.approx(truth)
    w = rng.integers(0, 4, 300)
    assert sliced_wasserstein(a, b, weights_x=w) == pytest.approx(sliced_wasserstein(np.repeat(a, w, axis=0), b))


def test_a_histogram_of_ranks_has_its_bars_and_band() -> None:
    figure = rank_histogram(ranks(*problems()))
    assert len(figure.axes[0].patches) >= 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: ranks([[0.0]], [[0.0]]), r"samples \(n, N, d\), got \(1, 1\) and \(1, 1\)"),
        (lambda: ranks([[np.nan]], [[[0.0]]]), "must be finite"),
        (lambda: ranks([[0.0]], [[[0.0]]], [[-1.0]]), "weights must be positive or zero"),
        (lambda: coverage([0.1], 1.0), "must lie between 0 and 1, got 1.0"),
        (lambda: rank_test([0.1]), "needs at least 100 in one row"),
        (lambda: sliced_wasserstein(np.zeros((2, 2)), np.zeros((2, 3))), "as many columns"),
    ],
)
def test_bad_input_is_told_in_one_sentence(wrong, sentence) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=sentence):
        wrong()
