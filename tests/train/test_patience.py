"""Patience: what counts as an improvement."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from quasistatic.train.patience import Patience

N = 400


def rows(mean: float, seed: int = 0) -> Tensor:
    return mean + torch.randn(N, generator=Generator().manual_seed(seed), dtype=torch.float64)


def noise(seed: int) -> Tensor:
    """Of mean zero and deviation one, to the last digit."""
    z = rows(0.0, seed)
    return (z - z.mean()) / z.std()


def waits(limit: int, *bounds: Tensor) -> list[int]:
    patience = Patience(limit)
    told = []
    for each in bounds:
        patience.record(each)
        told.append(patience.waited)
    return told


def test_a_gain_of_every_row_is_an_improvement_however_much_rows_differ():
    assert waits(5, rows(0.0) * 1e3, rows(0.0) * 1e3 + 0.01) == [0, 0]


def test_a_gain_within_the_noise_of_the_differences_is_none():
    for gain, expected in ((0.9, 1), (1.1, 0), (-1.1, 1)):  # in standard errors
        assert waits(5, rows(0.0), rows(0.0) + noise(1) + gain / math.sqrt(N)) == [0, expected]


def test_what_creeps_up_adds_up_to_an_improvement():
    steps = [rows(0.0) + noise(k) + 0.4 * k / math.sqrt(N) for k in range(1, 6)]
    assert waits(5, rows(0.0), *steps) == [0, 1, 2, 0, 1, 2]


def test_any_finite_bound_is_better_than_none():
    impossible = torch.tensor([0.0, -math.inf])
    assert waits(2, impossible, impossible, torch.tensor([-9.0, -9.0])) == [0, 1, 0]


def test_one_row_has_no_noise_to_tell():
    assert waits(2, torch.tensor([1.0]), torch.tensor([1.1]), torch.tensor([1.1])) == [0, 0, 1]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_it_is_over_after_as_many_evaluations_as_were_granted_or_never(limit):
    patience = Patience(limit)
    over = []
    for _ in range(6):
        patience.record(torch.zeros(3))
        over.append(patience.exhausted)
    assert over == [bool(limit) and k >= limit for k in range(6)]
