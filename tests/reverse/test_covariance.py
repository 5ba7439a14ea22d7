"""Covariances as exponentials of symmetric matrices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from quasistatic.reverse.covariance import scale_tril, symmetric
from strategies import seeds


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_entries_fill_a_symmetric_matrix_once(d: int) -> None:
    entries = torch.arange(1.0, d * (d + 1) // 2 + 1).expand(2, -1)
    matrix = symmetric(entries, d)
    assert torch.equal(matrix, matrix.mT)
    assert matrix[0].diagonal().tolist() == entries[0, :d].tolist()
    assert sorted(matrix[0].tril().flatten().tolist())[-entries.shape[1] :] == entries[0].tolist()


@given(d=st.integers(1, 5), seed=seeds, var=st.floats(0.0, 2.0), gain=st.floats(0.01, 4.0))
def test_the_factor_is_of_the_sum_with_the_exponential(d: int, seed: int, var: float, gain: float) -> None:
    # beyond the plane a floor of 1e-6 of the mean variance is added
    entries = draw(seed, 4, d * (d + 1) // 2)
    v, g = torch.full((4,), var, dtype=torch.float64), torch.full((4,), gain, dtype=torch.float64)
    factor = scale_tril(entries, d, v, g)
    exact = var * torch.eye(d, dtype=torch.float64) + gain * torch.matrix_exp(symmetric(entries, d))
    tolerance = 1e-9 if d == 2 else 3e-6
    scale = exact.diagonal(dim1=1, dim2=2).mean().item()
    torch.testing.assert_close(factor @ factor.mT, exact, rtol=tolerance, atol=tolerance * scale)
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_in_the_plane_a_needle_keeps_its_width() -> None:
    # eigenvalues e^3 and e^-14 at 30 degrees: in float32 the sum would drown the small one
    angle = torch.tensor(0.5)
    c, s = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    log_cov = rotation @ torch.diag(torch.tensor([3.0, -14.0])) @ rotation.T
    entries = torch.stack([log_cov[0, 0], log_cov[1, 1], log_cov[1, 0]]).unsqueeze(0)
    factor = scale_tril(entries, 2, torch.zeros(1), torch.ones(1))
    assert factor[0].diagonal().log().sum().item() == pytest.approx(0.5 * (3.0 - 14.0), abs=1e-4)


def test_a_round_covariance_has_a_gradient_in_the_plane() -> None:
    # equal eigenvalues: the closed form divides by their difference
    entries = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(1, dtype=torch.float64)
    scale_tril(entries, 2, 0.5 * ones, ones).diagonal(dim1=1, dim2=2).log().sum().backward()
    # log det / 2 of 0.5 I + e^S: derivative by a diagonal entry 1 / (2 * 1.5), by the other none
    assert entries.grad is not None
    assert entries.grad[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0.0], abs=1e-6)


def test_gradients_are_those_of_differences() -> None:
    entries = draw(3, 2, 3).requires_grad_(True)
    v, g = torch.full((2,), 0.3, dtype=torch.float64), torch.full((2,), 0.7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda e: scale_tril(e, 2, v, g), (entries,))
    spatial = draw(4, 2, 6).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda e: scale_tril(e, 3, v, g), (spatial,), atol=1e-4)
