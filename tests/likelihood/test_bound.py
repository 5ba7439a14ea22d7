"""The bound against models whose log p can be summed, integrated or conditioned."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from torch import Generator, Tensor

from chance import FALSE_ALARM, check_mean, check_same_mean, standard_error
from oracles import (
    ExactGaussianData,
    ForwardKernel,
    RandomBits,
    all_bits,
    enumerated_bound,
    index_of,
    law_table,
    marginal_matrix,
    model_log_prob,
    one_bit_bound,
    random_weights,
    roughen,
    white,
)
from quasistatic.distributions import Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood import importance, scores
from quasistatic.likelihood.bound import Bound, elbo, null_log_prob, paper_k
from quasistatic.likelihood.exact import ExactBernoulliKernel
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.likelihood.scores import stacked_rows, step_log_ratio
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import (
    BernoulliDenoiser,
    FixedFirstStep,
    GaussianDenoiser,
    PaperKernel,
    ReverseKernel,
)
from quasistatic.schedules import beta_from_log_snr, constant_erasure, geometric
from quasistatic.transforms import Affine
from strategies import rates

METHODS = ("marginal", "trajectory")


def one_bit() -> tuple[BernoulliDiffusion, ReverseKernel, Tensor, Tensor]:
    """P(1) = 0.1 and nineteen steps 1/20 .. 1/2 towards rate 1/2, with the true reversal."""
    q = BernoulliDiffusion(1.0 / torch.arange(20, 1, -1, dtype=torch.float64), 0.5)
    states, weights = all_bits(1), torch.tensor([0.9, 0.1], dtype=torch.float64)
    return q, ExactBernoulliKernel(q, states, weights, factorised=True), states, weights


def random_denoiser(d: int = 3, n_steps: int = 4, seed: int = 0, m: int = 1) -> tuple[BernoulliDiffusion, BernoulliDenoiser]:
    """An untrained model of bits with random weights: some law of 2^d states, none in particular."""
    torch.manual_seed(seed)
    q = BernoulliDiffusion(constant_erasure(n_steps), 0.4)
    network = roughen(ResidualMLP(d, BernoulliDenoiser.n_outputs(d, m), width=8, depth=1), seed, 0.6).double()
    rate = torch.linspace(0.2, 0.6, d, dtype=torch.float64)
    kernel = BernoulliDenoiser(q, network, rate, m).double().requires_grad_(False)
    return q, kernel


def gaussian_data(seed: int = 0, n_steps: int = 12, low: float = -2.0) -> tuple[GaussianDiffusion, ExactGaussianData]:
    """Three correlated normals, and a schedule that ends with some signal left."""
    q = GaussianDiffusion(geometric(n_steps, 6.0, low))
    root = torch.randn(3, 3, generator=Generator().manual_seed(seed), dtype=torch.float64)
    mean = torch.tensor([0.5, -0.3, 0.0], dtype=torch.float64)
    return q, ExactGaussianData(q, mean, root @ root.T + 0.1 * torch.eye(3, dtype=torch.float64))


# --------------------------------------------------------------------------------------------------- one bit


def test_one_bit_by_hand() -> None:
    # the design's golden numbers; the oracle is plain Python
    bound, minus_entropy, gap = one_bit_bound(0.1, [1.0 / k for k in range(20, 1, -1)])
    assert bound == pytest.approx(-0.325883186861, abs=1e-11)
    assert minus_entropy == pytest.approx(-0.325082973391, abs=1e-12)
    assert gap == pytest.approx(0.000800213470, abs=1e-12)


def test_one_bit_by_enumeration() -> None:
    q, kernel, states, weights = one_bit()
    assert (weights @ enumerated_bound(q, kernel, states)).item() == pytest.approx(-0.325883186861, abs=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_one_bit_by_draws(method: str, generator: Generator) -> None:
    # 1e-6 each; data in exact proportion, so that only the steps are random
    q, kernel, _, _ = one_bit()
    x = torch.zeros(400, 100, dtype=torch.float64)
    x[:, :10] = 1.0
    total = elbo(q, kernel, x.view(-1, 1), generator=generator, method=method).total.view(400, 100)
    check_mean(total.mean(1), -0.325883186861, resolves=0.015)


def test_the_true_reversal_of_a_bit_is_exact_but_for_the_end() -> None:
    # the model's own log p, by matrices: E log p = -H - KL(data || model), and the model starts from pi
    q, kernel, states, weights = one_bit()
    log_p = model_log_prob(q, kernel, states)
    gap = -0.325082973391 - (weights @ log_p).item()
    assert 0.0 < gap < 0.000800213470  # the bound adds KL of the paths to KL of the data


# ------------------------------------------------------------------------------------ all states of a few bits


@pytest.mark.parametrize("d", [1, 2, 4, 6])
def test_the_bound_is_below_log_p_for_every_state_and_closes_with_the_number_of_steps(d: int) -> None:
    weights, states, gaps = random_weights(2**d, seed=d), all_bits(d), []
    for n_steps in (2, 4, 8, 16):
        q = BernoulliDiffusion(constant_erasure(n_steps), 0.5)
        kernel = ExactBernoulliKernel(q, states, weights, factorised=True)
        bound, log_p = enumerated_bound(q, kernel, states), model_log_prob(q, kernel, states)
        assert (bound <= log_p + 1e-12).all()
        gaps.append((weights @ (weights.log() - bound)).item())
    if d == 1:  # one bit is no product of anything: nothing is lost at any T
        assert max(gaps) < 1e-12
    else:  # for the true reversal's best product the loss is of first order in 1 / T
        assert all(b < 0.75 * a for a, b in itertools.pairwise(gaps)), gaps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [1, 2])
def test_the_estimators_have_the_enumerated_mean_for_every_state(m: int, method: str, generator: Generator) -> None:
    # 1e-6 for the 8 states together
    q, kernel = random_denoiser(m=m)
    states = all_bits(3)
    n = 3000
    total = elbo(q, kernel, states.repeat(n, 1), generator=generator, method=method).total.view(n, 8)
    check_mean(total, enumerated_bound(q, kernel, states), resolves=0.3)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_any_network_is_a_normalised_model_and_its_bound_is_below(m: int, seed: int) -> None:
    q, kernel = random_denoiser(seed=seed, m=m)
    states = all_bits(3)
    log_p = model_log_prob(q, kernel, states)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert log_p.std().item() > 0.3  # it is not the uniform law
    assert (enumerated_bound(q, kernel, states) < log_p).all()


def test_the_exact_mixture_leaves_no_variance(generator: Generator) -> None:
    # total erasure: q(x_T) is pi, and every path then scores log p(x_0) itself
    d, weights = 3, random_weights(8, seed=2)
    q = BernoulliDiffusion(constant_erasure(5), torch.tensor([0.3, 0.5, 0.6]))
    kernel = ExactBernoulliKernel(q, all_bits(d), weights)
    x = all_bits(d).repeat(20, 1)
    bound = elbo(q, kernel, x, generator=generator, method="trajectory")
    assert bound.transitions.std().item() > 0.1  # the parts do vary
    torch.testing.assert_close(bound.total, weights.log().repeat(20), rtol=0, atol=1e-10)
    estimate = importance_weighted_log_prob(q, kernel, x[:8], n_trajectories=3, generator=generator)
    torch.testing.assert_close(estimate, weights.log(), rtol=0, atol=1e-10)


# ----------------------------------------------------------------------------------------------- Gaussian data


@pytest.mark.parametrize("method", METHODS)
def test_gaussian_data_with_its_true_reversal_loses_the_terminal_kl_and_no_more(method: str, generator: Generator) -> None:
    # 1e-6; log p of the same points is subtracted, which takes most of the variance
    q, kernel = gaussian_data(low=-1.0)
    x = kernel.data(8000, generator)
    total = elbo(q, kernel, x, generator=generator, method=method).total
    check_mean(total - kernel.log_prob(x), -kernel.terminal_kl(), resolves=kernel.terminal_kl())


def test_along_a_path_the_true_reversal_varies_only_with_the_end(generator: Generator) -> None:
    # total = log p(x_0) + log pi(x_T) / q(x_T): the wider the erasure, the less is left of it
    spreads = []
    for low in (-2.0, -6.0, -10.0):
        q, kernel = gaussian_data(low=low)
        x = kernel.data(500, generator)
        total = elbo(q, kernel, x, generator=generator, method="trajectory").total
        spreads.append((total - kernel.log_prob(x)).std().item())
    # where little is left, it is sqrt(alpha_bar) times the data's mean that still shows: e^2 less from one to the next
    assert spreads[1] / spreads[2] == pytest.approx(math.exp(2), rel=0.15)
    assert spreads[0] > 5 * spreads[1]


@given(beta=rates(max_steps=12))
def test_white_data_leaves_no_variance_for_any_rates(beta: Tensor) -> None:
    q = GaussianDiffusion(beta)
    kernel = ExactGaussianData(q, torch.zeros(2), torch.eye(2))
    x = 2.0 * torch.randn(20, 2, generator=Generator().manual_seed(1), dtype=torch.float64)
    total = elbo(q, kernel, x, generator=Generator().manual_seed(2), method="trajectory").total
    torch.testing.assert_close(total, white(x), rtol=1e-9, atol=1e-9)


def test_the_terminal_term_is_paid_per_example() -> None:
    # KL(N(sqrt(a) x, 1 - a) || N(0, 1)) = (a x^2 - a - log(1 - a)) / 2
    q, kernel = gaussian_data()
    x = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    a = q.alpha_bar[-1]
    expected = -0.5 * (a * x.square().sum(1) - 3 * a - 3 * torch.log1p(-a))
    torch.testing.assert_close(elbo(q, kernel, x).terminal, expected)


def test_the_two_estimators_agree_for_a_kernel_that_is_wrong(generator: Generator) -> None:
    # 1e-6
    q = GaussianDiffusion(geometric(6, 4.0, -4.0))
    network = roughen(ResidualMLP(2, 4, width=8, depth=1), scale=0.15)
    kernel = GaussianDenoiser(q, network, 2).requires_grad_(False)
    x = torch.randn(1, 2, generator=generator, dtype=torch.float64).expand(20_000, 2)
    a, b = (elbo(q, kernel, x, generator=generator, method=m).total for m in METHODS)
    assert abs(white(x)[0] - a.mean()) > 0.1
    check_same_mean(a, b)


def test_an_only_step_has_no_transitions(generator: Generator) -> None:
    q = GaussianDiffusion(torch.tensor([0.999]))
    kernel = ExactGaussianData(q, torch.zeros(2), torch.eye(2))
    for method in METHODS:
        bound = elbo(q, kernel, torch.zeros(3, 2, dtype=torch.float64), generator=generator, method=method)
        assert bound.transitions.shape == (3, 0)
        assert torch.isfinite(bound.total).all()


def test_a_step_is_scored_by_kl_or_at_a_draw(generator: Generator) -> None:
    # 1e-6: a mixture of one is a normal, but hides its closed form
    q = Gaussian(torch.zeros(1, 2), torch.ones(1, 2))
    p = Gaussian(torch.full((1, 2), 0.5), torch.full((1, 2), 2.0))
    exact = step_log_ratio(q, p)
    assert exact.item() == pytest.approx(-q.kl(p).item())
    n = 20_000
    many = Gaussian(torch.zeros(n, 2), torch.ones(n, 2))
    hidden = Mixture(torch.zeros(n, 1), Gaussian(torch.full((n, 2), 0.5), torch.full((n, 2), 2.0)))
    check_mean(step_log_ratio(many, hidden, generator), exact.item(), resolves=0.03)


# --------------------------------------------------------------------------------------- the paper's first step


def paper_excess(q: BernoulliDiffusion | GaussianDiffusion, x: Tensor) -> Tensor:
    """Mean of paper_k - direct sum given x_0, derived by hand, (batch,).

    Gaussian: (alpha_bar_T + beta_1) (|x|^2 - d) / 2; bits: (alpha_bar_T + beta_1) sum of (rho - x) logit rho.
    """
    share = q.alpha_bar[-1] + q.beta[1]
    if isinstance(q, GaussianDiffusion):
        return 0.5 * share * (x.square() - 1.0).sum(1)
    return share * ((q.rho - x) * q.rho.logit()).sum(1)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_the_papers_entropy_form_for_gaussians(scale: float, generator: Generator) -> None:
    # 1e-6 each: equal to the direct sum at unit mean square, above it by a known amount beyond
    q, _ = gaussian_data()
    kernel = FixedFirstStep(ExactGaussianData(q, torch.zeros(3), torch.eye(3)), q)
    x = torch.randn(12_000, 3, generator=generator, dtype=torch.float64)
    x = scale * x / x.square().mean().sqrt()  # mean square exactly scale^2
    bound = elbo(q, kernel, x, generator=generator)
    difference = paper_k(q, bound, x) - bound.total
    expected = paper_excess(q, x)
    if scale == 1.0:
        assert expected.mean().item() == pytest.approx(0.0, abs=1e-12)
    else:
        assert expected.mean().item() > 0.2
    check_mean(difference - expected, 0.0, resolves=0.07)


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_the_papers_entropy_form_for_bits(rate: float, generator: Generator) -> None:
    # 1e-6 each: equal at mean rate rho, above it for more ones than that (rho < 1/2)
    q = BernoulliDiffusion(torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64), 0.25)
    x = (torch.arange(4000).view(-1, 1) % 4 < 4 * rate).double().expand(-1, 2)
    kernel = FixedFirstStep(RandomBits(q, 2), q)
    bound = elbo(q, kernel, x, generator=generator)
    difference, expected = paper_k(q, bound, x) - bound.total, paper_excess(q, x)
    if rate == 0.25:
        assert expected.mean().item() == pytest.approx(0.0, abs=1e-12)
    else:
        assert expected.mean().item() > 0.2
    check_mean(difference - expected, 0.0, resolves=0.1)


@pytest.mark.parametrize("total_erasure", [False, True])
def test_a_stationary_first_step_cannot_pass_minus_the_entropy_of_x_1(total_erasure: bool) -> None:
    # best possible kernels; with total erasure and data of rate rho the ceiling itself is reached:
    # K = -sum I + .. = -H(X_1) + H(X_T) - H_p
    d, states, weights = 3, all_bits(3), random_weights(8, seed=4)
    beta = torch.tensor([0.05, 0.2, 0.5, 1.0 if total_erasure else 0.9], dtype=torch.float64)
    q = BernoulliDiffusion(beta, weights @ states)
    first = weights @ marginal_matrix(q, states, 1)
    minus_entropy = (first * first.log()).sum().item()
    best = weights @ enumerated_bound(q, FixedFirstStep(ExactBernoulliKernel(q, states, weights), q), states)
    worse = weights @ enumerated_bound(q, FixedFirstStep(RandomBits(q, d), q), states)
    assert worse < best - 0.1
    assert best.item() <= minus_entropy + 1e-12
    if total_erasure:
        assert best.item() == pytest.approx(minus_entropy, abs=1e-12)


def test_the_ceiling_of_a_stationary_first_step_for_gaussians(generator: Generator) -> None:
    # 1e-6: unit data, true reversal elsewhere: the bound is -H(X_1) + H(X_T) - H_p, both known
    q, _ = gaussian_data()
    cov = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    exact = ExactGaussianData(q, torch.zeros(3), cov)
    x = exact.data(6000, generator)
    bound = elbo(q, FixedFirstStep(exact, q), x, generator=generator, method="trajectory")

    def entropy(t: int) -> float:
        return 0.5 * torch.logdet(2 * math.pi * math.e * exact.moments(t).cov).item()

    noise = 1.5 * math.log(2 * math.pi * math.e)
    check_mean(bound.total, -entropy(1) + entropy(q.n_steps) - noise, resolves=0.2)
    assert bound.first_step == "fixed"


# ---------------------------------------------------------------------------------------- importance weighting


def test_the_importance_weighted_estimate_is_unbiased_for_the_probability(generator: Generator) -> None:
    # 1e-6 for the 8 states together; p itself by matrices
    q, kernel = random_denoiser()
    states, n = all_bits(3), 1500
    estimate = importance_weighted_log_prob(q, kernel, states.repeat(n, 1), n_trajectories=3, generator=generator)
    ratio = (estimate.view(n, 8) - model_log_prob(q, kernel, states)).exp()
    check_mean(ratio, torch.ones(8), resolves=0.25)


def test_it_starts_at_the_bound_rises_and_meets_log_p(generator: Generator) -> None:
    # 1e-6 for the first; five standard errors, 6e-7 two-sided, for each of the others
    q, kernel = random_denoiser(n_steps=3, m=2)
    states = all_bits(3)
    log_p, bound = model_log_prob(q, kernel, states), enumerated_bound(q, kernel, states)
    means, errors = [], []
    for n_trajectories, n in [(1, 2000), (4, 1000), (16, 500), (256, 40)]:
        each = importance_weighted_log_prob(
            q, kernel, states.repeat(n, 1), n_trajectories=n_trajectories, generator=generator
        )
        short = log_p - each.view(n, 8)
        if n_trajectories == 1:
            check_mean(short, log_p - bound)
        means.append(short.mean().item())
        errors.append(standard_error(short.mean(1)).item())
    for k in range(3):
        assert means[k] - means[k + 1] > 5 * math.hypot(errors[k], errors[k + 1]), (means, errors)
    assert means[-1] > -5 * errors[-1]  # never above log p
    assert means[-1] < 0.02 * means[0]


@pytest.mark.parametrize("n_trajectories", [1, 5, 64])
def test_an_exact_gaussian_chain_needs_one_trajectory(n_trajectories: int, generator: Generator) -> None:
    q = GaussianDiffusion(geometric(5))
    kernel = ExactGaussianData(q, torch.zeros(2), torch.eye(2))
    x = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    estimate = importance_weighted_log_prob(q, kernel, x, n_trajectories=n_trajectories, generator=generator)
    torch.testing.assert_close(estimate, white(x), rtol=1e-9, atol=1e-9)


def test_improbable_data_does_not_underflow(generator: Generator) -> None:
    # log p = -500 060 or so, whose exponential is zero in any precision
    q = GaussianDiffusion(geometric(5))
    kernel = ExactGaussianData(q, torch.zeros(2), torch.eye(2))
    x = torch.full((1, 2), 707.0, dtype=torch.float64)
    estimate = importance_weighted_log_prob(q, kernel, x, n_trajectories=9, generator=generator)
    torch.testing.assert_close(estimate, white(x), rtol=1e-9, atol=0)


class Spy(ReverseKernel):
    """Passes everything on and keeps the largest batch."""

    def __init__(self, kernel: ReverseKernel) -> None:
        super().__init__(kernel.process)
        self.kernel = kernel
        self.most = 0

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        self.most = max(self.most, len(x_t))
        return self.kernel(x_t, t)


def stack(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate the network on ``rows`` pairs at once."""
    for module in (importance, scores):
        monkeypatch.setattr(module, "stacked_rows", lambda x: rows)


