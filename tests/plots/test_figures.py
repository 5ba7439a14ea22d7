"""The paper's Figures 1 and 2."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quasistatic.errors import InputError
from quasistatic.plots import align_to_first_one, heartbeat_figure, swiss_roll_figure

BITS = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 1))


@given(BITS)
def test_alignment_puts_a_one_in_column_zero_of_every_row_that_has_one(bits):
    aligned = align_to_first_one(bits)
    assert (aligned[:, 0] == bits.any(axis=1)).all()


@given(BITS)
def test_alignment_turns_each_row_by_the_place_of_its_first_one(bits):
    # Turning back must give the row: so counts and cyclic distances are kept too.
    for row, aligned in zip(bits, align_to_first_one(bits), strict=True):
        first = row.tolist().index(1) if row.any() else 0
        assert np.roll(aligned, first).tolist() == row.tolist()


def heartbeats(n: int) -> np.ndarray:
    return np.array([[(column - row) % 5 == 0 for column in range(20)] for row in range(n)], dtype=float)


def test_only_the_first_panel_of_the_heartbeat_is_aligned_and_says_so():
    bits = heartbeats(10)
    figure = heartbeat_figure([("samples", bits), ("half", bits), ("noise", bits)])
    rasters = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert (rasters[0] == align_to_first_one(bits)).all()
    assert (rasters[1] == bits).all()
    assert (rasters[2] == bits).all()
    assert ["display" in axes.get_title() for axes in figure.axes] == [True, False, False]
    assert [axes.get_xlabel() for axes in figure.axes] == ["Bin"] * 3
    assert figure.axes[0].get_ylabel() == "Sample"


def test_without_alignment_nothing_is_shifted_and_nothing_is_claimed():
    bits = heartbeats(10)
    figure = heartbeat_figure([("samples", bits)], align=False)
    assert (np.asarray(figure.axes[0].images[0].get_array()) == bits).all()
    assert figure.axes[0].get_title() == "samples"
    assert "shifted" not in str(figure.get_label())


def test_heartbeat_refuses_what_is_no_bit():
    with pytest.raises(InputError, match="bits of 'noise' must hold only 0 and 1, got 2 in row 0, column 1"):
        heartbeat_figure([("noise", [[0, 2]])])
    with pytest.raises(InputError, match="at least one panel"):
        heartbeat_figure([])


def roll(scale: float = 1.0, outliers: int = 0) -> list[tuple[str, np.ndarray]]:
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    x[0], x[1] = scale, -scale
    noise = x.copy()
    noise[10 : 10 + outliers] = 50.0
    return [("t = 0", x), ("t = T/2", x), ("t = T", noise)]


def drift(rows: list[tuple[str, np.ndarray]], size: float = 0.01) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(label, x, -size * x) for label, x in rows]


@pytest.mark.parametrize(("reach", "limit"), [(1.0, 2.0), (1.9, 2.0), (2.05, 1.05 * 2.05)])
def test_the_frame_is_the_papers_or_slightly_more_where_the_data_needs_it(reach, limit):
    rows = roll(reach)
    figure = swiss_roll_figure(rows, rows, drift(rows))
    assert len(figure.axes) == 9
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((-limit, limit))
        assert axes.get_ylim() == pytest.approx((-limit, limit))
        assert axes.get_aspect() == 1


def test_points_outside_the_frame_are_counted_in_their_panel():
    rows = roll(outliers=7)
    figure = swiss_roll_figure(rows, roll(), drift(roll()))
    notes = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert notes == [[], [], ["7 % outside"], *[[]] * 6]


def test_the_stated_factor_is_the_one_the_arrows_are_drawn_with():
    rows = roll()
    figure = swiss_roll_figure(rows, rows, drift(rows, size=0.003))
    for axes in figure.axes[6:]:
        (arrows,) = axes.collections
        stated = float(re.search(r"arrows × ([\d.e+]+)", axes.get_title())[1])  # type: ignore[index]
        assert stated == pytest.approx(1 / arrows.scale)  # type: ignore[attr-defined]
        assert stated > 1


def test_a_still_field_has_no_factor():
    rows = roll()
    figure = swiss_roll_figure(rows, rows, drift(rows, size=0.0))
    assert "arrows × 1)" in figure.axes[6].get_title()


def test_a_label_is_said_once_unless_it_differs():
    rows = roll()
    other = [("samples", rows[0][1]), *rows[1:]]
    titles = [axes.get_title() for axes in swiss_roll_figure(rows, other, drift(rows)).axes]
    assert titles[:6] == ["t = 0", "t = T/2", "t = T", "samples", "", ""]


def test_swiss_roll_names_what_is_wrong():
    rows = roll()
    with pytest.raises(InputError, match="reverse must have three panels, for t = 0, T/2 and T, got 2"):
        swiss_roll_figure(rows, rows[:2], drift(rows))
    with pytest.raises(InputError, match="drift needs one vector per point, got 5 for 100"):
        swiss_roll_figure(rows, rows, [(label, x, x[:5]) for label, x in rows])
    with pytest.raises(InputError, match="points of 't = T' must be finite, got nan in row 0, column 0"):
        swiss_roll_figure([*rows[:2], ("t = T", [[np.nan, 0]])], rows, drift(rows))
