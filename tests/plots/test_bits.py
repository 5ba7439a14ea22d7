"""Rates and correlations of bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasistatic.errors import InputError
from quasistatic.plots import bit_rates
from quasistatic.plots.bits import _correlations, binomial_interval


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_the_ends_of_the_interval_the_rate_seen_is_one_standard_error_away(counts):
    # This is the definition of Wilson's interval: |k/n - p| = sqrt(p (1 - p) / n) at both ends p.
    k, n = counts
    for p in map(float, binomial_interval(k, n)):
        assert 0 <= p <= 1
        assert abs(k / n - p) == pytest.approx(math.sqrt(p * (1 - p) / n), abs=1e-7)


def test_correlations_are_those_of_numpy_and_constant_bits_have_none():
    rng = np.random.default_rng(0)
    real, made = (rng.random((2, 300, 5)) < 0.3).astype(float)
    made[:, 1] = made[:, 0]
    x, y, constant = _correlations(real, made)
    above = np.triu_indices(5, k=1)
    assert x == pytest.approx(np.corrcoef(real.T)[above])
    assert y == pytest.approx(np.corrcoef(made.T)[above])
    assert y[0] == pytest.approx(1.0)
    assert constant == 0
    made[:, 2] = 1.0  # bit 2 belongs to four of the ten pairs
    x, y, constant = _correlations(real, made)
    assert (len(x), len(y), constant) == (6, 6, 4)


def test_equal_tables_lie_on_the_diagonal():
    bits = np.random.default_rng(0).random((50, 4)) < 0.4
    rates, pairs = bit_rates(bits, bits).axes
    # The first line is the diagonal, the second the means.
    x, y = rates.lines[1].get_data()
    assert np.asarray(x) == pytest.approx(bits.mean(0))
    assert np.asarray(x) == pytest.approx(np.asarray(y))
    points = np.asarray(pairs.collections[-1].get_offsets())
    assert points[:, 0] == pytest.approx(points[:, 1])


def test_pairs_left_out_are_said():
    bits = np.random.default_rng(0).random((50, 3)) < 0.4
    bits[:, 0] = False
    assert "pairs with a constant bit left out: 2" in bit_rates(bits, bits).axes[1].get_xlabel()


def test_one_bit_alone_has_no_pairs():
    bits = np.array([[0], [1], [1]])
    assert len(bit_rates(bits, bits).axes) == 2


def test_tables_must_agree():
    with pytest.raises(InputError, match="samples must have the columns of the data, 2, got 1"):
        bit_rates([[0, 1]], [[0]])