def test_memory_does_not_grow_with_the_number_of_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    stack(32, monkeypatch)
    q, kernel = random_denoiser()
    sizes = []
    for n_trajectories in (40, 400):
        spy = Spy(kernel)
        importance_weighted_log_prob(q, spy, all_bits(3), n_trajectories=n_trajectories)
        sizes.append(spy.most)
    assert sizes == [32, 32]


@pytest.mark.parametrize("rows", [3, 7, 10_000])
def test_chunks_do_not_change_the_law(rows: int, monkeypatch: pytest.MonkeyPatch, generator: Generator) -> None:
    # 1e-6 for each of the three
    stack(rows, monkeypatch)
    q, kernel = random_denoiser(d=2, n_steps=3)
    states, n = all_bits(2), 150
    expected = enumerated_bound(q, kernel, states)
    for method in METHODS:
        total = elbo(q, kernel, states.repeat(n, 1), generator=generator, method=method).total
        check_mean(total.view(n, 4), expected)
    estimate = importance_weighted_log_prob(q, kernel, states.repeat(100, 1), n_trajectories=5, generator=generator)
    check_mean((estimate.view(100, 4) - model_log_prob(q, kernel, states)).exp(), torch.ones(4))


@pytest.mark.parametrize("rows", [3, 7, 10_000])
def test_chunks_do_not_mix_examples(rows: int, monkeypatch: pytest.MonkeyPatch, generator: Generator) -> None:
    stack(rows, monkeypatch)
    weights = random_weights(8, seed=2)
    q = BernoulliDiffusion(constant_erasure(4), 0.5)
    kernel, x = ExactBernoulliKernel(q, all_bits(3), weights), all_bits(3).repeat(3, 1)
    total = elbo(q, kernel, x, generator=generator, method="trajectory").total
    torch.testing.assert_close(total, weights.log().repeat(3), rtol=0, atol=1e-10)
    estimate = importance_weighted_log_prob(q, kernel, x, n_trajectories=11, generator=generator)
    torch.testing.assert_close(estimate, weights.log().repeat(3), rtol=0, atol=1e-10)


