"""Pictures of posteriors have their panels, and keep what was not seen apart."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import posterior_images, posterior_intervals, posterior_points

RNG = np.random.default_rng(0)


def test_a_line_of_images_for_each_observation() -> None:
    seen = RNG.random((2, 5, 5))
    seen[:, 2:] = np.nan
    figure = posterior_images(seen, RNG.random((2, 3, 5, 5)), RNG.random((2, 5, 5)), RNG.random((2, 5, 5)) / 4)
    titles = [text.get_text() for text in figure.axes[0].texts]
    assert len(titles) == 12
    assert titles[:5] == ["observed", "sample 1", "sample 2", "sample 3", "mean"]
    assert titles[5].startswith("deviation ≤ 0.2")


def test_points_of_the_plane_and_a_coordinate_that_was_not_seen() -> None:
    seen = [np.array([0.1, 0.2]), np.array([0.3, np.nan])]
    figure = posterior_points(seen, [RNG.random((50, 2))] * 2, RNG.standard_normal((100, 2)))
    full, part = figure.axes
    assert full.lines[0].get_marker() == "+"
    assert part.lines[0].get_xdata() == [0.3, 0.3]  # a line along the one that was seen
    with pytest.raises(InputError, match="samples for each observation, got 1 for 2"):
        posterior_points(seen, [RNG.random((50, 2))], RNG.random((5, 2)))


def test_intervals_hold_what_was_seen_as_dots() -> None:
    middle = RNG.random((3, 4))
    seen = np.where(RNG.random((3, 4)) < 0.5, middle, np.nan)
    figure = posterior_intervals(seen, middle - 1, middle, middle + 1, ["a", "b", "c", "d"])
    assert len(figure.axes) == 3
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), seen[1])
    with pytest.raises(InputError, match="intervals must have 4 columns, got 3"):
        posterior_intervals(seen, middle[:, :3], middle, middle, ["a", "b", "c", "d"])
