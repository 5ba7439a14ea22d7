"""The band of eq. (24) around exact reversals, whose entropy is known by other routes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_mean
from oracles import ExactGaussianData, ForwardKernel, all_bits, marginal_matrix, random_weights, step_matrix
from quasistatic.distributions import Gaussian
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.entropy import ReverseEntropyBounds, reverse_entropy_bounds
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel
from quasistatic.reverse import ReverseKernel
from quasistatic.schedules import constant_erasure, geometric
from strategies import rates, seeds

LOG_2PIE = math.log(2.0 * math.pi * math.e)


def normal_rows(n: int, d: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, d, generator=Generator().manual_seed(seed), dtype=torch.float64)


def entropy_of(law: Tensor) -> Tensor:
    """Of probabilities along the last axis."""
    return -torch.xlogy(law, law).sum(-1)


# ----------------------------------------------------------------------------------------------------- Gaussian data


@given(beta=rates(), seed=seeds, strength=st.floats(0.0, 1.0))
def test_both_limits_of_gaussian_steps_are_closed_forms_around_the_true_reversal(
    beta: Tensor, seed: int, strength: float
) -> None:
    # upper d/2 log 2 pi e beta_t, lower the same of the posterior's variance, and the entropy of the conditioned normal
    q, d = GaussianDiffusion(beta), 3
    factor = normal_rows(d, d, seed)
    cov = strength * d * factor @ factor.T / (factor @ factor.T).trace()  # mean square of all entries: strength
    exact = ExactGaussianData(q, torch.zeros(d), cov)
    x_0 = normal_rows(4, d, seed) @ torch.linalg.cholesky(cov + 1e-12 * torch.eye(d)).T
    x_0 = x_0 * min(1.0, (x_0.numel() / x_0.square().sum().clamp_min(1e-30)).sqrt().item())  # of the sample, too
    band = reverse_entropy_bounds(q, exact, x_0, generator=Generator().manual_seed(seed))
    assert band.unmet == ""
    posterior_var = q.beta[2:] * q.noise_bar[1:-1] / q.noise_bar[2:]
    torch.testing.assert_close(band.upper, 0.5 * d * (q.beta[2:].log() + LOG_2PIE))
    torch.testing.assert_close(band.lower, 0.5 * d * (posterior_var.log() + LOG_2PIE))
    law = [exact.moments(t).cov for t in range(q.n_steps + 1)]
    # H(X_{t-1} | X_t) from (27), by determinants
    rise = torch.stack([law[t].logdet() - law[t - 1].logdet() for t in range(2, q.n_steps + 1)])
    torch.testing.assert_close(band.model, band.upper - 0.5 * rise, rtol=0, atol=1e-6)
    assert (band.model_se < 1e-9).all()
    assert (band.lower - 1e-9 <= band.model).all()
    assert (band.model <= band.upper + 1e-9).all()


@pytest.mark.parametrize(("var", "limit"), [(1.0, "upper"), (0.0, "lower")])
def test_white_data_meet_the_upper_limit_and_known_data_the_lower(var: float, limit: str) -> None:
    q = GaussianDiffusion(geometric(6, 5.0, -3.0))
    exact = ExactGaussianData(q, torch.zeros(2), var * torch.eye(2))
    band = reverse_entropy_bounds(q, exact, normal_rows(50, 2, 0, var**0.5))
    torch.testing.assert_close(band.model, getattr(band, limit))
    assert (band.lower < band.upper).all()


def test_wide_data_break_the_upper_limit_and_are_told_of() -> None:
    # variance 4: noise takes entropy away, so the true reversal lies above what forward noise allows
    q = GaussianDiffusion(geometric(6, 5.0, -3.0))
    exact = ExactGaussianData(q, torch.zeros(2), 4.0 * torch.eye(2))
    with pytest.warns(UserWarning, match="upper limit of the entropy band need not hold") as told:
        band = reverse_entropy_bounds(q, exact, normal_rows(400, 2, 0, 2.0))
    assert told[0].filename == __file__
    assert "nats above the entropy of pi" in band.unmet
    assert (band.model > band.upper).all()
    assert (band.model > band.lower).all()  # that one holds for any data


@pytest.mark.parametrize(("scale", "met"), [(0.9, True), (1.0, True), (1.1, False)])
def test_the_precondition_is_judged_by_its_own_error(scale: float, met: bool) -> None:
    # mean square 1 must pass for 999 999 of a million seeds (5 standard errors, one-sided 3e-7); mean square 1.21 with
    # 2000 numbers stands 7 errors off. d/2 (mean square - 1) is what the data cost beyond the noise
    x_0 = normal_rows(1000, 2, 3, scale)
    q = GaussianDiffusion(geometric(3, 3.0, -3.0))
    kernel = ForwardKernel(q)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        band = reverse_entropy_bounds(q, kernel, x_0)
    assert (band.unmet == "") == met == (not told)
    if not met:
        assert float(band.unmet.split("average ")[1].split(" ")[0]) == pytest.approx(
            x_0.square().mean().item() - 1.0, rel=5e-3
        )


class Scaled(ReverseKernel):
    """Another kernel with its variances times a factor."""

    def __init__(self, inner: ReverseKernel, factor: float) -> None:
        super().__init__(inner.process)
        self.inner, self.factor = inner, factor

    def forward(self, x_t: Tensor, t: int | Tensor) -> Gaussian:
        p = self.inner(x_t, t)
        assert isinstance(p, Gaussian)
        return Gaussian(p.mean, self.factor * p.var)


def test_a_kernel_too_sure_or_too_vague_leaves_the_band() -> None:
    # the forward step's variance is the upper limit; the band is at most log 3.1 wide here
    q, x_0 = GaussianDiffusion(geometric(8, 5.0, -3.0)), normal_rows(40, 2, 0, 0.9)
    for factor in (0.1, 1.1):
        band = reverse_entropy_bounds(q, Scaled(ForwardKernel(q), factor), x_0)
        torch.testing.assert_close(band.model, band.upper + math.log(factor))
        assert (band.model < band.lower).all() == (factor < 1)
        assert (band.model > band.upper).all() == (factor > 1)


# ------------------------------------------------------------------------------------------------------------- bits


def true_band(q: BernoulliDiffusion, states: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both limits and H(X_{t-1} | X_t) by (27), summed over all states with matrices, each (T - 1,)."""
    lower, upper, true = [], [], []
    for t in range(2, q.n_steps + 1):
        before, now, step = marginal_matrix(q, states, t - 1), marginal_matrix(q, states, t), step_matrix(q, states, t)
        forwards = (weights @ before) @ entropy_of(step)
        upper.append(forwards)
        lower.append(forwards + weights @ (entropy_of(before) - entropy_of(now)))
        true.append(forwards + entropy_of(weights @ before) - entropy_of(weights @ now))
    return torch.stack(lower), torch.stack(upper), torch.stack(true)


