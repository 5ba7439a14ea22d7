"""Data and samples, column by column and in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import pair_plot


def draws(d: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    both = np.random.default_rng(0).normal(size=(2, n, d))
    return both[0], both[1]


@pytest.mark.parametrize(("d", "panels"), [(1, 1), (3, 6), (5, 15), (8, 15)])
def test_there_is_a_panel_for_every_column_and_pair_of_the_first_five(d, panels):
    figure = pair_plot(*draws(d))
    assert len(figure.axes) == panels
    assert ("the first 5 of 8" in str(figure.get_label())) == (d == 8)


def test_histograms_are_densities_of_all_values_so_what_lies_outside_is_missing():
    # Half of the samples lie far off: their histogram has half the mass, that of the data all of it.
    data, samples = draws(1)
    samples[:100], samples[100:] = 0.0, 100.0
    real, made = pair_plot(data, samples).axes[0].patches
    mass = [np.sum(p.get_data().values * np.diff(p.get_data().edges)) for p in (real, made)]  # type: ignore[attr-defined]
    assert mass == pytest.approx([1.0, 0.5])


def test_the_caption_counts_the_samples_outside():
    data, samples = draws(2)
    samples[:] = 0.0
    samples[:30] = 100.0
    assert "15 % of the samples" in str(pair_plot(data, samples).get_label())


def test_the_columns_stand_where_their_names_say():
    data, samples = draws(2)
    data[:, 1] += 50.0
    figure = pair_plot(data, samples + np.array([0.0, 50.0]), ["low", "high"])
    labelled = {axes.get_xlabel(): axes.get_xlim() for axes in figure.axes if axes.get_xlabel()}
    assert labelled["low"][1] < 10 < labelled["high"][0]
    (scatter,) = (axes for axes in figure.axes if axes.get_ylabel() == "high")
    points = np.concatenate([np.asarray(c.get_offsets()) for c in scatter.collections])
    assert (points[:, 0] < 10).all()
    assert (points[:, 1] > 10).all()


def test_holes_in_the_data_are_left_out_but_samples_must_be_whole():
    data, samples = draws(2)
    data[::2, 0] = np.nan
    pair_plot(data, samples)
    samples[3, 1] = np.nan
    with pytest.raises(InputError, match="samples must be finite, got nan in row 3, column 1"):
        pair_plot(data, samples)
    data[:, 0] = np.nan
    with pytest.raises(InputError, match="column 'x1' of the data holds no value"):
        pair_plot(data, draws(2)[1])


def test_a_constant_column_is_drawn():
    pair_plot(np.ones((5, 2)), np.ones((5, 2)))


def test_tables_must_agree():
    with pytest.raises(InputError, match="samples must have 2 columns, got 3"):
        pair_plot(draws(2)[0], draws(3)[0])
    with pytest.raises(InputError, match="names must be one per column, 2, got 1"):
        pair_plot(*draws(2), ["a"])
