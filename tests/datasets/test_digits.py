"""The digits and their splits, against a permutation drawn here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn import datasets

from quasistatic.datasets.digits import load_digits
from quasistatic.errors import InputError


@pytest.mark.parametrize("split", [0, 1, 7])
def test_split_is_the_permutation_of_its_seed(split):
    source = datasets.load_digits().data
    order = np.random.default_rng(split).permutation(1797)
    digits = load_digits(split)
    np.testing.assert_array_equal(digits.train, source[order[:1200]])
    np.testing.assert_array_equal(digits.validation, source[order[1200:1397]])
    np.testing.assert_array_equal(digits.test, source[order[1397:]])


def test_every_image_is_in_exactly_one_split():
    digits = load_digits()
    parts = [{row.tobytes() for row in part} for part in (digits.train, digits.validation, digits.test)]
    # No two of the 1797 images are equal, so the sets have the sizes of the splits and do not meet.
    assert [len(part) for part in parts] == [1200, 197, 400]
    assert len(set.union(*parts)) == 1797
    source = datasets.load_digits().data.astype(np.uint8)
    assert set.union(*parts) == {row.tobytes() for row in source}


def test_pixels_are_the_integers_0_to_16():
    digits = load_digits()
    pixels = np.concatenate([digits.train, digits.validation, digits.test])
    assert pixels.dtype == np.uint8
    assert set(np.unique(pixels)) == set(range(17))
    # The sum over the published table; a rescaled or truncated copy has another.
    assert pixels.sum(dtype=np.int64) == 561718


def test_split_0_is_frozen():
    # Sums by part, from a program of its own: a change of the generator or of the table would show.
    digits = load_digits(0)
    sums = [int(part.sum(dtype=np.int64)) for part in (digits.train, digits.validation, digits.test)]
    assert sums == [375027, 61892, 124799]


def test_splits_cannot_be_swapped_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_digits().train = np.zeros((1, 64), np.uint8)  # type: ignore[misc]


@pytest.mark.parametrize("split", [-1, 0.0, True, "0"])
def test_bad_split_is_refused(split):
    with pytest.raises(InputError, match=r"split must be .*at least 0, got"):
        load_digits(split)
