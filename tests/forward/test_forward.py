"""What ties the four methods of a process together, for both families."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from oracles import all_bits, law_table, marginal_matrix, step_matrix
from quasistatic.distributions import Bernoulli, Gaussian
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.schedules import constant_erasure, geometric
from strategies import Walk, binomial_diffusions, diffusions, gaussian_diffusions, seeds, walks


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def random_t(q: ForwardProcess, n: int, seed: int, first: int = 1) -> Tensor:
    return torch.randint(first, q.n_steps + 1, (n,), generator=Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------- identities


@given(walk=walks())
def test_bayes(walk: Walk) -> None:
    q, x_0, x_prev, x_t, t = walk
    left = q.posterior(x_0, x_t, t).log_prob(x_prev) + q.marginal(x_0, t).log_prob(x_t)
    right = q.step(x_prev, t).log_prob(x_t) + q.marginal(x_0, t - 1).log_prob(x_prev)
    close(left, right)


@given(walk=walks(first=1))
def test_bayes_with_a_step_of_its_own_for_each_row(walk: Walk) -> None:
    q, x_0, _, _, _ = walk
    t = random_t(q, len(x_0), seed=walk.t, first=2)
    generator = Generator().manual_seed(walk.t)
    x_prev = q.marginal(x_0, t - 1).sample(generator)
    x_t = q.step(x_prev, t).sample(generator)
    left = q.posterior(x_0, x_t, t).log_prob(x_prev) + q.marginal(x_0, t).log_prob(x_t)
    close(left, q.step(x_prev, t).log_prob(x_t) + q.marginal(x_0, t - 1).log_prob(x_prev))


@given(q=binomial_diffusions(event=(2,)))
def test_chapman_kolmogorov_of_bits_by_enumeration(q: BernoulliDiffusion) -> None:
    states = all_bits(2)
    for t in range(q.n_steps):
        through = marginal_matrix(q, states, t) @ step_matrix(q, states, t + 1)
        close(law_table(q.marginal(states, t + 1), 4, states), through)


@given(q=gaussian_diffusions(), seed=seeds)
def test_chapman_kolmogorov_of_gaussians_by_moments(q: GaussianDiffusion, seed: int) -> None:
    x_0 = torch.randn(3, 2, generator=Generator().manual_seed(seed), dtype=torch.float64)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for t in range(q.n_steps):
        before, now = q.marginal(x_0, t), q.marginal(x_0, t + 1)
        slope = q.step(one, t + 1).mean - q.step(zero, t + 1).mean  # a step is linear
        close(q.step(before.mean, t + 1).mean, now.mean)
        close(slope.square() * before.var + q.step(x_0, t + 1).var, now.var)


@given(q=diffusions(event=(2,)), seed=seeds)
def test_a_step_is_in_detailed_balance_with_the_noise(q: ForwardProcess, seed: int) -> None:
    # pi(x) q(y | x) = pi(y) q(x | y): so pi is stationary, and the step run backwards is itself
    a, b = torch.randn(2, 5, 2, generator=Generator().manual_seed(seed), dtype=torch.float64)
    if isinstance(q, BernoulliDiffusion):
        a, b = (a > 0).double(), (b > 0).double()
    pi = q.stationary((5, 2), torch.float64)
    for t in range(1, q.n_steps + 1):
        close(pi.log_prob(a) + q.step(a, t).log_prob(b), pi.log_prob(b) + q.step(b, t).log_prob(a), 1e-8)


@given(q=binomial_diffusions(event=(3,)))
def test_noise_of_bits_stays_noise(q: BernoulliDiffusion) -> None:
    states = all_bits(3)
    pi = law_table(q.stationary((1, 3), torch.float64), 1, states)[0]
    for t in range(1, q.n_steps + 1):
        close(pi @ step_matrix(q, states, t), pi, 1e-12)


@given(q=gaussian_diffusions())
def test_noise_of_gaussians_stays_noise(q: GaussianDiffusion) -> None:
    # var' = slope^2 var + var of the step, mean' = slope mean
    one = torch.ones(1, 1, dtype=torch.float64)
    for t in range(1, q.n_steps + 1):
        step = q.step(one, t)
        close(step.mean.square() + step.var, one, 1e-12)
        close(q.step(torch.zeros_like(one), t).mean, torch.zeros_like(one), 1e-15)


@given(q=diffusions(), seed=seeds)
def test_nothing_has_happened_at_zero(q: ForwardProcess, seed: int) -> None:
    x = torch.randint(0, 2, (4, 3), generator=Generator().manual_seed(seed)).double()
    assert torch.equal(q.marginal(x, 0).sample(), x)
    assert q.alpha_bar[0].item() == 1.0
    assert q.beta[0].item() == 0.0


@given(q=diffusions(), seed=seeds)
def test_back_at_the_data_the_posterior_is_the_data(q: ForwardProcess, seed: int) -> None:
    x_0 = torch.randint(0, 2, (4, 3), generator=Generator().manual_seed(seed)).double()
    x_1 = q.marginal(x_0, 1).sample(Generator().manual_seed(seed))
    torch.testing.assert_close(q.posterior(x_0, x_1, 1).sample(), x_0, rtol=1e-12, atol=1e-12)


@given(q=binomial_diffusions(event=(3,)), seed=seeds)
def test_total_erasure_or_not_the_tables_are_products(q: BernoulliDiffusion, seed: int) -> None:
    exact = torch.cat([torch.ones(1, dtype=torch.float64), (1 - q.beta[1:]).cumprod(0)])
    close(q.alpha_bar, exact, 1e-12)
    assert not torch.isnan(q.log_snr).any()


def test_tiny_rates_keep_their_digits() -> None:
    # 1 - (1 - 1e-13)^2 = 2e-13 - 1e-26; through alpha_bar in double precision it would be 1.998e-13
    q = GaussianDiffusion(torch.full((2,), 1e-13, dtype=torch.float64))
    x = torch.zeros(1, 1, dtype=torch.float64)
    assert q.marginal(x, 2).var.item() == pytest.approx(2e-13, rel=1e-12)
    assert q.posterior(x, x, 2).var.item() == pytest.approx(0.5e-13, rel=1e-12)


# ------------------------------------------------------------------------------------------------- what bits add


@given(q=binomial_diffusions(event=(3,)), seed=seeds)
def test_the_likelihood_ratio_of_a_bit(q: BernoulliDiffusion, seed: int) -> None:
    x_t = torch.randint(0, 2, (6, 3), generator=Generator().manual_seed(seed)).double()
    for t in range(1, q.n_steps + 1):
        one, zero = q.marginal(torch.ones_like(x_t), t).probs, q.marginal(torch.zeros_like(x_t), t).probs
        ratio = torch.where(x_t > 0, (one / zero).log(), ((1 - one) / (1 - zero)).log())
        close(q.log_likelihood_ratio(x_t, t), ratio, 1e-8)
        close(q.log_likelihood_ratio(x_t, torch.full((6,), t)), ratio, 1e-8)


@given(q=binomial_diffusions(event=(3,)), seed=seeds)
def test_a_posterior_given_a_law_of_the_data_is_the_average(q: BernoulliDiffusion, seed: int) -> None:
    generator = Generator().manual_seed(seed)
    p = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    x_t = torch.randint(0, 2, (5, 3), generator=generator).double()
    one, zero = torch.ones_like(p), torch.zeros_like(p)
    for t in range(1, q.n_steps + 1):
        average = p * q.posterior(one, x_t, t).probs + (1 - p) * q.posterior(zero, x_t, t).probs
        given_law = q.posterior(Bernoulli(p), x_t, t)
        close(given_law.probs, average)
        close(given_law.complement, 1 - average)


def test_a_posterior_keeps_the_complement_of_a_nearly_sure_bit() -> None:
    q = BernoulliDiffusion(constant_erasure(4), 0.5)
    sure = Bernoulli(torch.ones(1, 1), torch.full((1, 1), 1e-20))
    # at t = 1 the posterior is the law of x_0 itself
    assert q.posterior(sure, torch.ones(1, 1), 1).complement.item() == pytest.approx(1e-20, rel=1e-5)


# ---------------------------------------------------------------------------------------------- on another grid


@given(q=diffusions(event=(2,)), data=st.data())
def test_fewer_steps_see_the_same_process(q: ForwardProcess, data: st.DataObject) -> None:
    kept = [*sorted(data.draw(st.sets(st.integers(1, q.n_steps - 1)))), q.n_steps]
    fewer = q.respaced(kept)
    assert type(fewer) is type(q)
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    for s, t in enumerate(kept, start=1):
        _same_law(fewer.marginal(x, s), q.marginal(x, t))


@given(q=diffusions(event=(2,)))
def test_all_steps_are_the_process_itself(q: ForwardProcess) -> None:
    close(q.respaced(q.n_steps).beta, q.beta)


@given(total=st.integers(1, 400), data=st.data())
def test_a_number_of_steps_is_spread_evenly(total: int, data: st.DataObject) -> None:
    n_steps = data.draw(st.integers(1, total))
    q = BernoulliDiffusion(torch.full((total,), 1e-3, dtype=torch.float64))
    length = torch.log1p(-q.respaced(n_steps).beta[1:]) / math.log1p(-1e-3)  # of each new step, in old ones
    assert len(length) == n_steps
    assert length.sum().item() == pytest.approx(total)
    assert (length - total / n_steps).abs().max().item() < 1.0 + 1e-6


@pytest.mark.parametrize("steps", [[], [1, 2], [2, 1, 4], [1, 1, 4], [0, 4], [1, 5]])
def test_kept_steps_must_increase_to_the_last(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="steps must increase from at least 1 to n_steps = 4"):
        GaussianDiffusion(geometric(4)).respaced(steps)


@pytest.mark.parametrize("steps", [0, 5])
def test_no_more_steps_than_there_are(steps: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and n_steps = 4, got {steps}"):
        GaussianDiffusion(geometric(4)).respaced(steps)


@given(q=diffusions(event=(2,)))
def test_other_rates_keep_the_family(q: ForwardProcess) -> None:
    other = q.with_beta(torch.tensor([0.5, 0.5]))
    assert type(other) is type(q)
    assert other.n_steps == 2
    if isinstance(q, BernoulliDiffusion) and isinstance(other, BernoulliDiffusion):
        assert torch.equal(other.rho, q.rho)


# ---------------------------------------------------------------------------------- one t, or one for each row


def _same_law(a: object, b: object) -> None:
    if isinstance(a, Gaussian) and isinstance(b, Gaussian):
        close(a.mean, b.mean)
        close(a.var, b.var)
    else:
        assert isinstance(a, Bernoulli)
        assert isinstance(b, Bernoulli)
        close(a.probs, b.probs)
        close(a.complement, b.complement)


@given(walk=walks(first=1))
def test_an_int_and_a_tensor_of_it_mean_the_same(walk: Walk) -> None:
    q, x_0, x_prev, x_t, t = walk
    each = torch.full((len(x_0),), t)
    _same_law(q.marginal(x_0, t), q.marginal(x_0, each))
    _same_law(q.step(x_prev, t), q.step(x_prev, each))
    _same_law(q.posterior(x_0, x_t, t), q.posterior(x_0, x_t, each))
    assert torch.equal(q.log_snr_at(t, x_0), q.log_snr_at(each, x_0))


@given(walk=walks(batch=6, first=1))
def test_rows_do_not_see_each_other(walk: Walk) -> None:
    q, x_0, x_prev, x_t, _ = walk
    t = random_t(q, len(x_0), seed=walk.t)
    for law, one in [
        (q.marginal(x_0, t), lambda i: q.marginal(x_0[i], int(t[i]))),
        (q.step(x_prev, t), lambda i: q.step(x_prev[i], int(t[i]))),
        (q.posterior(x_0, x_t, t), lambda i: q.posterior(x_0[i], x_t[i], int(t[i]))),
    ]:
        for i in range(len(x_0)):
            _same_law(law[i : i + 1], one(slice(i, i + 1)))


# -------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("cast", ["float", "half", "bfloat16", "double"])
@pytest.mark.parametrize(
    "q", [GaussianDiffusion(geometric(40)), BernoulliDiffusion(constant_erasure(40), torch.tensor([0.1, 0.3]))]
)
def test_no_cast_of_the_module_rounds_the_schedule(q: ForwardProcess, cast: str) -> None:
    names = [name for name, _ in q.named_buffers()]
    before = {name: buffer.clone() for name, buffer in q.named_buffers()}
    x = torch.ones(2, 2, dtype=torch.float64)
    law = q.posterior(x, x, torch.tensor([20, 40]))
    assert getattr(q, cast)() is q
    for name in names:
        assert getattr(q, name).dtype == torch.float64
        assert torch.equal(getattr(q, name), before[name])
    _same_law(q.posterior(x, x, torch.tensor([20, 40])), law)


def test_no_cast_of_a_module_around_it_rounds_the_schedule() -> None:
    q = GaussianDiffusion(geometric(40))
    before = q.alpha_bar.clone()
    torch.nn.ModuleDict({"diffusion": q, "other": torch.nn.Linear(1, 1)}).half()
    assert torch.equal(q.alpha_bar, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("t", [3, torch.tensor([3, 3])])
@pytest.mark.parametrize("q", [GaussianDiffusion(geometric(4)), BernoulliDiffusion(constant_erasure(4), 0.2)])
def test_laws_have_the_precision_of_the_state(q: ForwardProcess, t: int | Tensor, dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype)
    for law in (q.marginal(x, t), q.step(x, t), q.posterior(x, x, t), q.stationary((2, 3), dtype)):
        assert isinstance(law, Gaussian | Bernoulli)
        assert law.mean.dtype == dtype
        assert law.sample().dtype == dtype


def test_the_tables_are_no_parameters_and_not_in_the_state_dict() -> None:
    q = BernoulliDiffusion(constant_erasure(4), 0.2)
    assert not list(q.parameters())
    assert not q.state_dict()


def test_rates_carry_gradients() -> None:
    # d marginal mean / d beta_1 = -x_0 sqrt(1 - beta_2) / (2 sqrt(1 - beta_1))
    beta = torch.tensor([0.2, 0.5], dtype=torch.float64, requires_grad=True)
    x = torch.ones(1, 1, dtype=torch.float64)
    GaussianDiffusion(beta).marginal(x, 2).mean.sum().backward()
    assert beta.grad is not None
    assert beta.grad[0].item() == pytest.approx(-math.sqrt(0.5) / (2 * math.sqrt(0.8)))


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("beta", [[0.0, 0.5], [0.5, 1.0], [0.5, -0.1], [0.5, math.nan], []])
def test_rates_of_gaussians_lie_strictly_inside(beta: list[float]) -> None:
    with pytest.raises(ValueError, match="beta must be a vector of rates strictly between 0 and 1, got"):
        GaussianDiffusion(torch.tensor(beta))


def test_rates_are_a_vector() -> None:
    with pytest.raises(ValueError, match="beta must be a vector"):
        GaussianDiffusion(torch.full((2, 2), 0.5))


@pytest.mark.parametrize("beta", [[1.0, 0.5], [0.5, 1.1], [0.0, 1.0]])
def test_bits_may_be_erased_at_the_last_step_only(beta: list[float]) -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\], one only at the last step, got"):
        BernoulliDiffusion(torch.tensor(beta))


@pytest.mark.parametrize("rho", [0.0, 1.0, -0.2, math.nan, torch.tensor([0.5, 1.0])])
def test_noise_must_be_uncertain(rho: float | Tensor) -> None:
    with pytest.raises(ValueError, match="rho must lie strictly between 0 and 1, got"):
        BernoulliDiffusion(torch.tensor([0.5]), rho)


@pytest.mark.parametrize("t", [-1, 5])
def test_a_step_must_exist(t: int) -> None:
    q, x = GaussianDiffusion(geometric(4)), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=f"t must lie between 0 and n_steps = 4, got {t}"):
        q.marginal(x, t)