def test_whole_paths_are_chunked_too(generator: Generator) -> None:
    # 2^22 numbers of paths at once: with T = 3 and 2^10 entries 1024 examples, so 1100 need two chunks
    q = BernoulliDiffusion(constant_erasure(3), 0.5)
    x = torch.zeros(1100, 1024)
    x[:, 0] = torch.arange(1100) % 2
    kernel = ExactBernoulliKernel(q, torch.stack([x[0], x[1]]), torch.tensor([0.25, 0.75]))
    total = elbo(q, kernel, x, generator=generator, method="trajectory").total
    expected = torch.where(x[:, 0] > 0, math.log(0.75), math.log(0.25))
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("shape", "rows"), [((2,), 4096), ((3, 32, 32), 32), ((3072,), 21), ((100_000,), 16)])
def test_how_many_pairs_are_stacked(shape: tuple[int, ...], rows: int) -> None:
    assert stacked_rows(torch.zeros(1, *shape)) == rows


# ------------------------------------------------------------------------------------------- units and changes


@pytest.mark.parametrize("c", [0.01, 3.0])
def test_multiplying_the_data_moves_the_bound_by_the_log_of_the_factor(c: float) -> None:
    q, kernel = gaussian_data()
    x = kernel.data(50, Generator().manual_seed(1))
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def told(data: Tensor, transform: Affine) -> Tensor:
        z, log_det = transform(data)
        return elbo(q, kernel, z, generator=Generator().manual_seed(2)).plus_log_det(log_det).total

    shift = torch.tensor(0.3, dtype=torch.float64)
    before, after = told(x, Affine(shift, scale)), told(c * x, Affine(c * shift, c * scale))
    torch.testing.assert_close(after, before - 3 * math.log(c), rtol=0, atol=1e-9)


