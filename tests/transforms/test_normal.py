"""The normal law of a table with holes, against conditioning by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from chance import check_covariance, check_mean
from quasistatic.errors import InputError
from quasistatic.transforms.normal import Normal
from quasistatic.transforms.shrinkage import Shrinkage, cross_validated_shrinkage, held_out

NAN = math.nan
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
COV = torch.tensor([[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.5]], dtype=torch.float64)
LAW = Normal(MEAN, COV)


def rows(n: int, seed: int = 0) -> Tensor:
    noise = torch.randn(n, 3, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return MEAN + noise @ torch.linalg.cholesky(COV).T


def pierced(x: Tensor, share: float = 0.4, seed: int = 1) -> Tensor:
    hole = torch.rand(x.shape, generator=Generator().manual_seed(seed)) < share
    return x.masked_fill(hole, NAN)


def conditional(row: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the holes of a row, by the inverse of the joint precision's block."""
    m, o = row.isnan(), ~row.isnan()
    precision = torch.linalg.inv(COV)
    cov = torch.linalg.inv(precision[m][:, m])
    return MEAN[m] - cov @ precision[m][:, o] @ (row[o] - MEAN[o]), cov


def test_the_density_of_what_is_observed_is_the_marginal_one() -> None:
    x = torch.cat([pierced(rows(40)), torch.full((1, 3), NAN, dtype=torch.float64)])
    for row, told in zip(x, LAW.log_prob(x), strict=True):
        o = ~row.isnan().numpy()
        marginal = stats.multivariate_normal(MEAN.numpy()[o], COV.numpy()[np.ix_(o, o)]) if o.any() else None
        assert told.item() == pytest.approx(marginal.logpdf(row.numpy()[o]) if marginal else 0.0, abs=1e-10)


def test_holes_are_filled_with_the_conditional_mean() -> None:
    x = pierced(rows(40))
    filled = LAW.filled(x)
    for row, full in zip(x, filled, strict=True):
        m = row.isnan()
        assert torch.equal(full[~m], row[~m])
        torch.testing.assert_close(full[m], conditional(row)[0], rtol=1e-9, atol=1e-9)


def test_draws_are_of_the_conditional_law_and_tell_its_density() -> None:
    row = torch.tensor([NAN, -1.0, NAN], dtype=torch.float64)
    x, log_q = LAW.draw(row.repeat(20_000, 1), Generator().manual_seed(0))
    mean, cov = conditional(row)
    check_mean(x[:, [0, 2]], mean)
    check_covariance(x[:, [0, 2]], cov)
    by_hand = stats.multivariate_normal(mean.numpy(), cov.numpy()).logpdf(x[:50, [0, 2]].numpy())
    np.testing.assert_allclose(log_q[:50].numpy(), by_hand, atol=1e-8)
    whole, nothing = LAW.draw(rows(3))
    assert torch.equal(whole, rows(3))
    assert torch.equal(nothing, torch.zeros(3, dtype=torch.float64))


def test_without_holes_the_fit_is_the_moments() -> None:
    x = rows(50)
    fitted = Normal.fit(x)
    torch.testing.assert_close(fitted.cov, torch.as_tensor(np.cov(x.numpy().T, bias=True)))


def test_with_holes_the_fit_is_where_the_likelihood_is_flat() -> None:
    x = pierced(rows(200), 0.3)
    fitted = Normal.fit(x, n_iterations=2000, tolerance=1e-10)
    mean, cov = fitted.mean.clone().requires_grad_(), fitted.cov.clone().requires_grad_()
    Normal(mean, 0.5 * (cov + cov.T)).log_prob(x).mean().backward()
    assert mean.grad is not None
    assert cov.grad is not None
    assert mean.grad.abs().max() < 1e-6
    assert cov.grad.abs().max() < 1e-6


def test_every_step_of_the_fit_raises_the_likelihood() -> None:
    x = pierced(rows(100), 0.5)
    scores = [Normal.fit(x, n_iterations=k, tolerance=0.0).log_prob(x).sum().item() for k in (1, 2, 5, 20, 80)]
    assert scores == sorted(scores)


