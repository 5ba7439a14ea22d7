"""Holes: draws and evidence against conditional laws known exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator

from chance import check_covariance, check_frequencies, check_mean
from little_tables import fitted_normal, mixed_table, normal_rows, pierced, quick, untrained
from oracles import model_log_prob, roughen
from quasistatic.distributions import Gaussian, Joint, Mixture, MultivariateGaussian
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, MixedDiffusion
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import KnownColumns
from quasistatic.posterior.smc import posterior_sample
from quasistatic.reverse import MixedDenoiser
from quasistatic.schedules import geometric

N = 4000


def test_gaussian_data_is_imputed_by_its_conditional_normal() -> None:
    x = normal_rows(300)
    model = untrained(marginals="none", n_steps=6).fit(x)
    mean, cov = fitted_normal(model)
    row = np.array([[2.0, np.nan, np.nan]])
    filled = model.impute(row, n_draws=N, n_particles=N, random_state=1)
    gain = cov[1:, :1] / cov[0, 0]
    draws = torch.as_tensor(filled.draws[:, 0, 1:])
    check_mean(draws, torch.as_tensor(mean[1:] + gain[:, 0] * (2.0 - mean[0])))
    check_covariance(draws, torch.as_tensor(cov[1:, 1:] - gain @ cov[:1, 1:]))
    assert (filled.draws[:, 0, 0] == 2.0).all()
    few = model.impute(np.repeat(row, 200, 0), n_draws=20, n_particles=200, random_state=2)
    check_mean(torch.as_tensor(few.mean[:, 1:]), torch.as_tensor(mean[1:] + gain[:, 0] * (2.0 - mean[0])))
    error = few.mean[:, 1].std() / math.sqrt(cov[1, 1] - gain[0, 0] * cov[0, 1])
    assert error == pytest.approx(1 / math.sqrt(200), rel=0.3)  # of all particles, not of the draws
    assert all(len(np.unique(few.draws[:, i, 1])) == 20 for i in range(200))  # none is drawn twice
    assert filled.log_evidence[0] == pytest.approx(stats.norm(mean[0], math.sqrt(cov[0, 0])).logpdf(2.0), abs=5e-3)
    assert filled.ess[0] > 0.98 * N  # all that varies is what little the noise end knows of the data


def test_the_evidence_of_every_pattern_is_the_marginal_density() -> None:
    x = pierced(normal_rows(200))
    model = untrained(n_steps=5).fit(x)
    some = x[np.isnan(x).any(1)][:20]
    told = model.impute(some, n_draws=2, n_particles=1000)
    np.testing.assert_allclose(told.log_evidence, model.score_samples(some), rtol=0, atol=0.01)


def test_a_small_table_s_posterior_against_all_its_states() -> None:
    # a class of three and two bits; the class and a bit are missing
    beta = geometric(6, 3.0, -3.0)
    rates = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    q = MixedDiffusion([BernoulliDiffusion(beta, 0.3), CategoricalDiffusion(beta, 3, rho=rates)], [[1, 2], [0]])
    network = roughen(ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=8, depth=1), scale=0.4)
    kernel = MixedDenoiser(q, network.double()).double()
    states = torch.tensor(list(itertools.product(range(3), range(2), range(2))), dtype=torch.float64)
    p = model_log_prob(q, kernel, states).exp()
    possible = states[:, 2] == 1
    known = torch.tensor([[False, False, True]])
    nothing = torch.zeros(0)
    seen = KnownColumns(known, torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(0, 0), nothing)
    cloud = posterior_sample(q, kernel, seen, 40_000, shape=(3,), generator=Generator().manual_seed(0))
    assert cloud.log_evidence.item() == pytest.approx(p[possible].sum().log().item(), abs=0.02)
    drawn = cloud.resample(20_000, generator=Generator().manual_seed(1))[0]
    counts = torch.stack([(drawn == state).all(1).sum() for state in states])
    check_frequencies(counts, torch.where(possible, p, 0.0) / p[possible].sum(), false_alarm=1e-9)


def test_products_with_known_columns_integrate_to_the_marginal() -> None:
    matrix = torch.tensor([[1.0, 0.2], [0.5, 0.8]], dtype=torch.float64)
    root = torch.tensor([[[0.7, 0.0], [0.3, 0.4]]], dtype=torch.float64)
    mean = torch.tensor([[0.3, -0.6]], dtype=torch.float64)
    shift = torch.tensor([0.1, 0.2], dtype=torch.float64)
    values = torch.tensor([[0.0, 0.9]], dtype=torch.float64)
    seen = KnownColumns(torch.tensor([[False, True]]), values, matrix, shift)
    law, log_z = seen._of_numbers(MultivariateGaussian(mean, root), seen.known, seen.values)
    y_mean, y_cov = matrix @ mean[0] + shift, matrix @ root[0] @ root[0].T @ matrix.T
    assert log_z.item() == pytest.approx(stats.norm(y_mean[1], y_cov[1, 1].sqrt()).logpdf(0.9), abs=1e-9)
    y = law.sample(Generator().manual_seed(0)) @ matrix.T + shift  # type: ignore[attr-defined]
    assert y[0, 1].item() == pytest.approx(0.9)


def test_independent_numbers_seen_through_a_matrix_are_conditioned_like_any_others() -> None:
    seed = Generator().manual_seed(0)
    matrix = torch.randn(4, 4, generator=seed, dtype=torch.float64)
    shift = torch.randn(4, generator=seed, dtype=torch.float64)
    known = torch.tensor(list(itertools.product([False, True], repeat=4)))  # every pattern, in batches of one width and all
    values = torch.randn(16, 4, generator=seed, dtype=torch.float64)
    mean = torch.randn(16, 4, generator=seed, dtype=torch.float64)
    var = torch.rand(16, 4, generator=seed, dtype=torch.float64) + 0.1
    for rows in (torch.arange(16), torch.tensor([15]), torch.tensor([0]), torch.tensor([1, 15])):
        seen = KnownColumns(known[rows], values[rows], matrix, shift)
        where = (seen.known, seen.values)
        narrow, log_z = seen._of_block(Gaussian(mean[rows], var[rows]), *where)
        full, expected = seen._of_block(MultivariateGaussian(mean[rows], torch.diag_embed(var[rows].sqrt())), *where)
        assert isinstance(narrow, LowRankGaussian)
        assert isinstance(full, MultivariateGaussian)
        torch.testing.assert_close(log_z, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(narrow.mean, full.mean, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(narrow.root @ narrow.root.mT, full.cov, rtol=1e-6, atol=1e-8)
        p = Joint([Gaussian(mean[rows], var[rows])], [torch.arange(4)])
        torch.testing.assert_close(seen.lookahead(p), log_z)
        twice = Mixture(
            torch.full((len(rows), 2), 0.5, dtype=torch.float64).log(), p.take(torch.arange(len(rows)).repeat_interleave(2))
        )
        torch.testing.assert_close(seen.lookahead(twice), log_z)
        torch.testing.assert_close(seen.product(twice).log_lookahead, log_z)


def test_a_law_of_few_directions_is_the_normal_law_it_says() -> None:
    seed = Generator().manual_seed(0)
    mean, root = torch.randn(1, 3, generator=seed).double(), torch.randn(1, 3, 2, generator=seed).double()
    var = torch.tensor([[0.3, 0.5, 1e-6]], dtype=torch.float64)
    law = LowRankGaussian(mean, root, var)
    cov = (root @ root.mT)[0] + torch.diag(var[0])
    x = law.take(torch.zeros(50_000, dtype=torch.long)).sample(seed)
    check_mean(x, mean[0])
    check_covariance(x, cov)
    dense = torch.distributions.MultivariateNormal(mean[0], cov)
    torch.testing.assert_close(law.take(torch.zeros(20, dtype=torch.long)).log_prob(x[:20]), dense.log_prob(x[:20]))


def test_mixed_rows_are_filled_with_values_their_columns_have() -> None:
    table = mixed_table()
    model = quick(max_updates=20).fit(table)
    holes = table[:6].copy()
    holes[0, 1] = holes[1, 2] = holes[2, 3] = holes[3, 0] = holes[4, 4] = None
    filled = model.impute(holes, n_draws=7)
    assert filled.draws.shape == (7, 6, 5)
    assert set(filled.draws[:, 0, 1]) <= {"F", "I", "M"}
    assert set(filled.draws[:, 1, 2]) <= set(range(1, 13))
    assert set(filled.draws[:, 2, 3]) <= {0.0, 1.0}
    assert (filled.draws[:, 4, 4] == 7.0).all()
    assert filled.mean[0, 1] in {"F", "I", "M"}
    assert (filled.draws[:, 5] == table[5]).all()
    assert np.isnan(filled.log_evidence).tolist() == [False, False, False, False, True, True]
    low, high = filled.quantile(0.05), filled.quantile(0.95)
    assert low[3, 0] <= filled.mean[3, 0] <= high[3, 0]
    assert np.isnan(low[0, 1])


def test_dependence_between_a_class_and_a_number_is_used() -> None:
    draw = np.random.default_rng(0)
    group = draw.choice(["a", "b"], 600)
    table = np.empty((600, 2), dtype=object)
    table[:, 0], table[:, 1] = group, draw.normal(size=600) + 6.0 * (group == "b")
    model = quick(max_updates=300, n_steps=20, width=32, batch_size=64, learning_rate=5e-3).fit(table)
    asked = np.array([[None, 0.0], [None, 6.0]], dtype=object)
    assert model.impute(asked, n_draws=50).mean[:, 0].tolist() == ["a", "b"]
    numbers = model.condition({0: "b"}, n_draws=200).draws[:, 0, 1].astype(float)
    assert abs(numbers.mean() - 6.0) < 0.8


def test_what_cannot_be_filled_is_refused() -> None:
    table = mixed_table()
    model = quick().fit(table)
    wrong = table[:2].copy()
    wrong[1, 1], wrong[1, 0] = "X", None
    with pytest.raises(InputError, match=r"row 1 cannot be filled: it holds column 1='X': not a category seen in "):
        model.impute(wrong)
    with pytest.raises(InputError, match="n_draws must be at least 1"):
        model.impute(table, n_draws=0)
    with pytest.raises(InputError, match="no column 'age'"):
        model.condition({"age": 3})
    with pytest.raises(InputError, match=r"cannot condition on column 1='X': not a category seen in training \(F, I, M\)"):
        model.condition({1: "X"})
    with pytest.raises(InputError, match="between 0 and 1"):
        model.impute(table[:2]).quantile(1.5)
