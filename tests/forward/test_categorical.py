"""Classes: their laws, the two processes that forget them, and the denoiser, held to sums over all states."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from chance import check_frequencies, check_mean
from oracles import (
    ExactClasses,
    all_bits,
    all_classes,
    enumerated_bound,
    law_table,
    marginal_matrix,
    model_log_prob,
    quick_bound,
    random_weights,
    roughen,
    state_probs,
    step_matrix,
)
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Masked
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, GaussianDiffusion
from quasistatic.likelihood.bound import elbo, null_log_prob
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import BernoulliDenoiser, CategoricalDenoiser
from quasistatic.sample import sample_ancestral
from quasistatic.schedules import constant_erasure
from quasistatic.train.objective import Objective, draw_batch
from quasistatic.transforms import Chain
from strategies import rates, seeds

KINDS = ("uniform", "absorbing")
RATES = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def dense(law: Distribution) -> Categorical:
    assert isinstance(law, Categorical | Masked)
    return law.dense() if isinstance(law, Masked) else law


def random_law(shape: tuple[int, ...], seed: int, holes: bool = False) -> Categorical:
    """Uneven classes in float64; with ``holes`` some have probability zero."""
    generator = Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if holes:
        logits[..., 1:] = logits[..., 1:].masked_fill(
            torch.rand(logits[..., 1:].shape, generator=generator) < 0.4, -math.inf
        )
    return Categorical(torch.log_softmax(logits, -1))


def random_masked(shape: tuple[int, ...], seed: int, holes: bool = False) -> Masked:
    mask = torch.rand(shape[:-1], generator=Generator().manual_seed(seed + 1), dtype=torch.float64)
    mask[0, 0], mask[0, 1] = 0.0, 1.0
    return Masked(random_law(shape, seed, holes), shape[-1], mask, 1.0 - mask)


def known(masked: Masked, seed: int) -> Masked:
    """The same with the classes known."""
    shown = torch.randint(0, masked.n_classes, masked.mask.shape, generator=Generator().manual_seed(seed)).double()
    return Masked(shown, masked.n_classes, masked.mask, masked.show)


@st.composite
def processes(
    draw: st.DrawFn, n_classes: int | None = None, event: tuple[int, ...] = (2,), kind: str | None = None, max_steps: int = 5
) -> CategoricalDiffusion:
    """Either kind with any rates, with base rates for all entries or for each."""
    kind = kind or draw(st.sampled_from(KINDS))
    beta = draw(rates(max_steps=max_steps, total_erasure=True))
    if kind == "absorbing":
        beta[-1] = 1.0
    k = n_classes or draw(st.integers(2, 4))
    shape = (*event, k) if draw(st.booleans()) else (k,)
    return CategoricalDiffusion(beta, k, kind, random_law(shape, draw(seeds)).log_probs.exp())


class Walk(NamedTuple):
    """Data, x_{t-1} and x_t on paths of a process."""

    q: CategoricalDiffusion
    x_0: Tensor
    x_prev: Tensor
    x_t: Tensor
    t: int


@st.composite
def walks(draw: st.DrawFn, batch: int = 6, first: int = 2) -> Walk:
    event = draw(st.sampled_from([(1,), (3,), (1, 2, 2)]))
    q = draw(processes(event=event))
    t, generator = draw(st.integers(first, q.n_steps)), Generator().manual_seed(draw(seeds))
    x_0 = torch.randint(0, q.n_classes, (batch, *event), generator=generator).double()
    x_prev = q.marginal(x_0, t - 1).sample(generator)
    return Walk(q, x_0, x_prev, q.step(x_prev, t).sample(generator), t)


def states_of(q: CategoricalDiffusion, d: int) -> Tensor:
    """All states of d entries, masked ones too."""
    return all_classes(d, q.n_classes + (q.kind == "absorbing"))


# ----------------------------------------------------------------------------------------------- the laws themselves


@given(seed=seeds, holes=st.booleans())
def test_a_law_of_classes_by_enumeration(seed: int, holes: bool) -> None:
    p, q, states = random_law((4, 2, 3), seed, holes), random_law((4, 2, 3), seed + 1), all_classes(2, 3)
    tables = law_table(p, 4, states), law_table(q, 4, states)
    close(tables[0].sum(1), torch.ones(4, dtype=torch.float64))
    close(p.entropy(), -torch.xlogy(tables[0], tables[0]).sum(1))
    close(p.kl(q), (torch.xlogy(tables[0], tables[0]) - torch.xlogy(tables[0], tables[1])).sum(1))
    product, log_z = p.product(q)
    close(law_table(product, 4, states) * log_z.exp().unsqueeze(1), tables[0] * tables[1])
    if holes and bool((tables[0] == 0).any(1).all()):
        assert torch.isinf(q.kl(p)).all()


@given(seed=seeds, holes=st.booleans(), given_classes=st.booleans())
def test_a_masked_law_is_its_dense_form(seed: int, holes: bool, given_classes: bool) -> None:
    p, q, states = random_masked((4, 2, 3), seed, holes), random_masked((4, 2, 3), seed + 2), all_classes(2, 4)
    q = Masked(q.shown, 3, 0.5 * p.mask, 1.0 - 0.5 * p.mask)
    p = known(p, seed) if given_classes else p
    close(law_table(p, 4, states), law_table(p.dense(), 4, states))
    close(p.entropy(), p.dense().entropy())
    close(p.kl(q), p.dense().kl(q.dense()))
    close(p.kl(q.dense()), p.dense().kl(q))
    close(p[1:3].log_prob(states[:2]), p.log_prob(states[[0, 0, 1, 1]])[1:3])
    product, log_z = p.product(q)
    close(law_table(product, 4, states) * log_z.exp().unsqueeze(1), law_table(p, 4, states) * law_table(q, 4, states))


@pytest.mark.parametrize("kind", ["classes", "masked", "known"])
def test_draws_have_their_frequencies_and_nothing_impossible(kind: str) -> None:
    # false alarm 1e-6; law with classes of probability zero at the start, inside and at the end
    probs = torch.tensor([[[0.0, 0.3, 0.7, 0.0], [0.5, 0.0, 0.2, 0.3]]], dtype=torch.float64).expand(40000, 2, 4)
    p: Categorical | Masked = Categorical(probs.log())
    if kind != "classes":
        mask = torch.tensor([[0.25, 0.6]], dtype=torch.float64).expand(40000, 2)
        shown = torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(40000, 2) if kind == "known" else p
        p = Masked(shown, 4, mask, 1.0 - mask)  # type: ignore[arg-type]
    states = all_classes(2, 4 + (kind != "classes"))
    x = p.sample(Generator().manual_seed(0))
    index = (x @ torch.tensor([len(states) ** 0.5, 1.0], dtype=torch.float64)).long()
    check_frequencies(torch.bincount(index, minlength=len(states)), law_table(p[:1], 1, states)[0])


@pytest.mark.parametrize(("u", "drawn"), [(0.0, 1.0), (1.0 - 2.0**-24, 2.0)])
def test_no_uniform_number_is_at_the_edge_of_a_class_of_probability_zero(
    u: float, drawn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, u))
    assert Categorical(torch.tensor([[[0.0, 0.3, 0.7, 0.0]]]).log()).sample().item() == drawn


def test_zero_probabilities_leave_no_nan_in_gradients() -> None:
    logits = torch.tensor([[[0.3, -math.inf, 1.0]]], requires_grad=True)
    p, point = Categorical(torch.log_softmax(logits, -1)), Categorical.points(torch.tensor([[2.0]]), 3)
    (p.entropy() + point.kl(p) + p.log_prob(torch.zeros(1, 1)) + p.kl(Categorical(p.log_probs.detach()))).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0, 1] == 0


@given(seed=seeds)
def test_what_a_point_costs_is_its_surprise(seed: int) -> None:
    p, x = random_law((4, 2, 3), seed), torch.randint(0, 3, (4, 2), generator=Generator().manual_seed(seed)).double()
    for n_points in (0, 2, 4):
        close(Categorical.points(x, 3).cost(p, n_points), -p.log_prob(x))
    zero, one = torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    close(Masked(x, 3, zero, one).cost(Masked(p, 3, zero, one), 4), -p.log_prob(x))


def test_other_families_are_refused() -> None:
    p, gaussian = random_law((1, 2, 3), 0), Gaussian(torch.zeros(1, 2), torch.ones(1, 2))
    for law in (p, random_masked((1, 2, 3), 0)):
        with pytest.raises(NotImplementedError, match=r"kl of .* with Gaussian has no closed form"):
            law.kl(gaussian)
        with pytest.raises(NotImplementedError, match=r"product of .* with Gaussian has no closed form"):
            law.product(gaussian)


# ------------------------------------------------------------------------------------------------------- the process


@given(walk=walks())
def test_bayes(walk: Walk) -> None:
    q, x_0, x_prev, x_t, t = walk
    left = q.posterior(x_0, x_t, t).log_prob(x_prev) + q.marginal(x_0, t).log_prob(x_t)
    close(left, q.step(x_prev, t).log_prob(x_t) + q.marginal(x_0, t - 1).log_prob(x_prev), 1e-8)


@given(walk=walks(first=1), seed=seeds)
def test_bayes_with_a_step_of_its_own_for_each_row(walk: Walk, seed: int) -> None:
    q, x_0, generator = walk.q, walk.x_0, Generator().manual_seed(seed)
    t = torch.randint(2, q.n_steps + 1, (len(x_0),), generator=generator)
    x_prev = q.marginal(x_0, t - 1).sample(generator)
    x_t = q.step(x_prev, t).sample(generator)
    left = q.posterior(x_0, x_t, t).log_prob(x_prev) + q.marginal(x_0, t).log_prob(x_t)
    close(left, q.step(x_prev, t).log_prob(x_t) + q.marginal(x_0, t - 1).log_prob(x_prev), 1e-8)


@settings(max_examples=10)
@given(q=processes(n_classes=3, max_steps=3))
def test_marginals_and_posteriors_are_those_of_the_transition_matrices(q: CategoricalDiffusion) -> None:
    states, data = states_of(q, 2), all_classes(2, 3)
    rows = [int((states == x).all(1).nonzero()) for x in data]
    for t in range(1, q.n_steps + 1):
        step, before = step_matrix(q, states, t), marginal_matrix(q, states, t - 1)[rows]
        close(step.sum(1), torch.ones(len(states), dtype=torch.float64))
        close(law_table(q.marginal(data, t), len(data), states), before @ step)
        joint = before.unsqueeze(2) * step  # [x_0, x_{t-1}, x_t]
        for j, x_t in enumerate(states):
            possible = joint[:, :, j].sum(1) > 0
            table = law_table(q.posterior(data, x_t.expand(len(data), 2), t), len(data), states)
            close(table[possible], (joint[:, :, j] / joint[:, :, j].sum(1, keepdim=True))[possible], 1e-8)


@given(walk=walks(first=1), seed=seeds)
def test_a_posterior_given_a_law_of_the_data_is_the_average(walk: Walk, seed: int) -> None:
    q, x_t, t, k = walk.q, walk.x_t, walk.t, walk.q.n_classes
    law = random_law((*x_t.shape, k), seed)
    if q.kind == "absorbing":  # which is sure of what it sees
        law = Categorical(torch.log_softmax(law.log_probs + q.log_likelihood(x_t, t), -1))
    average = torch.zeros_like(dense(q.posterior(law, x_t, t)).log_probs)
    for k_0 in range(k):
        share = law.log_probs[..., k_0 : k_0 + 1].exp()
        given_class = dense(q.posterior(torch.full_like(x_t, k_0), x_t, t)).log_probs.exp()
        average += torch.where(share > 0, share * given_class, 0.0)
    close(dense(q.posterior(law, x_t, t)).log_probs.exp(), average)


@given(q=processes(kind="uniform"), seed=seeds)
def test_drawing_afresh_is_in_detailed_balance_with_the_noise(q: CategoricalDiffusion, seed: int) -> None:
    a, b = torch.randint(0, q.n_classes, (2, 6, 2), generator=Generator().manual_seed(seed)).double()
    pi = q.stationary((6, 2), torch.float64)
    for t in range(1, q.n_steps + 1):
        close(pi.log_prob(a) + q.step(a, t).log_prob(b), pi.log_prob(b) + q.step(b, t).log_prob(a))


@given(walk=walks(first=1))
def test_a_mask_stays_and_nothing_is_left_at_the_end(walk: Walk) -> None:
    q, x_0, t = CategoricalDiffusion(torch.cat([walk.q.beta[1:-1], torch.ones(1)]), 3, "absorbing"), walk.x_0 % 3, walk.t
    masked = torch.full_like(x_0, 3.0)
    assert torch.equal(q.step(masked, t).sample(), masked)
    close(dense(q.step(masked, t)).log_probs, dense(q.stationary(x_0.shape, x_0.dtype)).log_probs)
    assert torch.equal(q.marginal(x_0, q.n_steps).sample(), masked)
    assert torch.equal(q.stationary(x_0.shape, x_0.dtype).sample(), masked)
    end = q.marginal(x_0, q.n_steps).kl(q.stationary(x_0.shape, x_0.dtype))
    assert torch.equal(end, torch.zeros_like(end))


@given(walk=walks(first=1))
def test_at_both_ends_of_the_first_step_stands_the_data(walk: Walk) -> None:
    q, x_0 = walk.q, walk.x_0
    assert torch.equal(q.marginal(x_0, 0).sample(), x_0)
    x_1 = q.marginal(x_0, 1).sample(Generator().manual_seed(0))
    back = q.posterior(x_0, x_1, torch.ones(len(x_0), dtype=torch.long))
    assert torch.equal(back.sample(), x_0)
    close(back.log_prob(x_0), torch.zeros(len(x_0), dtype=torch.float64))


@given(q=processes(), data=st.data())
def test_fewer_steps_see_the_same_process(q: CategoricalDiffusion, data: st.DataObject) -> None:
    kept = [*sorted(data.draw(st.sets(st.integers(1, q.n_steps - 1)))), q.n_steps]
    fewer, x = q.respaced(kept), torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert isinstance(fewer, CategoricalDiffusion)
    assert (fewer.kind, fewer.n_classes) == (q.kind, q.n_classes)
    close(fewer.rho, q.rho, 1e-15)
    for s, t in enumerate(kept, start=1):
        close(dense(fewer.marginal(x, s)).log_probs.exp(), dense(q.marginal(x, t)).log_probs.exp())


@given(walk=walks(first=1))
def test_an_int_and_a_tensor_of_it_mean_the_same(walk: Walk) -> None:
    q, x_0, x_prev, x_t, t = walk
    each = torch.full((len(x_0),), t)
    assert torch.equal(dense(q.marginal(x_0, t)).log_probs, dense(q.marginal(x_0, each)).log_probs)
    assert torch.equal(dense(q.step(x_prev, t)).log_probs, dense(q.step(x_prev, each)).log_probs)
    assert torch.equal(dense(q.posterior(x_0, x_t, t)).log_probs, dense(q.posterior(x_0, x_t, each)).log_probs)
    assert torch.equal(q.log_likelihood(x_t, t), q.log_likelihood(x_t, each))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws_have_the_precision_of_the_state(kind: str, dtype: torch.dtype) -> None:
    q, x = CategoricalDiffusion(constant_erasure(4), 3, kind), torch.ones(2, 3, dtype=dtype)
    for law in (q.marginal(x, 3), q.step(x, 3), q.posterior(x, x, 3), q.stationary((2, 3), dtype), q.null((2, 3), dtype)):
        assert law.sample().dtype == dtype
        assert dense(law).log_probs.dtype == dtype


# ------------------------------------------------------------------------------------------------ two classes are bits


class Ones(nn.Module):
    """A network of bits, shown the one-hot picture: the second half are the ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return self.network(x.chunk(2, 1)[1], log_snr)


