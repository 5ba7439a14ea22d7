"""Tables of numbers, bits and classes: the product process, the joint kernel, and what a zero network is."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor

from chance import check_covariance, check_frequencies, check_mean
from oracles import enumerated_bound, law_table, model_log_prob, roughen
from quasistatic.distributions import Bernoulli, Categorical, Gaussian, Joint, Mixture, MultivariateGaussian
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import FixedFirstStep, MixedDenoiser
from quasistatic.sample import sample_ancestral
from quasistatic.schedules import geometric
from quasistatic.storage.modules import build, describe

BIT_RATES = torch.tensor([0.2, 0.7], dtype=torch.float64)
CLASS_RATES = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def erasing(beta: Tensor) -> Tensor:
    return torch.cat([beta[:-1], torch.ones(1, dtype=beta.dtype)])


def mixed(n_steps: int = 6, kind: str = "uniform") -> MixedDiffusion:
    """Columns: class, number, bit, number, bit."""
    beta = geometric(n_steps, 4.0, -3.0)
    classes = CategoricalDiffusion(erasing(beta) if kind == "absorbing" else beta, 3, kind, CLASS_RATES)
    return MixedDiffusion([GaussianDiffusion(beta), BernoulliDiffusion(beta, BIT_RATES), classes], [[1, 3], [2, 4], [0]])


def rows(n: int, seed: int = 0) -> Tensor:
    generator = Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    x[:, [2, 4]] = (x[:, [2, 4]] > 0).double()
    x[:, 0] = torch.randint(0, 3, (n,), generator=generator).double()
    return x


def kernel_of(q: MixedDiffusion, rough: float = 0.0, m: int = 1, covariance: str = "diagonal") -> MixedDenoiser:
    network = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q, covariance, m), width=8, depth=1)
    if rough:
        roughen(network, scale=rough)
    return MixedDenoiser(q, network.double(), covariance, m).double()


def null(x: Tensor) -> Tensor:
    """Log density of white numbers beside independent bits and classes, by hand."""
    numbers = -0.5 * (x[:, [1, 3]].square() + math.log(2 * math.pi)).sum(1)
    bits = torch.where(x[:, [2, 4]] > 0, BIT_RATES.log(), (1 - BIT_RATES).log()).sum(1)
    return numbers + bits + CLASS_RATES.log()[x[:, 0].long()]


# ------------------------------------------------------------------------------------------------- the product law


def some_law(n: int = 4) -> Joint:
    generator = Generator().manual_seed(1)
    mean = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    probs = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    shares = torch.softmax(torch.randn(n, 1, 3, generator=generator, dtype=torch.float64), -1)
    columns = [torch.tensor([1, 3]), torch.tensor([2, 4]), torch.tensor([0])]
    return Joint([Gaussian(mean, torch.full_like(mean, 0.5)), Bernoulli(probs), Categorical(shares.log())], columns)


def test_a_product_is_the_sum_of_its_parts() -> None:
    p, q, x = some_law(), some_law()[1:], rows(4)
    by_hand = p.parts[0].log_prob(x[:, [1, 3]]) + p.parts[1].log_prob(x[:, [2, 4]]) + p.parts[2].log_prob(x[:, [0]])
    torch.testing.assert_close(p.log_prob(x), by_hand)
    torch.testing.assert_close(p.kl(p), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(p.entropy()[1:], sum(part.entropy() for part in q.parts))  # type: ignore[arg-type]
    assert p.has_kl
    mixture = Mixture(torch.zeros(4, 1, dtype=torch.float64), p.parts[0])
    assert not Joint([mixture], [torch.tensor([0, 1])]).has_kl


def test_products_of_products_integrate_what_they_say() -> None:
    p, q = some_law(), some_law()
    q.parts[0].mean = q.parts[0].mean + 0.3  # type: ignore[misc]
    r, log_z = p.product(q)
    x = rows(4, seed=3)
    torch.testing.assert_close(r.log_prob(x) + log_z, p.log_prob(x) + q.log_prob(x))


def test_draws_of_a_product_have_its_moments_in_the_columns_order() -> None:
    one = some_law(1)
    n = 20_000
    wide = Joint([
        Gaussian(one.parts[0].mean.expand(n, 2), one.parts[0].var.expand(n, 2)),  # type: ignore[attr-defined]
        Bernoulli(one.parts[1].probs.expand(n, 2)),  # type: ignore[attr-defined]
        Categorical(one.parts[2].log_probs.expand(n, 1, 3)),  # type: ignore[attr-defined]
    ], one.columns)  # fmt: skip
    x = wide.sample(Generator().manual_seed(0))
    check_mean(x[:, [1, 3]], one.parts[0].mean[0])  # type: ignore[attr-defined]
    check_mean(x[:, [2, 4]], one.parts[1].probs[0])  # type: ignore[attr-defined]
    check_frequencies(torch.bincount(x[:, 0].long(), minlength=3), one.parts[2].log_probs.exp()[0, 0])  # type: ignore[attr-defined]


def test_a_mixture_times_a_product_is_their_product() -> None:
    parts = some_law(4)
    mixture = Mixture(torch.tensor([[0.3, 0.7], [0.5, 0.5]], dtype=torch.float64).log(), parts)
    other, x = some_law(4)[:2], rows(2, seed=5)
    product, log_z = mixture.product(other)
    torch.testing.assert_close(product.log_prob(x) + log_z, mixture.log_prob(x) + other.log_prob(x))


def test_products_over_other_columns_do_not_meet() -> None:
    p = some_law()
    with pytest.raises(NotImplementedError, match="kl"):
        p.kl(Joint(p.parts, [torch.tensor([3, 1]), *p.columns[1:]]))


# ------------------------------------------------------------------------------------------------- the process


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_bayes_of_the_product_process(kind: str) -> None:
    q, x_0, generator = mixed(6, kind), rows(7), Generator().manual_seed(2)
    for t in range(2, q.n_steps + 1):
        x_prev = q.marginal(x_0, t - 1).sample(generator)
        x_t = q.step(x_prev, t).sample(generator)
        left = q.posterior(x_0, x_t, t).log_prob(x_prev) + q.marginal(x_0, t).log_prob(x_t)
        right = q.step(x_prev, t).log_prob(x_t) + q.marginal(x_0, t - 1).log_prob(x_prev)
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
        each = torch.full((7,), t)
        torch.testing.assert_close(q.posterior(x_0, x_t, each).log_prob(x_prev), q.posterior(x_0, x_t, t).log_prob(x_prev))


def test_every_block_is_its_own_process() -> None:
    q, x = mixed(), rows(5)
    for t in (0, 3, 6):
        law = q.marginal(x, t)
        assert torch.equal(law.parts[0].mean, q.parts[0].marginal(x[:, [1, 3]], t).mean)  # type: ignore[attr-defined,operator]
        assert torch.equal(law.parts[1].probs, q.parts[1].marginal(x[:, [2, 4]], t).probs)  # type: ignore[attr-defined,operator]


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_fewer_steps_of_the_same_process(kind: str) -> None:
    q, x = mixed(6, kind), rows(5)
    few = q.respaced([2, 6])
    torch.testing.assert_close(few.marginal(x, 1).entropy(), q.marginal(x, 2).entropy(), rtol=1e-9, atol=1e-9)
    assert isinstance(few, MixedDiffusion)
    assert [part.n_steps for part in few.parts] == [2, 2, 2]


def test_what_cannot_be_a_table_is_refused() -> None:
    beta = geometric(4)
    number, bit = GaussianDiffusion(beta), BernoulliDiffusion(beta)
    with pytest.raises(InputError, match="each once"):
        MixedDiffusion([number, bit], [[0], [0]])
    with pytest.raises(InputError, match="same number of steps"):
        MixedDiffusion([number, BernoulliDiffusion(geometric(5))], [[0], [1]])
    with pytest.raises(InputError, match="a process for each block"):
        MixedDiffusion([number], [[0], [1]])
    with pytest.raises(InputError, match="5 columns"):
        mixed().stationary((3, 4))


def test_a_value_that_is_no_class_is_named_by_its_column() -> None:
    x = rows(3)
    mixed().check(x)
    x[1, 0] = 3.0
    with pytest.raises(InputError, match=r"^column 0 .*3.0 at index \[1, 0\].*from 0 to 2"):
        mixed().check(x)
    x[1, 0], x[2, 4] = 0.0, 0.5
    with pytest.raises(InputError, match=r"^column 4 .*0.5 at index \[2, 1\].*0 or 1"):
        mixed().check(x)


# ------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
@pytest.mark.parametrize("n_steps", [2, 5, 40])
def test_a_zero_network_is_the_null_model_per_row_at_any_number_of_steps(n_steps: int, kind: str) -> None:
    q, x = mixed(n_steps, kind), rows(30)
    with torch.no_grad():
        bound = elbo(q, kernel_of(q), x, method="trajectory", generator=Generator().manual_seed(0))
        weighted = importance_weighted_log_prob(q, kernel_of(q), x, n_trajectories=2, generator=Generator().manual_seed(1))
    torch.testing.assert_close(bound.total, null(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(weighted, null(x), rtol=0, atol=1e-6)


def test_in_single_precision_to_a_thousandth() -> None:
    q, x = mixed(20), rows(30)
    with torch.no_grad():
        bound = elbo(q, kernel_of(q).float(), x.float(), method="trajectory", generator=Generator().manual_seed(0))
    torch.testing.assert_close(bound.total.double(), null(x), rtol=0, atol=1e-3)


def discrete(n_steps: int = 3, kind: str = "uniform") -> tuple[MixedDiffusion, Tensor]:
    """A class of three and a bit, and all their states."""
    beta = geometric(n_steps, 2.0, -2.0)
    classes = CategoricalDiffusion(erasing(beta) if kind == "absorbing" else beta, 3, kind, CLASS_RATES)
    q = MixedDiffusion([BernoulliDiffusion(beta, 0.3), classes], [[1], [0]])
    n_states = 4 if kind == "absorbing" else 3
    return q, torch.tensor(list(itertools.product(range(n_states), range(2))), dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 3])
def test_the_bound_of_a_small_table_against_all_its_states(m: int) -> None:
    q, states = discrete()
    kernel = kernel_of(q, rough=0.6 if m == 1 else 0.2, m=m)
    truth, log_p = enumerated_bound(q, kernel, states), model_log_prob(q, kernel, states)
    assert (truth < log_p).all()
    n = 4000
    for method in ("marginal", "trajectory"):
        with torch.no_grad():
            each = elbo(q, kernel, states.repeat(n, 1), method=method, generator=Generator().manual_seed(3)).total
        check_mean(each.view(n, -1), truth, resolves=0.2)
    with torch.no_grad():
        many = importance_weighted_log_prob(q, kernel, states, n_trajectories=20_000, generator=Generator().manual_seed(4))
    torch.testing.assert_close(many, log_p, rtol=0, atol=0.1)  # heavy tails


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_the_steps_of_a_small_table_are_normalised(kind: str) -> None:
    q, states = discrete(kind=kind)
    for t in range(1, q.n_steps + 1):
        with torch.no_grad():
            for m in (1, 3):
                law = kernel_of(q, rough=0.6, m=m)(states, t)
                total = law_table(law, len(states), states).sum(1)
                torch.testing.assert_close(total, torch.ones_like(total))


def test_samples_of_a_small_table_have_the_model_s_frequencies() -> None:
    q, states = discrete()
    kernel = kernel_of(q, rough=0.6)
    x = sample_ancestral(q, kernel, (30_000, 2), generator=Generator().manual_seed(5)).double()
    counts = torch.stack([(x == state).all(1).sum() for state in states])
    check_frequencies(counts, model_log_prob(q, kernel, states).exp())


def test_samples_of_a_zero_network_are_white_numbers_and_the_rates() -> None:
    q = mixed(5)
    x = sample_ancestral(q, kernel_of(q), (20_000, 5), generator=Generator().manual_seed(6)).double()
    check_covariance(x[:, [1, 3]], torch.eye(2, dtype=torch.float64))
    check_mean(x[:, [2, 4]], BIT_RATES)
    check_frequencies(torch.bincount(x[:, 0].long(), minlength=3), CLASS_RATES)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_law_of_the_data_sent_through_the_posterior_is_the_kernel(covariance: str, m: int) -> None:
    # a law of numbers: mean and covariance of c_0 x_0 + c_t x_t + noise
    q, t = mixed(), 4
    kernel, x_t = kernel_of(q, rough=0.4, m=m, covariance=covariance), rows(3)
    with torch.no_grad():
        both = kernel(x_t, t), kernel.denoise(x_t, t)
    law, data = cast(Any, [p.components if isinstance(p, Mixture) else p for p in both])
    step, x_0 = law.parts[0], data.parts[0]
    numbers = x_t[:, [1, 3]].repeat_interleave(m, 0)
    line = q.parts[0].posterior(x_0.mean, numbers, t)  # type: ignore[operator]
    share = q.parts[0].posterior(torch.ones_like(numbers), 0 * numbers, t).mean[0, 0]  # type: ignore[operator]
    torch.testing.assert_close(step.mean, line.mean)
    cov = x_0.cov if isinstance(x_0, MultivariateGaussian) else torch.diag_embed(x_0.var)
    own = step.cov if isinstance(step, MultivariateGaussian) else torch.diag_embed(step.var)
    torch.testing.assert_close(own, share.square() * cov + torch.diag_embed(line.var), rtol=1e-5, atol=1e-6)
    back = q.parts[1].posterior(data.parts[1], x_t[:, [2, 4]].repeat_interleave(m, 0), t)  # type: ignore[operator]
    torch.testing.assert_close(law.parts[1].probs, back.probs)


def test_on_another_grid_the_kernel_serves_its_steps() -> None:
    q, x = mixed(12), rows(6)
    kernel = kernel_of(q, rough=0.3)
    few = cast(MixedDiffusion, q.respaced(4))
    moved = kernel.on(few)
    again = MixedDenoiser(few, kernel.network)
    with torch.no_grad():
        torch.testing.assert_close(moved(x, 3).log_prob(x), again(x, 3).log_prob(x))
        kernel(x, 12)  # and is where it was
    with torch.no_grad():
        first = elbo(few, FixedFirstStep(kernel, q), x, generator=Generator().manual_seed(0))
    assert first.first_step == "fixed"


def test_a_mixed_model_is_described_and_built_again() -> None:
    q, x = mixed(4), rows(5)
    kernel = kernel_of(q, rough=0.3, m=2)
    again = build(*describe(kernel)).double()
    again.load_state_dict(kernel.state_dict())
    with torch.no_grad():
        assert torch.equal(kernel(x, 2).log_prob(x), again(x, 2).log_prob(x))