def in_proportion(states: Tensor, weights: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Rows in exact proportion to weights that are multiples of 1 / n, and those weights."""
    counts = (weights * n).round().long()
    return states.repeat_interleave(counts, 0), counts.double() / counts.sum()


@pytest.mark.parametrize("rho", [0.5, 0.3])
def test_bits_under_their_exact_kernels_lie_within_the_band_by_enumeration(rho: float) -> None:
    # the exact kernel is a mixture, whose entropy is scored at draws; 1e-6 for each of 3 x 2 families of T - 1 means
    states = all_bits(3)
    q = BernoulliDiffusion(constant_erasure(5), rho)
    x_0, weights = in_proportion(states, random_weights(8, seed=1), 400)
    if rho != 0.5:  # rarer ones than rho, so that the limit holds
        x_0, weights = in_proportion(states, weights * 0.4 ** states.sum(1) / (weights * 0.4 ** states.sum(1)).sum(), 400)
        assert (weights @ states).mean() < rho
    lower, upper, true = true_band(q, states, weights)
    assert (lower < true).all()
    assert (true < upper + 1e-12).all()

    def bands(kernel: ReverseKernel) -> list[ReverseEntropyBounds]:
        return [reverse_entropy_bounds(q, kernel, x_0, generator=Generator().manual_seed(seed)) for seed in range(20)]

    exact = bands(ExactBernoulliKernel(q, states, weights))
    assert {band.unmet for band in exact} == {""}
    check_mean(torch.stack([band.upper for band in exact]), upper, resolves=0.05)
    check_mean(torch.stack([band.lower for band in exact]), lower, resolves=0.05)
    check_mean(torch.stack([band.model for band in exact]), true, resolves=0.1)
    # the error it states is the one it has: mean square of 80 scores, 5 deviations of 0.16 either way. (Rows in exact
    # proportion vary a little less than independent ones would.)
    scores = torch.stack([(band.model - true) / band.model_se for band in exact]).square().mean().item()
    assert 0.2 < scores < 1.8
    # independent bits with the same means are vaguer than the truth, and still no vaguer than forward noise
    factorised = torch.stack([band.model for band in bands(ExactBernoulliKernel(q, states, weights, factorised=True))])
    assert (factorised.mean(0) > true).all()
    assert (factorised.mean(0) < upper).all()


def test_bits_need_no_precondition_at_rho_one_half_and_a_mean_rate_below_it_elsewhere() -> None:
    ones = torch.ones(20, 4, dtype=torch.float64)
    cases = [(0.5, ones, True), (0.2, 0 * ones, True), (0.2, ones, False), (0.8, 0 * ones, False), (0.8, ones, True)]
    for rho, x_0, met in cases:
        q = BernoulliDiffusion(constant_erasure(4), rho)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            band = reverse_entropy_bounds(q, ForwardKernel(q), x_0)
        assert (band.unmet == "") == met == (not told), rho


def test_certain_bits_that_noise_makes_surer_break_the_upper_limit() -> None:
    # a fair coin under rho = 0.05: at first noise raises the entropy of nothing, H(X_t) falls from log 2 to h(0.05)
    q = BernoulliDiffusion(constant_erasure(5), 0.05)
    states = all_bits(1)
    _, upper, true = true_band(q, states, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert (true > upper).all()
    with pytest.warns(UserWarning, match="need not hold"):
        reverse_entropy_bounds(q, ExactBernoulliKernel(q, states), states.repeat(50, 1))


# ------------------------------------------------------------------------------------------------------ mixtures


def test_a_mixture_kernel_of_numbers_has_the_entropy_of_the_quadrature() -> None:
    # H(X_t) of a mixture of two normals on a fine grid, then (27); 1e-6 for the five steps
    q = GaussianDiffusion(geometric(6, 4.0, -3.0))
    means, var = torch.tensor([[-0.8], [0.9]], dtype=torch.float64), 0.01
    x = torch.linspace(-8, 8, 20_001, dtype=torch.float64)

    def entropy(t: int) -> Tensor:
        spread = q.alpha_bar[t] * var + q.noise_bar[t]
        square = (x.unsqueeze(1) - q.alpha_bar[t].sqrt() * means.T).square()
        law = (-0.5 * square / spread).exp().mean(1) / (2.0 * math.pi * spread).sqrt()
        return -torch.trapezoid(torch.xlogy(law, law), x)

    steps = range(2, q.n_steps + 1)
    true = torch.stack([0.5 * (q.beta[t].log() + LOG_2PIE) + entropy(t - 1) - entropy(t) for t in steps])
    kernel = ExactGaussianMixtureKernel(q, means, var)
    x_0 = means.repeat(300, 1) + normal_rows(600, 1, 0, var**0.5)
    bands = [reverse_entropy_bounds(q, kernel, x_0, generator=Generator().manual_seed(seed)) for seed in range(12)]
    check_mean(torch.stack([band.model for band in bands]), true, resolves=0.1)
    assert (bands[0].lower < true).all()
    assert (true < bands[0].upper).all()


# ------------------------------------------------------------------------------------------------------------- edges


def test_one_step_has_no_band_and_one_row_no_error() -> None:
    q = GaussianDiffusion(torch.tensor([0.5]))
    band = reverse_entropy_bounds(q, ForwardKernel(q), normal_rows(3, 2, 0, 0.5))
    assert [len(values) for values in (band.lower, band.upper, band.model, band.model_se)] == [0, 0, 0, 0]
    with pytest.raises(InputError, match="two rows of data or more, got 1"):
        reverse_entropy_bounds(q, ForwardKernel(q), torch.zeros(1, 2))


def test_the_same_generator_gives_the_same_band() -> None:
    q = BernoulliDiffusion(constant_erasure(4), 0.5)
    states = all_bits(2)
    a, b = (
        reverse_entropy_bounds(q, ExactBernoulliKernel(q, states), states, generator=Generator().manual_seed(1))
        for _ in "ab"
    )
    assert torch.equal(a.model, b.model)
    assert torch.equal(a.upper, b.upper)