def bits_of(law: Distribution) -> Tensor:
    if isinstance(law, Bernoulli):
        return torch.stack([law.complement, law.probs], -1)
    return dense(law).log_probs.exp()


@given(beta=rates(max_steps=5, total_erasure=True), seed=seeds)
def test_two_classes_are_bits(beta: Tensor, seed: int) -> None:
    rho = 0.02 + 0.96 * torch.rand(3, generator=Generator().manual_seed(seed), dtype=torch.float64)
    bits, classes = BernoulliDiffusion(beta, rho), CategoricalDiffusion(beta, 2, rho=torch.stack([1 - rho, rho], -1))
    x, x_t = all_bits(3), all_bits(3).flip(0).roll(3, 0)
    p = torch.rand(8, 3, generator=Generator().manual_seed(seed), dtype=torch.float64)
    law = Categorical(torch.stack([1 - p, p], -1).log())
    close(bits_of(classes.stationary(x.shape, x.dtype)), bits_of(bits.stationary(x.shape, x.dtype)), 1e-12)
    for t in range(1, bits.n_steps + 1):
        close(bits_of(classes.step(x, t)), bits_of(bits.step(x, t)), 1e-12)
        close(bits_of(classes.marginal(x, t)), bits_of(bits.marginal(x, t)), 1e-12)
        close(bits_of(classes.posterior(x, x_t, t)), bits_of(bits.posterior(x, x_t, t)), 1e-10)
        close(bits_of(classes.posterior(law, x_t, t)), bits_of(bits.posterior(Bernoulli(p), x_t, t)), 1e-10)
        observation = classes.log_likelihood(x_t, t)
        close(observation[..., 1] - observation[..., 0], bits.log_likelihood_ratio(x_t, t), 1e-8)
        unit = classes.log_ratio_difference(x_t, t).squeeze(-1)
        close(unit, bits.log_ratio_difference(x_t, t).expand_as(unit), 1e-8)


