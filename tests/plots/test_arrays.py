"""Bad arrays get one sentence that names the value, its place and the rule."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots.arrays import bit_table, curves, table


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros(3), "points must have rows and columns, got shape (3,)"),
        (np.zeros((0, 2)), "points must have rows and columns, got shape (0, 2)"),
        (np.zeros((4, 3)), "points must have 2 columns, got 3"),
        ([[0, 1], [2, np.nan]], "points must be finite, got nan in row 1, column 1"),
        ([[np.inf, 1]], "points must be finite, got inf in row 0, column 0"),
    ],
)
def test_a_bad_table_is_named(values, sentence):
    with pytest.raises(InputError) as caught:
        table(values, "points", columns=2)
    assert str(caught.value) == sentence


def test_a_table_with_holes_may_hold_nan_but_not_infinity():
    assert np.isnan(table([[np.nan]], "data", missing=True)).all()
    with pytest.raises(InputError, match="got -inf in row 0, column 0"):
        table([[-np.inf]], "data", missing=True)


def test_bits_are_zero_or_one():
    assert bit_table([[True, False]], "bits").tolist() == [[1.0, 0.0]]
    with pytest.raises(InputError, match=r"bits must hold only 0 and 1, got 0\.5 in row 1, column 0"):
        bit_table([[0.0], [0.5]], "bits")


def test_curves_share_a_length_and_hold_no_nan_but_may_be_infinite():
    (one,) = curves(log_snr=[np.inf, 0.0])
    assert one[0] == np.inf
    with pytest.raises(InputError, match="cost must be a number at every step, got nan at entry 1"):
        curves(log_snr=[1.0, 0.0], cost=[1.0, np.nan])
    with pytest.raises(InputError, match=r"log_snr must be a vector with at least one entry, got shape \(0,\)"):
        curves(log_snr=[])
