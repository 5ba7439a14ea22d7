"""Costs and entropies of the reverse steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from quasistatic.errors import InputError
from quasistatic.plots import entropy_band, outside_band, step_costs
from quasistatic.plots.steps import cost_per_log_snr

STEPS = st.lists(st.tuples(st.floats(0.01, 5), st.floats(-2, 9)), min_size=1, max_size=30)


@given(STEPS)
def test_the_area_under_the_cost_per_log_snr_is_the_cost_of_all_steps_but_the_first(steps):
    widths, cost = np.array(steps).T
    edges, density = cost_per_log_snr(5 - np.cumsum(widths), cost)
    assert np.sum(density * -np.diff(edges)) == pytest.approx(cost[1:].sum(), abs=1e-9)


def test_steps_at_infinite_log_snr_have_no_density():
    edges, density = cost_per_log_snr([np.inf, 4.0, 2.0, -np.inf], [1.0, 2.0, 3.0, 4.0])
    assert edges.tolist() == [4.0, 2.0]
    assert density.tolist() == [1.5]
    figure = step_costs([np.inf, 4.0, 2.0, -np.inf], [1.0, 2.0, 3.0, 4.0], np.zeros(4))
    assert "2 steps at infinite log-SNR left out" in figure.axes[1].get_xlabel()
    assert "total 10 bits" in figure.axes[0].get_title()


def test_noise_that_recedes_is_an_error():
    with pytest.raises(InputError, match="log_snr must fall with t, got 1 then 2"):
        step_costs([3.0, 1.0, 2.0, 5.0], np.zeros(4), np.zeros(4))
    with pytest.raises(InputError, match="log_snr must fall with t, got 3 then 3"):
        step_costs([3.0, 3.0], np.zeros(2), np.zeros(2))
    with pytest.raises(InputError, match="log_snr must fall with t, got 3 then inf"):
        step_costs([3.0, np.inf, 2.0], np.zeros(3), np.zeros(3))


def test_every_step_is_drawn_with_its_standard_error():
    cost, error = np.array([0.3, 0.2, 0.1]), np.array([0.03, 0.02, 0.01])
    left = step_costs([3.0, 2.0, 1.0], cost, error).axes[0]
    bars = [np.asarray(path.vertices) for path in left.collections[0].get_paths()]
    assert [bar[:, 1].tolist() for bar in bars] == pytest.approx(np.stack([cost - error, cost + error], 1))
    assert [bar[0, 0] for bar in bars] == [1, 2, 3]


@pytest.mark.parametrize("n", [1, 2, 500])
def test_any_number_of_steps_is_drawn(n):
    log_snr = np.linspace(5, -5, n)
    assert len(step_costs(log_snr, np.ones(n), np.ones(n)).axes) == 2
    assert len(entropy_band(log_snr, np.zeros(n), np.ones(n), np.ones(n)).axes) == 2


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3), st.floats(-9, 9)), min_size=1, max_size=20))
def test_outside_are_the_steps_below_the_lower_or_above_the_upper_bound(steps):
    lower, width, model = np.array(steps).T
    expected = [not low <= own <= low + wide for low, wide, own in zip(lower, width, model, strict=True)]
    assert outside_band(lower, lower + width, model).tolist() == expected


def test_the_bounds_themselves_are_inside():
    assert not outside_band([1.0, 1.0], [2.0, 2.0], [1.0, 2.0]).any()


def test_the_marks_are_the_steps_outside_in_both_panels():
    log_snr, lower, upper = np.array([4.0, 2.0, 0.0, -2.0]), np.arange(4.0), np.arange(4.0) + 1
    model = np.array([-0.5, 1.5, 3.5, 3.5])  # entries 0 and 2 lie outside
    figure = entropy_band(log_snr, lower, upper, model)
    for axes, base in zip(figure.axes, (np.zeros(4), lower), strict=True):
        (marks,) = (line for line in axes.lines if str(line.get_label()).startswith("clearly outside"))
        assert np.asarray(marks.get_xydata()).tolist() == [[4.0, -0.5 - base[0]], [0.0, 3.5 - base[2]]]
    assert "2 of 4 steps are outside by more than rounding" in str(figure.get_label())


def test_without_a_step_outside_nothing_is_marked():
    figure = entropy_band([1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.5, 0.5])
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    assert labels == ["upper bound", "lower bound", "model"]


def test_steps_at_infinite_log_snr_are_drawn_beyond_the_others_in_order():
    figure = entropy_band([np.inf, 4.0, 0.0, -np.inf], np.zeros(4), np.ones(4), np.ones(4))
    x = np.asarray(figure.axes[0].lines[0].get_xdata())
    assert np.isfinite(x).all()
    assert (np.diff(x) < 0).all()


def test_a_crossed_band_is_an_error():
    with pytest.raises(InputError, match="the lower bound must not exceed the upper, got 2 and 1 at entry 1"):
        entropy_band([1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.5, 0.5])


def marked(figure: Figure) -> list[list[float]]:
    marks = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("clearly outside")]
    return [np.asarray(line.get_xdata()).tolist() for line in marks]


def test_steps_within_their_error_are_not_marked():
    snr, low, high = np.arange(4.0)[::-1], np.zeros(4), np.ones(4)
    model, error = np.array([-0.02, 0.5, 1.2, 1.02]), np.full(4, 0.02)
    figure = entropy_band(snr, low, high, model, error=error)
    assert marked(figure) == [[1.0]]
    said = "1 of 4 steps are outside by more than 3 standard errors (crosses); the one furthest outside is so by 0.2 bits"
    assert f"{said}, 10 standard errors." in str(figure.get_label())
    assert figure.axes[0].get_title("left") == "1 of 4 steps are clearly outside what is possible"
    figure = entropy_band(snr, low, high, model, error=10 * error)
    assert marked(figure) == []
    said = "No step is outside by more than 3 standard errors: 3 of 4 are outside by 0.2 bits at most, no more than chance"
    assert said in str(figure.get_label())
    assert figure.axes[0].get_title("left") == "No step is clearly outside what is possible (4 steps)"


def test_where_the_upper_bound_need_not_hold_only_steps_below_the_lower_are_marked():
    snr, low, high = np.arange(4.0)[::-1], np.zeros(4), np.ones(4)
    figure = entropy_band(snr, low, high, np.array([-0.5, 0.5, 1.2, 1.1]), error=np.full(4, 0.02), unmet="its mean is 2")
    assert marked(figure) == [[3.0]]
    said = "need not hold for this data (its mean is 2): the 2 steps above it mean nothing and are not marked"
    assert said in str(figure.get_label())
    assert "the upper bound need not hold" in figure.axes[0].get_title("left")


def test_rounding_and_errors_that_miss_a_rare_value_mark_nothing():
    snr, n = np.arange(30.0)[::-1], 30
    low, model, error = np.zeros(n), np.full(n, 0.5), np.full(n, 0.01)
    model[10], error[10] = -0.02, 1e-12  # few rows saw only the common value
    model[20], error[20] = 1.0 + 1e-7, 0.0
    assert marked(entropy_band(snr, low, np.ones(n), model, error=error)) == []


def test_chance_marks_a_step_of_many_in_one_figure_of_a_hundred():
    draw, n = np.random.default_rng(0), 2000
    model = draw.normal(size=(50, n))
    figures = [entropy_band(-np.arange(float(n)), np.zeros(n), np.zeros(n), row, error=np.ones(n)) for row in model]
    assert sum(len(marked(figure)) for figure in figures) <= 3
