"""Level of intervals against their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import coverage_curve


def points(u: np.ndarray) -> np.ndarray:
    (bars,) = coverage_curve(u).axes[0].containers
    return bars.lines[0].get_xydata()  # type: ignore[attr-defined,no-any-return]


def test_evenly_spread_ranks_lie_on_the_diagonal() -> None:
    level, share = points((np.arange(2000) + 0.5) / 2000).T
    np.testing.assert_allclose(share, level, atol=0.06)


def test_intervals_half_as_wide_as_they_should_be_cover_by_the_normal_law() -> None:
    from scipy.stats import norm

    z = norm.ppf((np.arange(2000) + 0.5) / 2000)
    level, share = points(norm.cdf(2.0 * z)).T  # a truth of twice the spread that the model thinks
    np.testing.assert_allclose(share, 100 * (2 * norm.cdf(norm.ppf(0.5 + level / 200) / 2) - 1), atol=0.06)


def test_the_band_holds_all_but_a_twentieth_of_calibrated_points_at_a_level() -> None:
    draw = np.random.default_rng(0)
    (band, *_) = coverage_curve(draw.random(80)).axes[0].collections
    edge = np.asarray(band.get_paths()[0].vertices)
    low, high = edge[edge[:, 0] == 50.0, 1].min(), edge[edge[:, 0] == 50.0, 1].max()
    inside = np.mean([low <= 100 * np.mean(np.abs(draw.random(80) - 0.5) <= 0.25) <= high for _ in range(2000)])
    assert 0.93 < inside < 0.99  # 0.964 by the binomial law, as it is discrete; 4.9 of 2000 trials' errors are 0.02


@pytest.mark.parametrize("u", [np.empty(0), np.zeros((2, 2)), np.array([0.5, 1.5]), np.array([np.nan])])
def test_what_is_no_rank_is_refused(u: np.ndarray) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        coverage_curve(u)