def test_permuted_columns_are_the_same_law_permuted() -> None:
    x, order = pierced(rows(80)), [2, 0, 1]
    a, b = Normal.fit(x), Normal.fit(x[:, order])
    torch.testing.assert_close(a.cov[order][:, order], b.cov, rtol=1e-6, atol=1e-6)


def test_a_column_that_is_never_observed_has_no_law() -> None:
    x = rows(5)
    x[:, 1] = NAN
    with pytest.raises(InputError, match="column 1 has no observed entry"):
        Normal.fit(x)


def test_columns_that_determine_each_other_still_fill() -> None:
    x = rows(30)
    twice = torch.cat([x, x[:, :1]], 1)
    law = Normal.fit(twice).shrunk(1e-6)
    twice[0, 3] = NAN
    assert law.filled(twice)[0, 3].item() == pytest.approx(x[0, 0].item(), abs=1e-4)


def test_shrinkage_is_strong_where_rows_are_few_and_weak_where_they_are_many() -> None:
    wide = torch.randn(25, 20, generator=Generator().manual_seed(0), dtype=torch.float64)
    assert cross_validated_shrinkage(wide)[0] >= (0.3, 0)
    assert cross_validated_shrinkage(rows(3000))[0] <= (1e-2, 0)
    assert cross_validated_shrinkage(pierced(rows(300), 0.2))[0] <= (0.1, 0)


def of_factors(n: int, d: int = 20, rank: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows with so many common factors, and their covariance."""
    draw = Generator().manual_seed(seed)
    load = torch.randn(d, rank, generator=draw, dtype=torch.float64)
    own = 0.2 + torch.rand(d, generator=draw, dtype=torch.float64)
    common = torch.randn(n, rank, generator=draw, dtype=torch.float64) @ load.T
    x = common + own.sqrt() * torch.randn(n, d, generator=draw, dtype=torch.float64)
    return x, load @ load.T + torch.diag(own)


def test_a_law_of_factors_is_shrunk_to_itself_whole() -> None:
    _, cov = of_factors(2)
    law = Normal(torch.zeros(20), cov)
    torch.testing.assert_close(law.shrunk(1.0, 2).cov, cov, rtol=1e-3, atol=1e-3)
    fewer = law.shrunk(0.5, 1).cov
    torch.testing.assert_close(fewer.diagonal(), cov.diagonal())
    assert torch.linalg.eigvalsh(fewer)[0] > 0


def test_few_rows_of_many_columns_with_factors_are_shrunk_towards_them() -> None:
    x, cov = of_factors(60)
    chosen, score = cross_validated_shrinkage(x)
    assert chosen.rank in (2, 5)
    assert chosen.amount >= 0.6
    assert cross_validated_shrinkage(of_factors(2000)[0])[0].rank == 0  # many rows say it themselves
    fresh = of_factors(2000, seed=0)[0]
    law = Normal.fit(x)
    diagonal = max(law.shrunk(s).log_prob(fresh).mean().item() for s in (1e-2, 3e-2, 0.1, 0.3))
    truth = Normal(torch.zeros(20), cov).log_prob(fresh).mean().item()
    ours = law.shrunk(*chosen).log_prob(fresh).mean().item()
    assert diagonal < ours < truth
    assert score == pytest.approx(ours, abs=1.0)


def test_rows_left_out_are_told_under_each_scale() -> None:
    scales = torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64)
    told = held_out(rows(2000), Shrinkage(1e-6), scales).mean(0)
    expected = -0.5 * (3 * (2 * math.pi * scales).log() + COV.logdet() + 3 / scales)  # of a normal law known exactly
    torch.testing.assert_close(told, expected, rtol=0, atol=0.15)  # five standard errors at scale 1/4


def test_shrinking_keeps_variances() -> None:
    half = LAW.shrunk(0.5)
    torch.testing.assert_close(half.cov.diagonal(), COV.diagonal())
    assert half.cov[0, 1].item() == pytest.approx(0.45)
