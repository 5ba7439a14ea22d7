"""The learning curve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from quasistatic.plots import learning_curve


def test_only_numbers_are_drawn_and_steps_keep_their_values():
    records: list[dict[str, Any]] = [
        {"update": 10, "train": -1.0},
        {"update": 20, "train": None, "validation": 0.5, "validation_se": 0.1},
        {"update": 30, "train": math.nan},
        {"train": 5.0},
        {"update": 40, "train": 1.0, "validation": 0.75},
    ]
    axes = learning_curve(records).axes[0]
    train, validation = (np.asarray(line.get_xydata()) for line in axes.lines[:2])
    assert train.tolist() == [[10, -1], [40, 1]]
    assert validation.tolist() == [[20, 0.5], [40, 0.75]]


def test_horizontal_lines_stand_at_truth_and_null():
    axes = learning_curve([{"update": 1, "train": 0.0}], truth=2.704, null=-4.0942).axes[0]
    heights = {str(line.get_label()): np.unique(line.get_ydata()).tolist() for line in axes.lines}
    assert heights["true value 2.704"] == [2.704]
    assert heights["null model -4.094"] == [-4.0942]
    low, high = axes.get_ylim()
    assert low < -4.0942 < 2.704 < high


def test_a_catastrophic_start_does_not_flatten_the_curve_and_is_counted():
    records = [{"update": k, "train": -1e6 if k < 3 else 2.0 + 0.1 * math.sin(k)} for k in range(100)]
    axes = learning_curve(records).axes[0]
    low, high = axes.get_ylim()
    assert high - low < 1
    assert "3 of 100 values outside the frame" in axes.get_xlabel()


def bounds(*values: float) -> list[dict[str, Any]]:
    return [{"update": 100 * k, "validation": value, "validation_se": 0.03} for k, value in enumerate(values)]


def test_the_first_of_few_points_does_not_flatten_the_others_and_is_marked_at_the_edge():
    axes = learning_curve(bounds(-11.5, -2.0, -1.66, -1.57, -1.53, -1.5, -1.49), null=-3.78).axes[0]
    low, high = axes.get_ylim()
    assert high - low < 1.0
    assert low < -1.66 < -1.49 < high
    assert "2 of 7 values outside the frame" in axes.get_xlabel()
    (edge,) = [line for line in axes.lines if line.get_marker() == "v"]
    assert np.asarray(edge.get_xdata()).tolist() == [0, 100]
    assert "null model -3.78 (below the frame)" in [str(line.get_label()) for line in axes.lines]


def test_all_is_shown_where_nothing_lies_far_off():
    axes = learning_curve(bounds(-2.0, -1.8, -1.7, -1.6, -1.5, -1.4), truth=-1.0, null=-2.5).axes[0]
    low, high = axes.get_ylim()
    assert low < -2.5
    assert high > -1.0
    assert "outside" not in axes.get_xlabel()
    assert not [line for line in axes.lines if str(line.get_marker()) in ("v", "^")]


@pytest.mark.parametrize(("seconds", "text"), [(90.0, "90 s"), (240.0, "4 min"), (9000.0, "2.5 h")])
def test_the_axis_says_how_long_it_took(seconds, text):
    axes = learning_curve([{"update": 1, "seconds": 1.0}, {"update": 2, "seconds": seconds, "train": 0.0}]).axes[0]
    assert f"the last after {text})" in axes.get_xlabel()


def test_a_run_without_records_says_so():
    figure = learning_curve([])
    assert [text.get_text() for text in figure.axes[0].texts] == ["nothing recorded yet"]


def test_the_unit_stands_at_the_axis():
    assert learning_curve([], unit="bits_per_pixel").axes[0].get_ylabel() == "bound (bits_per_pixel)"
