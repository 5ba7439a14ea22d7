"""Noise of rows: each its own, the same in any order and company, another for another seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator

from little_tables import mixed_table, quick
from quasistatic.random import normal, uniform
from quasistatic.tables.rows import row_noise, row_seed


def rows(n: int = 50) -> torch.Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=Generator().manual_seed(0))


def test_every_row_has_a_row_seed_its_own() -> None:
    x = rows()
    seeds = [row_seed(row, 0) for row in x]
    assert len(set(seeds)) == len(x)
    assert all(0 <= seed < 2**63 for seed in seeds)
    near = x.clone()
    near[:, 2] += 1e-12  # the last digits count as well
    assert not set(seeds) & {row_seed(row, 0) for row in near}
    assert not set(seeds) & {row_seed(row, 1) for row in x}
    assert seeds == [row_seed(row, 0) for row in x.clone()]


def test_the_row_noise_rows_is_independent_and_goes_with_the_row() -> None:
    x = rows(4000)
    noise = normal(torch.zeros(4000, 2, dtype=torch.float64), row_noise(x, 3))
    order = torch.randperm(4000, generator=Generator().manual_seed(1))
    again = normal(torch.zeros(4000, 2, dtype=torch.float64), row_noise(x[order], 3))
    assert torch.equal(again, noise[order])
    assert torch.equal(normal(torch.zeros(1, 2, dtype=torch.float64), row_noise(x[7:8], 3)), noise[7:8])
    assert noise.unique(dim=0).shape == noise.shape
    # two-sided at 1e-6: means, variances, and what neighbours have in common
    assert noise.mean(0).abs().max() < 4.9 / 4000**0.5
    assert (noise.var(0) - 1.0).abs().max() < 4.9 * (2.0 / 4000) ** 0.5
    assert (noise[1:] * noise[:-1]).mean(0).abs().max() < 4.9 / 3999**0.5
    u = uniform((4000, 2), row_noise(x, 4), like=x, dtype=torch.float64)
    assert 0.0 <= u.min() < 0.01 < 0.99 < u.max() < 1.0


def test_scores_do_not_depend_on_the_rows_beside() -> None:
    table = mixed_table(60)
    model = quick().fit(table)
    scores = model.score_samples(table[:9])
    for i in range(9):
        # matrix products of other sizes round differently; a different draw would differ by far more
        assert abs(model.score_samples(table[i : i + 1])[0] - scores[i]) < 1e-10
    np.testing.assert_allclose(model.score_samples(table[[8, 0, 3]]), scores[[8, 0, 3]], rtol=0, atol=1e-10)
