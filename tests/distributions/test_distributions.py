"""Every law against torch.distributions, at the edges against arithmetic, and its products against themselves."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch import distributions as td

from chance import check_covariance, check_frequencies, check_mean
from oracles import all_bits, law_table, random_weights
from quasistatic.distributions import Bernoulli, Distribution, Gaussian, Mixture, MultivariateGaussian
from strategies import events, seeds

BATCH = 4
FAMILIES = ("gaussian", "full", "bernoulli")
MIXTURES = tuple(f"mixture of {name}" for name in FAMILIES)


def make(family: str, event: tuple[int, ...] = (3,), seed: int = 0, batch: int = BATCH, m: int = 3) -> Distribution:
    """A law of the family with random parameters, float64."""
    generator = Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if family.startswith("mixture of "):
        log_weights = torch.log_softmax(randn(batch, m), 1)
        return Mixture(log_weights, make(family.removeprefix("mixture of "), event, seed + 1, batch * m))
    if family == "gaussian":
        return Gaussian(randn(batch, *event), randn(batch, *event).exp())
    if family == "bernoulli":
        return Bernoulli(torch.sigmoid(2 * randn(batch, *event)))
    d = math.prod(event)
    return MultivariateGaussian(randn(batch, *event), randn(batch, d, d).tril(-1) + torch.diag_embed(randn(batch, d).exp()))


def peer(p: Distribution) -> td.Distribution:
    """The same law in torch, for the flattened event."""
    if isinstance(p, Gaussian):
        return td.Independent(td.Normal(p.mean.flatten(1), p.var.flatten(1).sqrt()), 1)
    if isinstance(p, MultivariateGaussian):
        return td.MultivariateNormal(p.mean.flatten(1), scale_tril=p.scale_tril)
    if isinstance(p, Bernoulli):
        return td.Independent(td.Bernoulli(p.probs.flatten(1)), 1)
    assert isinstance(p, Mixture)
    parts = peer(p.components).expand((len(p.log_weights) * p.n_components,))
    choice = td.Categorical(logits=p.log_weights)
    if isinstance(parts, td.MultivariateNormal):
        shape = (len(p.log_weights), p.n_components)
        loc, tril = parts.loc.view(*shape, -1), parts.scale_tril.view(*shape, *parts.scale_tril.shape[1:])
        return td.MixtureSameFamily(choice, td.MultivariateNormal(loc, scale_tril=tril))
    base = parts.base_dist  # type: ignore[attr-defined]
    values = {"loc": base.loc, "scale": base.scale} if isinstance(base, td.Normal) else {"probs": base.probs}
    values = {name: v.view(len(p.log_weights), p.n_components, -1) for name, v in values.items()}
    return td.MixtureSameFamily(choice, td.Independent(type(base)(**values), 1))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------- a second opinion


@pytest.mark.parametrize("family", FAMILIES + MIXTURES)
@given(event=events(), seed=seeds)
def test_log_prob_is_torchs(family: str, event: tuple[int, ...], seed: int) -> None:
    p = make(family, event, seed)
    x = p.sample(Generator().manual_seed(seed))
    assert x.shape == (BATCH, *event)
    close(p.log_prob(x), peer(p).log_prob(x.flatten(1)))


@pytest.mark.parametrize("family", FAMILIES)
@given(event=events(), seed=seeds)
def test_entropy_is_torchs(family: str, event: tuple[int, ...], seed: int) -> None:
    p = make(family, event, seed)
    close(p.entropy(), peer(p).entropy())


@pytest.mark.parametrize(
    ("first", "second"),
    [("gaussian", "gaussian"), ("bernoulli", "bernoulli"), ("full", "full"), ("gaussian", "full"), ("full", "gaussian")],
)
@given(event=events(), seed=seeds)
def test_kl_is_torchs(first: str, second: str, event: tuple[int, ...], seed: int) -> None:
    p, q = make(first, event, seed), make(second, event, seed + 7)
    a, b = peer(p), peer(q)
    if first != second:  # torch has no mixed pair
        a, b = (
            td.MultivariateNormal(c.mean, covariance_matrix=torch.diag_embed(c.variance))
            if isinstance(c, td.Independent) else c
            for c in (a, b)
        )  # fmt: skip
    close(p.kl(q), td.kl_divergence(a, b), 1e-8)
    close(p.kl(p), torch.zeros(BATCH, dtype=torch.float64))


def test_a_small_kl_of_gaussians_keeps_its_digits() -> None:
    # KL(N(0, v) || N(0, v (1 + e))) = (log(1 + e) - e / (1 + e)) / 2 = e^2 / 4 - e^3 / 3 + ..; in float32 the naive
    # v / w - 1 - log(v / w) has lost everything at e = 1e-3
    e = 1e-3
    p = Gaussian(torch.zeros(1, 1), torch.ones(1, 1))
    q = Gaussian(torch.zeros(1, 1), torch.full((1, 1), 1.0 + e))
    assert p.kl(q).item() == pytest.approx(e**2 / 4 - e**3 / 3, rel=2e-3)


# ------------------------------------------------------------------------------------------------- the edges


def test_sure_bits_are_point_masses() -> None:
    p = Bernoulli(torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert p.sample(Generator().manual_seed(0)).tolist() == [[0.0, 1.0]]
    assert p.log_prob(torch.tensor([[0.0, 1.0]], dtype=torch.float64)).item() == 0.0
    for impossible in ([1.0, 1.0], [0.0, 0.0], [1.0, 0.0]):
        assert p.log_prob(torch.tensor([impossible], dtype=torch.float64)).item() == -math.inf
    assert p.entropy().item() == 0.0
    assert p.kl(p).item() == 0.0


def test_kl_of_a_sure_bit() -> None:
    sure, unsure = (Bernoulli(torch.tensor([[v]], dtype=torch.float64)) for v in (1.0, 0.25))
    assert sure.kl(unsure).item() == pytest.approx(math.log(4.0))
    assert unsure.kl(sure).item() == math.inf


def test_no_sure_bit_is_ever_drawn_the_other_way() -> None:
    p = Bernoulli(torch.tensor([[0.0, 1.0]]).expand(100_000, 2))
    assert torch.equal(p.sample(Generator().manual_seed(3)), p.probs)


def test_complement_keeps_digits_that_one_minus_p_has_lost() -> None:
    small = torch.tensor([[1e-30]])
    p = Bernoulli(1.0 - small, small)
    assert p.probs.item() == 1.0
    assert p.log_prob(torch.zeros(1, 1)).item() == pytest.approx(math.log(1e-30), rel=1e-6)
    assert p.entropy().item() == pytest.approx(1e-30 * -math.log(1e-30), rel=1e-6)
    half, _ = p.product(Bernoulli(torch.full((1, 1), 0.5)))
    assert isinstance(half, Bernoulli)
    assert half.complement.item() == pytest.approx(1e-30, rel=1e-6)
    assert p[0:1].complement.item() == small.item()


def test_complement_is_one_minus_p_if_not_given() -> None:
    assert Bernoulli(torch.tensor([[0.25]])).complement.item() == 0.75


def test_a_point_mass_is_drawn_and_multiplied() -> None:
    point = Gaussian(torch.full((1, 2), 3.0), torch.zeros(1, 2))
    assert point.sample().tolist() == [[3.0, 3.0]]
    product, log_z = point.product(Gaussian(torch.zeros(1, 2), torch.ones(1, 2)))
    assert isinstance(product, Gaussian)
    assert product.mean.tolist() == [[3.0, 3.0]]
    assert product.var.tolist() == [[0.0, 0.0]]
    assert log_z.item() == pytest.approx(-9.0 - math.log(2 * math.pi))


def test_variance_is_broadcast_to_the_mean() -> None:
    p = Gaussian(torch.zeros(2, 3), torch.tensor(4.0))
    close(p.log_prob(torch.ones(2, 3)), make_constant(2, 3, 4.0).log_prob(torch.ones(2, 3)))
    assert p[0:1].var.shape == (1, 3)


def make_constant(batch: int, d: int, var: float) -> Gaussian:
    return Gaussian(torch.zeros(batch, d), torch.full((batch, d), var))


# ---------------------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("family", ["bernoulli", "mixture of bernoulli"])
@given(d=st.integers(1, 5), seed=seeds)
def test_masses_sum_to_one(family: str, d: int, seed: int) -> None:
    total = law_table(make(family, (d,), seed), BATCH, all_bits(d)).sum(1)
    close(total, torch.ones(BATCH, dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("family", ["gaussian", "full", "mixture of gaussian", "mixture of full"])
def test_densities_integrate_to_one(family: str) -> None:
    # the rectangle rule converges faster than any power for a density that fades at both ends
    p = make(family, (2,), seed=5, batch=1)
    line = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    wide = _stretched(p, len(grid))
    area = (line[1] - line[0]) ** 2
    assert (wide.log_prob(grid).exp().sum() * area).item() == pytest.approx(1.0, abs=1e-6)


def _stretched(p: Distribution, n: int) -> Distribution:
    """The one law of a batch for n rows."""
    if isinstance(p, Gaussian):
        return Gaussian(p.mean.expand(n, -1), p.var.expand(n, -1))
    if isinstance(p, MultivariateGaussian):
        return MultivariateGaussian(p.mean.expand(n, -1), p.scale_tril.expand(n, -1, -1))
    assert isinstance(p, Mixture)
    c = p.components
    if isinstance(c, Gaussian):
        return Mixture(p.log_weights.expand(n, -1), Gaussian(c.mean.repeat(n, 1), c.var.repeat(n, 1)))
    assert isinstance(c, MultivariateGaussian)
    return Mixture(p.log_weights.expand(n, -1), MultivariateGaussian(c.mean.repeat(n, 1), c.scale_tril.repeat(n, 1, 1)))


# --------------------------------------------------------------------------------------------------- products

PRODUCTS = [(f, f) for f in FAMILIES] + [("full", "gaussian")] + [(f"mixture of {f}", f) for f in FAMILIES]
PRODUCTS += [("mixture of full", "gaussian")]


@pytest.mark.parametrize(("first", "second"), PRODUCTS)
@given(event=events(), seed=seeds)
def test_a_product_is_the_pointwise_product_over_its_normaliser(
    first: str, second: str, event: tuple[int, ...], seed: int
) -> None:
    p, r = make(first, event, seed), make(second, event, seed + 7)
    product, log_z = p.product(r)
    x = torch.randn(BATCH, *event, generator=Generator().manual_seed(seed), dtype=torch.float64)
    x = (x > 0).double() if "bernoulli" in first else x
    close(product.log_prob(x) + log_z, p.log_prob(x) + r.log_prob(x), 1e-7)


@pytest.mark.parametrize("family", ["bernoulli", "mixture of bernoulli"])
def test_the_normaliser_of_bits_is_a_sum_over_states(family: str) -> None:
    p, r, states = make(family, (4,)), make("bernoulli", (4,), 9), all_bits(4)
    product, log_z = p.product(r)
    close(log_z.exp(), (law_table(p, BATCH, states) * law_table(r, BATCH, states)).sum(1), 1e-12)
    close(law_table(product, BATCH, states).sum(1), torch.ones(BATCH, dtype=torch.float64), 1e-12)


def test_the_normaliser_of_gaussians_is_an_integral() -> None:
    p, r = make("gaussian", (1,), 1, batch=1), make("gaussian", (1,), 2, batch=1)
    line = torch.linspace(-30, 30, 6001, dtype=torch.float64).unsqueeze(1)
    both = _stretched(p, 6001).log_prob(line) + _stretched(r, 6001).log_prob(line)
    integral = both.exp().sum().item() * 0.01
    assert p.product(r)[1].exp().item() == pytest.approx(integral, rel=1e-9)


# ------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("family", FAMILIES + MIXTURES)
@pytest.mark.parametrize("rows", [slice(1, 3), slice(None), slice(2, None), slice(0, 1), slice(-2, None)])
def test_rows_are_laws_of_their_own(family: str, rows: slice) -> None:
    p = make(family)
    x = p.sample(Generator().manual_seed(1))
    close(p[rows].log_prob(x[rows]), p.log_prob(x)[rows])


def test_rows_of_a_mixture_come_in_order() -> None:
    with pytest.raises(ValueError, match="one after the other, got a stride of 2"):
        make("mixture of gaussian")[::2]


# ------------------------------------------------------------------------------------------------------ draws


def repeated(p: Distribution, n: int) -> Distribution:
    """The first row of p, n times."""
    return _stretched(p[0:1], n) if not isinstance(p, Bernoulli) else Bernoulli(p.probs[:1].expand(n, -1))


@pytest.mark.parametrize("family", ["gaussian", "full", "mixture of gaussian", "mixture of full"])
def test_draws_have_the_moments(family: str, generator: Generator) -> None:
    # 2 checks of 1e-6 each
    p = make(family, (2,))
    x = repeated(p, 40_000).sample(generator)
    law = peer(p[0:1])
    check_mean(x, law.mean[0])
    if isinstance(law, td.Independent):
        check_covariance(x, torch.diag(law.variance[0]))
    elif isinstance(law, td.MultivariateNormal):
        check_covariance(x, law.covariance_matrix[0])
    else:
        check_mean((x - law.mean[0]).square(), law.variance[0])


def test_draws_of_bits_have_their_frequencies(generator: Generator) -> None:
    # 1e-6
    p, states = make("bernoulli"), all_bits(3)
    x = repeated(p, 40_000).sample(generator)
    check_frequencies(_counts(x, states), law_table(p[0:1], 1, states)[0])


def test_draws_of_a_mixture_of_bits_have_its_frequencies(generator: Generator) -> None:
    # 1e-6 for each of two rows, so that components of one row are not mistaken for another's
    n, states = 30_000, all_bits(3)
    parts = make("bernoulli", (3,), 4, batch=4)
    assert isinstance(parts, Bernoulli)
    weights = torch.stack([random_weights(2, 1), random_weights(2, 2)])
    law = Mixture(weights.log().repeat(n, 1), Bernoulli(parts.probs.repeat(n, 1)))
    x = law.sample(generator).view(n, 2, 3)
    for row in (0, 1):
        expected = law_table(Mixture(weights.log(), parts)[row : row + 1], 1, states)[0]
        check_frequencies(_counts(x[:, row], states), expected)


def _counts(x: Tensor, states: Tensor) -> Tensor:
    return torch.stack([(x == state).all(1).sum() for state in states])


@pytest.mark.parametrize("family", FAMILIES + MIXTURES)
def test_draws_repeat_with_their_generator_and_leave_the_global_one_alone(family: str) -> None:
    p, before = make(family), torch.get_rng_state()
    first, second, other = (p.sample(Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other) or "bernoulli" in family
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_precision_is_that_of_the_parameters(family: str, dtype: torch.dtype) -> None:
    p = make(family)
    if isinstance(p, Gaussian):
        p = Gaussian(p.mean.to(dtype), p.var.to(dtype))
    elif isinstance(p, MultivariateGaussian):
        p = MultivariateGaussian(p.mean.to(dtype), p.scale_tril.to(dtype))
    elif isinstance(p, Bernoulli):
        p = Bernoulli(p.probs.to(dtype))
    x = p.sample()
    assert {x.dtype, p.log_prob(x).dtype, p.entropy().dtype, p.kl(p).dtype} == {dtype}


# ------------------------------------------------------------------------------------------- what has no answer


def test_a_mixture_says_that_it_has_no_closed_form() -> None:
    p = make("mixture of gaussian")
    assert not p.has_kl
    with pytest.raises(NotImplementedError, match="entropy of Mixture has no closed form"):
        p.entropy()
    with pytest.raises(NotImplementedError, match="kl of Mixture with Mixture has no closed form"):
        p.kl(p)


@pytest.mark.parametrize("what", ["kl", "product"])
@pytest.mark.parametrize(("first", "second"), [("gaussian", "bernoulli"), ("bernoulli", "full"), ("full", "bernoulli")])
def test_two_families_without_a_common_answer(what: str, first: str, second: str) -> None:
    p, q = make(first), make(second)
    with pytest.raises(NotImplementedError, match=f"{what} of {type(p).__name__} with {type(q).__name__}"):
        getattr(p, what)(q)