def test_the_null_model_is_the_noise(generator: Generator) -> None:
    x = torch.randn(5, 2, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(null_log_prob(GaussianDiffusion(geometric(4)), x), white(x))
    rho = torch.tensor([0.2, 0.7], dtype=torch.float64)
    states = all_bits(2)
    expected = (states * rho.log() + (1 - states) * (1 - rho).log()).sum(1)
    torch.testing.assert_close(null_log_prob(BernoulliDiffusion(constant_erasure(4), rho), states), expected)


def test_a_chain_that_only_forgets_is_the_null_model(generator: Generator) -> None:
    # the step is in detailed balance with the noise, so along every path log p - log q telescopes to log pi(x_0)
    q, states = BernoulliDiffusion(torch.tensor([0.1, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.5])), all_bits(3)
    null = null_log_prob(q, states)
    torch.testing.assert_close(model_log_prob(q, ForwardKernel(q), states), null, rtol=0, atol=1e-12)
    total = elbo(q, ForwardKernel(q), states, generator=generator, method="trajectory").total
    torch.testing.assert_close(total, null, rtol=0, atol=1e-12)
    gaussian = GaussianDiffusion(geometric(4, 2.0, -1.0))
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    total = elbo(gaussian, ForwardKernel(gaussian), x, generator=generator, method="trajectory").total
    torch.testing.assert_close(total, null_log_prob(gaussian, x), rtol=1e-9, atol=1e-9)


def test_the_total_is_the_sum_of_the_parts_in_any_unit() -> None:
    bound = Bound(torch.tensor([-0.1, -0.3]), torch.tensor([[-1.0, -2.0], [0.0, -1.0]]), torch.tensor([-4.0, -5.0]), (4,))
    assert bound.total.tolist() == pytest.approx([-7.1, -6.3])
    for unit, divisor in [("nats", 1.0), ("bits", math.log(2)), ("bits_per_dim", 4 * math.log(2))]:
        assert bound.mean(unit).value == pytest.approx(-6.7 / divisor)
        assert sum(part.value for part in bound.terms(unit).values()) == pytest.approx(-6.7 / divisor)
    assert set(bound.terms()) == {"terminal", "transitions", "data"}


def test_a_change_of_variables_goes_to_the_data_term_and_keeps_the_rest() -> None:
    bound = Bound(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2), (3,), "fixed")
    moved = bound.plus_log_det(torch.tensor([1.0, 2.0]))
    assert moved.data.tolist() == [1.0, 2.0]
    assert (moved.event_shape, moved.first_step) == ((3,), "fixed")


