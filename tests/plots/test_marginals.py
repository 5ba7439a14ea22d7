"""Columns of a table, data beside samples."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import column_marginals

NUMBERS = np.array([[0.5, 1.0], [1.5, 0.0], [np.nan, 0.0], [2.0, 0.0]])


def test_shares_of_classes_are_bars_and_numbers_are_histograms() -> None:
    figure = column_marginals(NUMBERS, NUMBERS[:2], ["length", "sex"], [None, ["F", "M"]])
    numbers, classes = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["length", "sex"]
    assert [bar.get_height() for bar in classes.patches] == [0.75, 0.25, 0.5, 0.5]  # type: ignore[attr-defined]
    mass = [np.sum(p.get_data().values * np.diff(p.get_data().edges)) for p in numbers.patches]  # type: ignore[attr-defined]
    assert mass == pytest.approx([1.0, 1.0])


def test_of_many_columns_the_first_are_drawn() -> None:
    x = np.random.default_rng(0).normal(size=(20, 30))
    figure = column_marginals(x, x, [f"c{i}" for i in range(30)])
    assert len(figure.axes) == 24
    assert "the first 24 of 30" in str(figure.get_label())


def test_a_name_for_each_column() -> None:
    with pytest.raises(InputError, match="one for each of 2 columns, got 1 and 2"):
        column_marginals(NUMBERS, NUMBERS[:2], ["length"])
