"""The library's exact models against ours, and the promise that nothing of their family is better."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_mean
from oracles import (
    ExactGaussianData,
    RandomBits,
    all_bits,
    enumerated_bound,
    law_table,
    marginal_matrix,
    model_log_prob,
    random_weights,
    reverse_matrix,
    roughen,
    step_matrix,
)
from quasistatic.datasets.heartbeat import heartbeat_atoms, heartbeat_optimal_bound
from quasistatic.distributions import Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel, kl_to_exact
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import BernoulliDenoiser
from quasistatic.schedules import constant_erasure, geometric
from strategies import binomial_diffusions, gaussian_diffusions, seeds

# ---------------------------------------------------------------------------------------------------------- bits


@given(q=binomial_diffusions(max_steps=4, event=(3,)), seed=seeds)
def test_the_mixture_is_the_true_reversal(q: BernoulliDiffusion, seed: int) -> None:
    # Bayes from matrices: q(x_{t-1} | x_t) = q(x_t | x_{t-1}) q(x_{t-1}) / q(x_t)
    states, weights = all_bits(3), random_weights(8, seed)
    kernel = ExactBernoulliKernel(q, states, weights)
    for t in range(1, q.n_steps + 1):
        joint = (weights @ marginal_matrix(q, states, t - 1)).unsqueeze(1) * step_matrix(q, states, t)
        truth = (joint / joint.sum(0)).T
        torch.testing.assert_close(reverse_matrix(kernel, states, t), truth, rtol=1e-7, atol=1e-10)
        per_row = kernel(states, torch.full((8,), t))
        torch.testing.assert_close(law_table(per_row, 8, states), truth, rtol=1e-7, atol=1e-10)


@given(q=binomial_diffusions(max_steps=4, event=(3,)), seed=seeds)
def test_the_best_product_has_the_margins_of_the_true_reversal(q: BernoulliDiffusion, seed: int) -> None:
    states, weights = all_bits(3), random_weights(8, seed)
    exact, product = ExactBernoulliKernel(q, states, weights), ExactBernoulliKernel(q, states, weights, factorised=True)
    for t in range(1, q.n_steps + 1):
        margins = reverse_matrix(exact, states, t) @ states
        torch.testing.assert_close(product(states, t).mean, margins, rtol=1e-7, atol=1e-9)  # type: ignore[attr-defined]


def test_patterns_may_be_few_and_pictures() -> None:
    q = BernoulliDiffusion(constant_erasure(3), 0.5)
    atoms = torch.tensor([[[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])
    flat = ExactBernoulliKernel(q, atoms.flatten(1))
    x = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    for factorised in (False, True):
        square = ExactBernoulliKernel(q, atoms, factorised=factorised)
        flat = ExactBernoulliKernel(q, atoms.flatten(1), factorised=factorised)
        for t in (1, 2, 3):
            expected = flat(x.flatten(1), t).log_prob(x.flatten(1))
            torch.testing.assert_close(square(x, t).log_prob(x), expected)


def test_the_exact_chain_ends_at_the_data_and_nowhere_else() -> None:
    q, states = BernoulliDiffusion(constant_erasure(4), 0.3), all_bits(3)
    kernel = ExactBernoulliKernel(q, states[[1, 6]], torch.tensor([0.25, 0.75]))
    p = model_log_prob(q, kernel, states).exp()
    assert p[[1, 6]].tolist() == pytest.approx([0.25, 0.75], abs=1e-12)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("n_steps", [5, 40])
def test_the_heartbeats_best_product_reaches_its_known_bound(n_steps: int, generator: Generator) -> None:
    # 1e-6; the optimum comes from another enumeration, by the number of ones
    q = BernoulliDiffusion(constant_erasure(n_steps), 0.2)
    atoms = torch.from_numpy(heartbeat_atoms()).double()
    kernel = ExactBernoulliKernel(q, atoms, factorised=True)
    total = elbo(q, kernel, atoms.repeat(400, 1), generator=generator).total
    check_mean(total, heartbeat_optimal_bound(q.alpha_bar.numpy(), 0.2), resolves=0.5)


# ----------------------------------------------------------------------------------------------------- Gaussians


@given(q=gaussian_diffusions(), seed=seeds, var=st.floats(0.01, 3.0))
def test_one_component_is_gaussian_data(q: GaussianDiffusion, seed: int, var: float) -> None:
    # against conditioning by linear algebra; float64 loses digits where var + noise is small beside either
    mean = torch.randn(2, generator=Generator().manual_seed(seed), dtype=torch.float64)
    ours = ExactGaussianData(q, mean, var * torch.eye(2, dtype=torch.float64))
    x = 2.0 * torch.randn(6, 2, generator=Generator().manual_seed(seed + 1), dtype=torch.float64)
    y = torch.randn(6, 2, generator=Generator().manual_seed(seed + 2), dtype=torch.float64)
    for family in ("mixture", "full", "diagonal"):
        theirs = ExactGaussianMixtureKernel(q, mean.unsqueeze(0), var, family=family)
        for t in range(1, q.n_steps + 1):
            expected = ours(x, t)
            p = theirs(x, t)
            inside = expected.mean + expected.var.sqrt() * y
            torch.testing.assert_close(p.log_prob(inside), expected.log_prob(inside), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(theirs.log_prob(x), ours.log_prob(x), rtol=1e-9, atol=1e-9)


def two_blobs(family: str = "mixture", n_steps: int = 4) -> tuple[GaussianDiffusion, ExactGaussianMixtureKernel]:
    q = GaussianDiffusion(geometric(n_steps, 4.0, -4.0))
    means = torch.tensor([[-1.0, -1.2], [1.0, 0.9], [0.3, 0.5]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    return q, ExactGaussianMixtureKernel(q, means, 0.05, weights, family)


def draw_blobs(kernel: ExactGaussianMixtureKernel, n: int, generator: Generator) -> Tensor:
    which = torch.multinomial(kernel.log_weights.exp(), n, replacement=True, generator=generator)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return kernel.means[which] + math.sqrt(kernel.prior_var) * noise


@pytest.mark.parametrize("t", [1, 2, 4])
def test_the_mixture_kernel_is_bayes_for_a_mixture(t: int) -> None:
    # p(x_{t-1} | x_t) q(x_t) = q(x_t | x_{t-1}) q(x_{t-1}); the mixtures q(x_t) from torch
    q, kernel = two_blobs()
    generator = Generator().manual_seed(t)

    def law(s: int) -> torch.distributions.Distribution:
        a, noise = q.alpha_bar[s], 1 - q.alpha_bar[s]
        sd = (a * kernel.prior_var + noise).sqrt().expand(3, 2)
        parts = torch.distributions.Independent(torch.distributions.Normal(a.sqrt() * kernel.means, sd), 1)
        choice = torch.distributions.Categorical(logits=kernel.log_weights)
        return torch.distributions.MixtureSameFamily(choice, parts)

    x_prev = law(t - 1).sample((50,)).double()
    x_t = q.step(x_prev, t).sample(generator)
    left = kernel(x_t, t).log_prob(x_prev) + law(t).log_prob(x_t)
    right = q.step(x_prev, t).log_prob(x_t) + law(t - 1).log_prob(x_prev)
    torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-8)
    each = kernel(x_t, torch.full((50,), t)).log_prob(x_prev)
    torch.testing.assert_close(each, kernel(x_t, t).log_prob(x_prev))


@pytest.mark.parametrize("t", [1, 3])
def test_the_best_normals_have_the_moments_of_the_mixture(t: int) -> None:
    _q, kernel = two_blobs()
    x = torch.randn(5, 2, generator=Generator().manual_seed(t), dtype=torch.float64)
    p = kernel(x, t)
    assert isinstance(p, Mixture)
    assert isinstance(p.components, Gaussian)
    w = p.log_weights.exp().unsqueeze(-1)
    mean = p.components.mean.view(5, 3, 2)
    centre = (w * mean).sum(1)
    off = mean - centre.unsqueeze(1)
    cov = (w.unsqueeze(-1) * (off.unsqueeze(3) * off.unsqueeze(2))).sum(1)
    cov = cov + (w * p.components.var.view(5, 3, 2)).sum(1).diag_embed()
    full, diagonal = two_blobs("full")[1](x, t), two_blobs("diagonal")[1](x, t)
    assert isinstance(full, MultivariateGaussian)
    assert isinstance(diagonal, Gaussian)
    for law in (full, diagonal):
        torch.testing.assert_close(law.mean, centre)
    torch.testing.assert_close(full.cov, cov, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(diagonal.var, cov.diagonal(dim1=1, dim2=2), rtol=1e-8, atol=1e-10)


def test_the_true_density_of_a_mixture() -> None:
    _, kernel = two_blobs()
    x = draw_blobs(kernel, 20, Generator().manual_seed(0))
    parts = torch.distributions.MultivariateNormal(kernel.means, 0.05 * torch.eye(2, dtype=torch.float64))
    law = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=kernel.log_weights), parts)
    torch.testing.assert_close(kernel.log_prob(x), law.log_prob(x), rtol=1e-8, atol=1e-8)


def test_a_larger_family_is_never_worse_and_the_exact_one_reaches_the_truth(generator: Generator) -> None:
    # orders by more than five standard errors of the paired differences, 6e-7 two-sided; the last check 1e-6
    totals = {}
    for family in ("diagonal", "full", "mixture"):
        q, kernel = two_blobs(family)
        x = draw_blobs(kernel, 4000, Generator().manual_seed(1))
        truth = kernel.log_prob(x)
        totals[family] = elbo(q, kernel, x, generator=generator, method="trajectory").total
    for less, more in (("diagonal", "full"), ("full", "mixture")):
        gain = totals[more] - totals[less]
        assert gain.mean() > 5 * gain.std() / 4000**0.5
    # what is left is KL(q(x_T) || pi), second order in alpha_bar = 0.018: below 1e-3
    check_mean(totals["mixture"] - truth, 0.0, resolves=0.02)


def test_only_three_families() -> None:
    with pytest.raises(ValueError, match='family must be "mixture", "full" or "diagonal", got \'banana\''):
        two_blobs("banana")


# ----------------------------------------------------------------------------------------------------- kl_to_exact


def test_the_bound_is_the_familys_limit_less_the_shortfall_by_enumeration() -> None:
    # the Pythagorean identity itself, all states and steps summed
    states, weights = all_bits(3), random_weights(8, seed=5)
    q = BernoulliDiffusion(torch.tensor([0.1, 0.3, 0.5]), 0.4)
    best, other = ExactBernoulliKernel(q, states, weights, factorised=True), RandomBits(q, 3)
    lost = 0.0
    for t in (1, 2, 3):
        now = weights @ marginal_matrix(q, states, t)
        a, b = reverse_matrix(best, states, t), reverse_matrix(other, states, t)
        lost += (now * torch.where(a > 0, a * (a / b).log(), 0.0).sum(1)).sum().item()
    gap = weights @ (enumerated_bound(q, best, states) - enumerated_bound(q, other, states))
    assert gap.item() == pytest.approx(lost, rel=1e-9)


def test_shortfall_measures_that_gap(generator: Generator) -> None:
    # 1e-6
    states, weights = all_bits(3), random_weights(8, seed=5)
    q = BernoulliDiffusion(torch.tensor([0.1, 0.3, 0.5]), 0.4)
    best, other = ExactBernoulliKernel(q, states, weights, factorised=True), RandomBits(q, 3)
    gap = (weights @ (enumerated_bound(q, best, states) - enumerated_bound(q, other, states))).item()
    x = states[torch.multinomial(weights, 20_000, replacement=True, generator=generator)]
    lost = kl_to_exact(q, other, best, x, generator=generator)
    assert lost.shape == (20_000, 3)
    assert lost.min().item() > -1e-12
    check_mean(lost.sum(1), gap, resolves=0.2)


def test_shortfall_of_the_best_is_nothing_and_of_chosen_steps_their_own(generator: Generator) -> None:
    states = all_bits(2)
    q = BernoulliDiffusion(constant_erasure(4), 0.4)
    best, other = ExactBernoulliKernel(q, states, factorised=True), RandomBits(q, 2)
    assert kl_to_exact(q, best, best, states, generator=generator).abs().max().item() < 1e-12
    some = kl_to_exact(q, other, best, states.repeat(3000, 1), steps=torch.tensor([4, 1]), generator=generator)
    every = kl_to_exact(q, other, best, states.repeat(3000, 1), generator=generator)
    check_mean(some - every[:, [3, 0]], torch.zeros(2))  # 1e-6: other noise, the same means


def test_exact_kernels_move_to_another_grid() -> None:
    # the reversal of a respaced process is that of the composed steps
    states, weights = all_bits(2), random_weights(4)
    q = BernoulliDiffusion(constant_erasure(6), 0.4)
    kernel, coarse = ExactBernoulliKernel(q, states, weights), q.respaced([1, 4, 6])
    torch.testing.assert_close(model_log_prob(coarse, kernel.on(coarse), states), weights.log(), rtol=0, atol=1e-12)


def test_a_learned_kernel_cannot_pass_the_best_of_its_family() -> None:
    states, weights = all_bits(3), random_weights(8, seed=5)
    q = BernoulliDiffusion(constant_erasure(4), 0.4)
    best = weights @ enumerated_bound(q, ExactBernoulliKernel(q, states, weights, factorised=True), states)
    for seed in range(3):
        net = roughen(ResidualMLP(3, 3, width=8, depth=1), seed).double()
        kernel = BernoulliDenoiser(q, net, weights @ states).double().requires_grad_(False)
        assert weights @ enumerated_bound(q, kernel, states) < best