def test_two_classes_have_the_bound_of_bits() -> None:
    rho, rate, beta = torch.tensor([0.3, 0.6, 0.1]), torch.tensor([0.2, 0.5, 0.9]), constant_erasure(4)
    network = roughen(ResidualMLP(3, 3, width=8, depth=1), scale=0.5)
    bits, classes = BernoulliDiffusion(beta, rho), CategoricalDiffusion(beta, 2, rho=torch.stack([1 - rho, rho], -1))
    kernel = BernoulliDenoiser(bits, network, rate).double()
    other = CategoricalDenoiser(classes, Ones(network), torch.stack([1 - rate, rate], -1)).double()
    x = all_bits(3)
    close(enumerated_bound(classes, other, x), enumerated_bound(bits, kernel, x), 1e-7)
    assert (enumerated_bound(bits, kernel, x) - enumerated_bound(bits, kernel, x).mean()).abs().max() > 0.1


# ---------------------------------------------------------------------------------------------------------- denoiser


def make(q: CategoricalDiffusion, rate: Tensor = RATES, rough: bool = False) -> CategoricalDenoiser:
    """In float64, with a network that is zero or not."""
    return single(q, rate, rough).double()


def single(q: CategoricalDiffusion, rate: Tensor = RATES, rough: bool = False) -> CategoricalDenoiser:
    d, k = rate[..., 0].numel(), q.n_classes
    network = ResidualMLP(k * d, CategoricalDenoiser.n_outputs(d, k), width=8, depth=1)
    return CategoricalDenoiser(q, roughen(network) if rough else network, rate).requires_grad_(False)