def test_a_bound_knows_its_event_and_its_convention(generator: Generator) -> None:
    q = BernoulliDiffusion(constant_erasure(3), 0.5)
    x = torch.zeros(4, 2, 3)
    assert elbo(q, ForwardKernel(q), x).event_shape == (2, 3)
    assert elbo(q, ForwardKernel(q), x).first_step == "learned"
    assert elbo(q, FixedFirstStep(ForwardKernel(q), q), x).first_step == "fixed"


# --------------------------------------------------------------------------------------- steps, grids, gradients


def test_the_columns_of_the_transitions_are_the_steps(generator: Generator) -> None:
    # a kernel that is exact but at t = 3 loses there and nowhere else
    q = GaussianDiffusion(geometric(5))
    exact = ExactGaussianData(q, torch.zeros(2), torch.eye(2))

    class WrongAt3(ReverseKernel):
        def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
            p = exact(x_t, t)
            assert isinstance(p, MultivariateGaussian)
            at = torch.as_tensor(t).expand(len(x_t)) == 3
            return MultivariateGaussian(p.mean + 9.0 * at.unsqueeze(1), p.scale_tril)

    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    for method in METHODS:
        right = elbo(q, exact, x, generator=Generator().manual_seed(1), method=method).transitions
        wrong = elbo(q, WrongAt3(q), x, generator=Generator().manual_seed(1), method=method).transitions
        loses = (right - wrong).abs().amax(0) > 1e-9
        assert loses.tolist() == [False, True, False, False]  # t = 2, 3, 4, 5


