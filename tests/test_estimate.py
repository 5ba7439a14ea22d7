"""Numbers with their errors, in units that say what they are of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quasistatic.estimate import UNITS, Estimate, paired_difference, unit_divisor

BIT = math.log(2.0)


@pytest.mark.parametrize(
    ("unit", "shape", "divisor"),
    [
        ("nats", (3, 32, 32), 1.0),
        ("bits", (3, 32, 32), BIT),
        ("bits_per_sequence", (20,), BIT),
        ("bits_per_point", (2,), BIT),
        ("nats_per_dim", (3, 32, 32), 3072.0),
        ("bits_per_dim", (3, 32, 32), 3072 * BIT),
        ("bits_per_pixel", (3, 32, 32), 1024 * BIT),  # three colours make one pixel
        ("bits_per_pixel", (28, 28), 784 * BIT),
        ("bits_per_pixel", (64,), 64 * BIT),
    ],
)
def test_how_many_nats_make_a_unit(unit: str, shape: tuple[int, ...], divisor: float) -> None:
    assert unit_divisor(unit, shape) == pytest.approx(divisor)


def test_every_unit_is_covered_and_no_other() -> None:
    for unit in UNITS:
        assert unit_divisor(unit, (2, 3)) > 0
    with pytest.raises(ValueError, match=r"unit must be one of nats, bits, .*, got 'bananas'"):
        unit_divisor("bananas")


def test_the_mean_and_its_error_are_numpys() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 50)
    estimate = Estimate.of(torch.from_numpy(values), "bits_per_dim", (4,))
    assert estimate.value == pytest.approx(values.mean() / (4 * BIT))
    assert estimate.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50) / (4 * BIT))
    assert (estimate.n, estimate.unit) == (50, "bits_per_dim")


def test_a_mean_of_small_numbers_is_taken_in_double_precision() -> None:
    values = torch.full((10_000_000,), 0.1)
    assert Estimate.of(values).value == pytest.approx(torch.tensor(0.1).item(), rel=1e-12)


def test_the_error_of_one_example_is_unknown() -> None:
    estimate = Estimate.of(torch.tensor([1.5]))
    assert estimate.value == 1.5
    assert math.isnan(estimate.standard_error)


def test_gradients_are_left_behind() -> None:
    assert Estimate.of(torch.ones(3, requires_grad=True)).value == 1.0


def test_a_known_number_adds_no_error() -> None:
    assert Estimate(1.0, 0.1, 5, "bits").plus(2.5) == Estimate(3.5, 0.1, 5, "bits")


def test_it_prints_no_more_digits_than_it_knows() -> None:
    assert str(Estimate(2.3512, 0.0101, 10000, "bits")) == "2.35 ± 0.01 bits (n = 10000)"


def test_a_paired_difference_knows_more_than_two_means() -> None:
    base = 10.0 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    difference = paired_difference(base + 0.1, base, "nats_per_dim", (2,))
    assert difference.value == pytest.approx(0.05, abs=1e-6)
    assert difference.standard_error < 1e-6
    assert Estimate.of(base).standard_error > 0.1


def test_paired_values_belong_together() -> None:
    with pytest.raises(ValueError, match=r"need one shape, got \(3,\) and \(4,\)"):
        paired_difference(torch.zeros(3), torch.zeros(4))
