"""The splits and scores that tables are measured by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from measure_imputation import scores
from measure_tables import breast_cancer, checkerboard, powered, raw_breast_cancer, swiss_roll
from quasistatic.transforms import YeoJohnson


def test_splits_are_of_the_published_sizes_and_scale() -> None:
    parts = breast_cancer(3)
    assert [len(rows) for rows in parts[:3]] == [341, 114, 114]
    np.testing.assert_allclose(parts.train.std(0), 1.0)
    assert not np.array_equal(breast_cancer(0).train, parts.train)


def test_the_true_cost_of_the_planes_is_the_published_one() -> None:
    # the mean over test rows of a checkerboard is exact up to its scale; the roll's has an error of 0.01 or so
    assert checkerboard(0).truth == pytest.approx(2.5886, abs=0.02)
    assert swiss_roll(0).truth == pytest.approx(1.9295, abs=0.03)


def test_peers_behind_our_marginals_carry_their_slope() -> None:
    split, layer = breast_cancer(0), YeoJohnson(torch.linspace(-1.0, 2.0, 30))
    moved, slope = powered(split, layer)
    ahead, _ = powered(split._replace(test=split.test + 1e-6), layer)
    np.testing.assert_allclose(slope, np.log((ahead.test - moved.test) / 1e-6).sum(1), atol=1e-3)
    np.testing.assert_allclose(moved.train.std(0), 1.0)


def test_raw_rows_are_told_in_the_units_of_the_standardised_ones() -> None:
    raw, scaled = raw_breast_cancer(1), breast_cancer(1)
    raw_fit, fit = (stats.norm(x.train.mean(0), x.train.std(0)) for x in (raw, scaled))
    told = raw_fit.logpdf(raw.test).sum(1) + raw.log_unit
    np.testing.assert_allclose(told, fit.logpdf(scaled.test).sum(1), atol=1e-9)


def test_scores_of_draws_from_the_truth() -> None:
    # truth and 20 draws from one normal law: NRMSE sqrt(1 + 1/20), CRPS 1/sqrt(pi) of the law itself, coverage 19/21
    draw = np.random.default_rng(0)
    truth, draws = draw.normal(size=(40_000, 1)), draw.normal(size=(20, 40_000, 1))
    told = scores(truth, draws, np.ones((40_000, 1), bool), np.ones(1))
    assert told["nrmse"] == pytest.approx(np.sqrt(1.05), abs=0.02)
    assert told["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=0.015)
    error = stats.norm.isf(5e-7) * np.sqrt(19 / 21 * 2 / 21 / 40_000)
    assert told["coverage"] == pytest.approx(19 / 21, abs=error)