def test_the_kernel_is_moved_to_the_grid_of_the_process(generator: Generator) -> None:
    q, kernel = random_denoiser(n_steps=6)
    coarse = q.respaced(2)
    total = elbo(coarse, kernel, all_bits(3).repeat(3000, 1), generator=generator).total.view(3000, 8)
    check_mean(total, enumerated_bound(coarse, kernel.on(coarse), all_bits(3)))  # 1e-6
    assert kernel.process is q


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_the_bound_by_the_rates(method: str) -> None:
    # central differences under the same noise; the draws are differentiable, so both see one smooth function
    x = torch.randn(6, 2, generator=Generator().manual_seed(0), dtype=torch.float64)
    network = roughen(ResidualMLP(2, 4, width=8, depth=1), scale=0.1).double()
    kernel = GaussianDenoiser(GaussianDiffusion(geometric(4)), network, 2).requires_grad_(False)

    def total(levels: Tensor) -> Tensor:
        q = GaussianDiffusion(beta_from_log_snr(levels))
        return elbo(q, kernel, x, generator=Generator().manual_seed(1), method=method).total.sum()

    levels = torch.tensor([4.0, 1.5, -0.5, -3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, (levels,), eps=1e-5, atol=1e-5, rtol=1e-5)


def test_draws_repeat_with_their_generator_and_leave_the_global_one_alone() -> None:
    q, kernel = random_denoiser()
    before = torch.get_rng_state()
    for method in METHODS:
        a, b = (elbo(q, kernel, all_bits(3), generator=Generator().manual_seed(1), method=method) for _ in "ab")
        assert torch.equal(a.total, b.total)
    c, d = (
        importance_weighted_log_prob(q, kernel, all_bits(3), n_trajectories=3, generator=Generator().manual_seed(1))
        for _ in "cd"
    )
    assert torch.equal(c, d)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_is_that_of_the_data(dtype: torch.dtype) -> None:
    # a float32 network in float64 arithmetic
    q = GaussianDiffusion(geometric(4))
    kernel = PaperKernel(q, ResidualMLP(2, 4, width=8, depth=1))
    x = torch.zeros(3, 2, dtype=dtype)
    for method in METHODS:
        bound = elbo(q, kernel, x, method=method)
        assert {bound.terminal.dtype, bound.transitions.dtype, bound.data.dtype} == {dtype}
    assert importance_weighted_log_prob(q, kernel, x, n_trajectories=2).dtype == dtype


def test_only_two_methods() -> None:
    q, kernel = random_denoiser()
    with pytest.raises(ValueError, match='method must be "marginal" or "trajectory", got \'both\''):
        elbo(q, kernel, all_bits(3), method="both")


def test_at_least_one_trajectory() -> None:
    q, kernel = random_denoiser()
    with pytest.raises(ValueError, match="n_trajectories must be at least 1, got 0"):
        importance_weighted_log_prob(q, kernel, all_bits(3), n_trajectories=0)


def test_the_oracles_agree_with_each_other() -> None:
    # rows of matrices sum to one, and the index of a state is its row
    _q, kernel = random_denoiser()
    states = all_bits(3)
    assert index_of(states).tolist() == list(range(8))
    assert law_table(kernel(states, 2), 8, states).sum(1).tolist() == pytest.approx([1.0] * 8)
    exact = ExactGaussianData(*(lambda g: (g[0], g[1].mean, g[1].cov))(gaussian_data()))
    x = exact.data(4, Generator().manual_seed(0))
    # Bayes by hand: p(x_0 | x_1) q(x_1) = q(x_1 | x_0) p(x_0)
    x_1 = exact.process.marginal(x, 1).sample(Generator().manual_seed(1))
    mean, cov = exact.moments(1)
    left = exact(x_1, 1).log_prob(x) + torch.distributions.MultivariateNormal(mean, cov).log_prob(x_1)
    right = exact.process.marginal(x, 1).log_prob(x_1) + exact.log_prob(x)
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    assert FALSE_ALARM == 1e-6  # the rate that the comments of these tests state