def independent(x: Tensor, rate: Tensor = RATES) -> Tensor:
    return Categorical(rate.log().expand(len(x), *rate.shape)).log_prob(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_steps", [1, 2, 10, 300])
@pytest.mark.parametrize("rho", [None, torch.tensor([0.1, 0.3, 0.6])])
def test_a_zero_network_is_independent_classes_for_every_number_of_steps(
    kind: str, n_steps: int, rho: Tensor | None
) -> None:
    # exactly, per example and path; the estimate of log p too
    q = CategoricalDiffusion(constant_erasure(n_steps) if n_steps > 1 else torch.ones(1), 3, kind, rho)
    x, generator = all_classes(2, 3), Generator().manual_seed(0)
    total = elbo(q, make(q), x, method="trajectory", generator=generator).total
    torch.testing.assert_close(total, independent(x), rtol=0, atol=1e-9)
    estimate = importance_weighted_log_prob(q, make(q), x, n_trajectories=2, generator=generator)
    torch.testing.assert_close(estimate, independent(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_classes(kind: str) -> None:
    rate = random_law((1, 2, 2, 3), 0).log_probs.exp()
    q, x = CategoricalDiffusion(constant_erasure(4), 3, kind, rate), all_classes(4, 3).view(81, 1, 2, 2)
    total = elbo(q, make(q, rate), x, method="trajectory").total
    torch.testing.assert_close(total, independent(x, rate), rtol=0, atol=1e-9)
    assert sample_ancestral(q, make(q, rate), (5, 1, 2, 2)).shape == (5, 1, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 2, 4])
def test_the_law_of_x_0_is_sent_through_the_posterior(kind: str, t: int) -> None:
    # p(x_{t-1} | x_t) = sum over all 9 states x_0 of p(x_0 | x_t) q(x_{t-1} | x_t, x_0), with the logits read by hand
    q = CategoricalDiffusion(constant_erasure(5), 3, kind, torch.tensor([0.1, 0.3, 0.6]))
    kernel, states, data = make(q, rough=True), states_of(q, 2), all_classes(2, 3)
    n = len(states)
    likelihood = torch.stack(
        [
            law_table(q.marginal(torch.full((1, 1), float(k), dtype=torch.float64), t), 1, states_of(q, 1))[0]
            for k in (0, 1, 2)
        ]
    )
    unit = 1.0
    if kind == "uniform":
        own = torch.tensor([(likelihood[k, k] / likelihood[k - 1, k]).log() for k in (0, 1, 2)])
        unit = sum((own[k] + own[j]).item() for k, j in ((0, 1), (0, 2), (1, 2))) / 3
    answer = kernel.evaluate_network(states, t).view(n, 3, 2)  # [state, class, entry]
    weights = RATES.log() + likelihood[:, states.long()].permute(1, 2, 0).log() + unit * answer.permute(0, 2, 1)
    p_0 = law_table(Categorical(torch.log_softmax(weights, -1)), n, data)
    expected = torch.zeros(n, n, dtype=torch.float64)
    for j, x_0 in enumerate(data):
        back = law_table(q.posterior(x_0.expand(n, 2), states, t), n, states)
        expected += torch.where(p_0[:, j : j + 1] > 0, p_0[:, j : j + 1] * back, 0.0)
    torch.testing.assert_close(law_table(kernel(states, t), n, states), expected, rtol=1e-6, atol=1e-9)
    assert (
        p_0 - law_table(Categorical(torch.log_softmax(weights - unit * answer.permute(0, 2, 1), -1)), n, data)
    ).abs().max() > 0.01


@given(walk=walks())
def test_a_step_of_an_absorbing_process_costs_the_surprise_of_what_is_masked(walk: Walk) -> None:
    event, k, t = walk.x_0.shape[1:], walk.q.n_classes, walk.t
    q = CategoricalDiffusion(torch.cat([walk.q.beta[1:-1], torch.ones(1)]), k, "absorbing")
    x_t = q.marginal(walk.x_0, t).sample(Generator().manual_seed(0))
    kernel = make(q, random_law((*event, k), 0).log_probs.exp(), rough=True)
    p, back = kernel(x_t, t), q.posterior(walk.x_0, x_t, t)
    assert isinstance(p, Masked)
    assert isinstance(p.shown, Categorical)
    surprise = -p.shown.log_probs.gather(-1, walk.x_0.long().unsqueeze(-1)).squeeze(-1)
    share = (q.alpha_bar[t - 1] - q.alpha_bar[t]) / (1 - q.alpha_bar[t])
    close(back.kl(p), share * ((x_t == k) * surprise).flatten(1).sum(1))
    close(back.kl(p), dense(back).kl(dense(p)))


def test_what_is_shown_has_no_gradient_and_a_sure_mistake_keeps_its_own() -> None:
    q = CategoricalDiffusion(constant_erasure(4), 3, "absorbing")
    kernel = CategoricalDenoiser(q, ResidualMLP(6, 6), torch.full((3,), 1 / 3))
    out = torch.tensor([[200.0, 0.0, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)  # class 0 of entry 0, for sure
    x_0, x_t = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])
    cost = q.posterior(x_0, x_t, 3).kl(kernel.distribution(out, x_t, 3))
    cost.sum().backward()
    assert cost.item() == pytest.approx(200 / 3, rel=1e-5)  # 1/4 of 3/4 masked entries are shown next
    assert out.grad is not None
    assert out.grad.view(3, 2).T.tolist() == [pytest.approx([1 / 3, -1 / 3, 0.0]), [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("t", [1, 2, 4])
def test_a_sure_mistake_of_the_uniform_kind_keeps_its_digits_and_gradient(t: int) -> None:
    # float32: e^-200 is zero, but its logarithm must be right
    q = CategoricalDiffusion(constant_erasure(4), 3)
    kernel = CategoricalDenoiser(q, ResidualMLP(3, 3), torch.full((3,), 1 / 3))
    unit = q.log_ratio_difference(torch.zeros(1, 1), t).item() or 1.0
    costs, slopes = [], []
    for dtype in (torch.float32, torch.float64):
        out = torch.tensor([[200.0 / unit, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        x = torch.ones(1, 1, dtype=dtype)
        cost = q.posterior(x, x, t).kl(kernel.distribution(out, x, t)).sum()
        cost.backward()
        assert out.grad is not None
        costs.append(cost.item())
        slopes.append(out.grad.double())
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-3, atol=1e-5)


class Seen(nn.Module):
    """Remembers what it was shown, and answers as an image network of K C channels would."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.x = torch.empty(0)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        self.x = x
        return (100.0 * x + self.weight).flatten(1)


@pytest.mark.parametrize("event", [(5,), (2, 4), (1, 3, 3), (2, 3, 3)])
def test_the_network_sees_classes_as_channels_and_answers_in_the_same_order(event: tuple[int, ...]) -> None:
    # a network that hands back what it sees says the class that is there, and nothing where it is masked
    q = CategoricalDiffusion(constant_erasure(4), 4, "absorbing")
    kernel = CategoricalDenoiser(q, Seen(), torch.full((4,), 0.25)).requires_grad_(False)
    x = torch.randint(0, 5, (6, *event), generator=Generator().manual_seed(0)).double()
    out = kernel.evaluate_network(x, 2)
    seen = kernel.network.x  # type: ignore[union-attr]
    assert isinstance(seen, Tensor)
    assert seen.shape == (6, 4 * event[0], *event[1:])
    assert seen.dtype == torch.float32
    assert out.dtype == torch.float64
    for k in range(4):
        assert torch.equal(seen[:, k * event[0] : (k + 1) * event[0]], (x == k).float())
    uniform = CategoricalDenoiser(CategoricalDiffusion(torch.tensor([0.1]), 4), Seen(), torch.full((4,), 0.25))
    law = uniform.requires_grad_(False)(x % 4, 1)
    close(law.log_prob(x % 4), torch.zeros(6, dtype=torch.float64))


def test_one_block_less_takes_the_first_class_for_zero() -> None:
    q, x = CategoricalDiffusion(constant_erasure(4), 3, "absorbing"), torch.tensor([[3.0, 3.0]])
    kernel = CategoricalDenoiser(q, ResidualMLP(6, 4), torch.full((3,), 1 / 3))
    short = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    p, same = kernel.distribution(short, x, 2), kernel.distribution(torch.cat([torch.zeros(1, 2), short], 1), x, 2)
    close(dense(p).log_probs, dense(same).log_probs)
    assert [CategoricalDenoiser.n_outputs(7, k) for k in (2, 3, 5)] == [7, 21, 35]


# ------------------------------------------------------------------------------------------------------------- bound


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_lies_below_log_p_and_both_estimators_find_it(kind: str) -> None:
    # false alarm 1e-6 each
    q = CategoricalDiffusion(constant_erasure(4), 3, kind, torch.tensor([0.1, 0.3, 0.6]))
    kernel, states, data = make(q, rough=True), states_of(q, 2), all_classes(2, 3)
    rows = (states < 3).all(1)
    truth = enumerated_bound(q, kernel, states)[rows]
    log_p = model_log_prob(q, kernel, states)[rows]
    close(log_p.exp().sum(), torch.ones((), dtype=torch.float64))
    assert (truth < log_p - 1e-4).all()
    for seed, method in enumerate(("marginal", "trajectory")):
        generator = Generator().manual_seed(seed)
        total = elbo(q, kernel, data.repeat(4000, 1), method=method, generator=generator).total
        check_mean(total.view(4000, 9), truth, resolves=0.2)
    quick = quick_bound(q, kernel, data.repeat(4000, 1), n_pairs=2 * 36000, generator=Generator().manual_seed(2))
    check_mean(quick.view(4000, 9), truth, resolves=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_kernel_of_classes_closes_the_gap_with_more_steps(kind: str) -> None:
    data, probs = all_classes(2, 3), random_weights(9)
    gaps = []
    for n_steps in (2, 4, 8):
        q = CategoricalDiffusion(constant_erasure(n_steps), 3, kind)
        states = states_of(q, 2)
        bound = enumerated_bound(q, ExactClasses(q, data, probs), states)[(states < 3).all(1)]
        gaps.append((probs * (probs.log() - bound)).sum().item())
    assert gaps[0] > gaps[1] > gaps[2] > 0.0
    assert gaps[2] < 0.5 * gaps[0]


def test_unmasking_is_the_chain_rule_but_for_what_is_shown_at_once() -> None:
    # with exact conditionals every order of unmasking gives log p, so the bound misses it by what T steps show together:
    # half as much for twice the steps, for each of the eight states alone
    data, probs = all_bits(3), random_weights(8)
    patterns = all_bits(3).bool()
    gaps = []
    for n_steps in (32, 64, 128):
        q = CategoricalDiffusion(constant_erasure(n_steps), 2, "absorbing")
        kernel = ExactClasses(q, data, probs)
        x_0 = data.repeat_interleave(8, 0)
        x_t = x_0.masked_fill(patterns.repeat(8, 1), 2.0)
        total = torch.zeros(8, dtype=torch.float64)
        for t in range(1, n_steps + 1):
            share = q.marginal(x_0, t).log_prob(x_t).exp()
            cost = q.posterior(x_0, x_t, t).kl(kernel(x_t, t))
            total -= torch.where(share > 0, share * cost, 0.0).view(8, 8).sum(1)
        gaps.append(probs.log() - total)
    assert (probs * gaps[0]).sum().item() > 0.0
    assert gaps[2].abs().max().item() < 0.05
    for coarse, fine in itertools.pairwise(gaps):
        torch.testing.assert_close(fine / coarse, torch.full_like(fine, 0.5), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_frequencies_of_the_model(kind: str) -> None:
    # false alarm 1e-6
    q = CategoricalDiffusion(constant_erasure(3), 3, kind, torch.tensor([0.1, 0.3, 0.6]))
    kernel, states = make(q, rough=True), states_of(q, 2)
    law = state_probs(q, kernel, states)
    x = sample_ancestral(q, kernel, (20000, 2), generator=Generator().manual_seed(0)).double()
    index = (x @ torch.tensor([len(states) ** 0.5, 1.0], dtype=torch.float64)).long()
    check_frequencies(torch.bincount(index, minlength=len(states)), law)
    assert (law.log()[(states < 3).all(1)] - independent(all_classes(2, 3))).abs().max().item() > 0.05


# ------------------------------------------------------------------------------------------------- training and model


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_loses_minus_the_bound(kind: str) -> None:
    # rows at t = 1 lose -log p(x_0 | x_1), the others their KL
    q = CategoricalDiffusion(constant_erasure(6), 3, kind)
    kernel, x_0 = make(q, rough=True), all_classes(2, 3)
    batch = draw_batch(q, x_0, TimestepSampler(6), 3, Generator().manual_seed(0), draw_previous=False)
    _, each = Objective(kernel)(batch)
    p, back = kernel(batch.x_t, batch.t), q.posterior(x_0, batch.x_t, batch.t)
    close(each[:3], -p.log_prob(x_0)[:3])
    close(each[3:], dense(back).kl(dense(p))[3:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_that_two_classes_agree(kind: str) -> None:
    q = CategoricalDiffusion(constant_erasure(10), 3, kind)
    network = ResidualMLP(6, 6, width=32, depth=1)
    kernel, generator = CategoricalDenoiser(q, network, torch.full((3,), 1 / 3)), Generator().manual_seed(0)
    objective, sampler = Objective(kernel), TimestepSampler(10, importance=False)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    roughen(network.first, 0)
    for _ in range(120):
        x = torch.randint(0, 3, (128, 1), generator=generator).float().expand(128, 2)
        loss, _ = objective(draw_batch(q, x, sampler, 16, generator, draw_previous=False))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.randint(0, 3, (2000, 1), generator=generator).double().expand(2000, 2)
    with torch.no_grad():
        bound = elbo(q, kernel, x, generator=generator).total.mean().item()
        exact = elbo(q, ExactClasses(q, torch.arange(3.0).double().unsqueeze(1).expand(3, 2), torch.ones(3)), x)
    assert -2 * math.log(3) + 0.5 < bound < -math.log(3)
    assert abs(bound - exact.total.mean().item()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_says_the_same(kind: str, tmp_path: Path) -> None:
    q = CategoricalDiffusion(constant_erasure(5), 3, kind, torch.tensor([0.1, 0.3, 0.6]))
    model, x = DiffusionModel(Chain(), q, single(q, rough=True), (2,)), all_classes(2, 3)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    for method in ("marginal", "trajectory"):
        bounds = [m.elbo(x, generator=Generator().manual_seed(0), method=method).total for m in (model, again)]
        torch.testing.assert_close(bounds[0], bounds[1], rtol=0, atol=0)
    assert again.process.kind == kind  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_data_units(kind: str) -> None:
    q = CategoricalDiffusion(constant_erasure(5), 3, kind, RATES)
    model, x = DiffusionModel(Chain(), q, make(q), (2,)), all_classes(2, 3)
    torch.testing.assert_close(model.null_log_prob(x), independent(x))
    torch.testing.assert_close(null_log_prob(q, x.float()), independent(x).float())
    drawn = model.sample(50, generator=Generator().manual_seed(0), n_steps=3)
    q.check(drawn)
    assert model.elbo(x.long()).total.shape == (9,)


@pytest.mark.parametrize(("value", "index"), [(3.0, [1, 0]), (-1.0, [0, 1]), (0.5, [2, 0])])
def test_data_must_be_classes(value: float, index: list[int]) -> None:
    q = CategoricalDiffusion(constant_erasure(5), 3, "absorbing")
    x = torch.zeros(4, 2)
    x[tuple(index)] = value
    sentence = f"data holds {value} at index \\{index}, but classes must be whole numbers from 0 to 2"
    with pytest.raises(InputError, match=sentence.replace("]", "\\]")):
        DiffusionModel(Chain(), q, make(q), (2,)).elbo(x)


def test_any_finite_number_is_data_of_a_gaussian_process() -> None:
    GaussianDiffusion(torch.tensor([0.5])).check(torch.tensor([-3.7]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_classes": 1}, "n_classes must be at least 2, got 1"),
        ({"kind": "masking"}, 'kind must be "uniform" or "absorbing", got \'masking\''),
        ({"kind": "absorbing"}, "must mask everything at its last step, beta_T = 1, got 0.5"),
        ({"rho": torch.tensor([0.5, 0.5])}, r"rho must have one rate for each of 3 classes, got shape \(2,\)"),
        ({"rho": torch.tensor(0.5)}, r"rho must have one rate for each of 3 classes, got shape \(\)"),
        ({"rho": torch.tensor([0.5, 0.5, 0.0])}, "rho must be positive and sum to one over classes, got"),
        ({"rho": torch.tensor([0.5, 0.5, 0.5])}, "rho must be positive and sum to one over classes, got"),
        ({"rho": torch.tensor([0.5, 0.5, math.nan])}, "rho must be positive and sum to one over classes, got"),
    ],
)
def test_a_process_that_cannot_be_is_one_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        CategoricalDiffusion(**{"beta": torch.tensor([0.5, 0.5]), "n_classes": 3} | arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5, 0.0])])
def test_rates_of_data_must_be_possible(rate: Tensor) -> None:
    with pytest.raises(InputError, match=r"rate must be positive and of shape \(..., 3\), got"):
        CategoricalDenoiser(CategoricalDiffusion(torch.tensor([0.5]), 3), ResidualMLP(3, 3), rate)
