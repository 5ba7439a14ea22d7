"""The splits and scores that tables are measured by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from measure_imputation import scores
from measure_tables import breast_cancer, checkerboard, powered, swiss_roll


def test_splits_are_of_the_published_sizes_and_scale() -> None:
    parts = breast_cancer(3)
    assert [len(rows) for rows in parts[:3]] == [341, 114, 114]
    np.testing.assert_allclose(parts.train.std(0), 1.0)
    assert not np.array_equal(breast_cancer(0).train, parts.train)


def test_the_true_cost_of_the_planes_is_the_published_one() -> None:
    # the mean over test rows of a checkerboard is exact up to its scale; the roll's has an error of 0.01 or so
    assert checkerboard(0).truth == pytest.approx(2.5886, abs=0.02)
    assert swiss_roll(0).truth == pytest.approx(1.9295, abs=0.03)


def test_powers_for_the_peers_carry_their_slope() -> None:
    split = breast_cancer(0)
    moved, slope = powered(split)
    step = 1e-5
    ahead, _ = powered(split._replace(test=split.test + step))
    numeric = np.log((ahead.test - moved.test) / step).sum(1)
    np.testing.assert_allclose(slope, numeric, atol=1e-2)


def test_scores_of_draws_from_the_truth() -> None:
    # truth and 20 draws from one normal law: NRMSE sqrt(1 + 1/20), CRPS 1/sqrt(pi) of the law itself, coverage 19/21
    draw = np.random.default_rng(0)
    truth, draws = draw.normal(size=(40_000, 1)), draw.normal(size=(20, 40_000, 1))
    told = scores(truth, draws, np.ones((40_000, 1), bool), np.ones(1))
    assert told["nrmse"] == pytest.approx(np.sqrt(1.05), abs=0.02)
    assert told["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=0.015)
    error = stats.norm.isf(5e-7) * np.sqrt(19 / 21 * 2 / 21 / 40_000)
    assert told["coverage"] == pytest.approx(19 / 21, abs=error)
