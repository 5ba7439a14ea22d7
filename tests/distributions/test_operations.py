"""Every family under every operation, against sums over all events or a dense covariance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from quasistatic.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Gaussian,
    Joint,
    KnownValues,
    Masked,
    MeasuredEntries,
    Mixture,
    MultivariateGaussian,
    ValueFactor,
)
from quasistatic.distributions.discretised import DiscretisedGaussian, WeightedLevels
from quasistatic.distributions.first_step import FirstStepDiscretised
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.errors import InputError
from strategies import seeds

D = 2
STEP, LOW, HIGH = 0.5, -1.0, 1.0
LEVELS = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
EXACT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-9}


def draws(seed: int) -> Callable[..., Tensor]:
    generator = Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def bits(n: int, z: Callable[..., Tensor]) -> Bernoulli:
    return Bernoulli(torch.sigmoid(z(n, D)))


def classes(n: int, z: Callable[..., Tensor]) -> Categorical:
    return Categorical(torch.log_softmax(z(n, D, 3), -1))


def masked(n: int, z: Callable[..., Tensor]) -> Masked:
    mask = torch.sigmoid(z(n, D))
    return Masked(classes(n, z), 3, mask, 1.0 - mask)


def masked_points(n: int, z: Callable[..., Tensor]) -> Masked:
    mask = torch.sigmoid(z(n, D))
    return Masked(z(n, D).abs().round().clamp(0, 2), 3, mask, 1.0 - mask)


def levels(n: int, z: Callable[..., Tensor]) -> DiscretisedGaussian:
    return DiscretisedGaussian(z(n, D), z(n, D).exp(), STEP, LOW, HIGH)


def weighted(n: int, z: Callable[..., Tensor]) -> WeightedLevels:
    p, _ = WeightedLevels(levels(n, z)).reweight_values(z(n, D, 5))
    assert isinstance(p, WeightedLevels)
    return p


def diagonal(n: int, z: Callable[..., Tensor]) -> Gaussian:
    return Gaussian(z(n, D), z(n, D).exp())


def full(n: int, z: Callable[..., Tensor]) -> MultivariateGaussian:
    root = 0.5 * z(n, D, D)
    return MultivariateGaussian(z(n, D), torch.linalg.cholesky(root @ root.mT + 0.3 * torch.eye(D, dtype=torch.float64)))


def low_rank(n: int, z: Callable[..., Tensor]) -> LowRankGaussian:
    return LowRankGaussian(z(n, D), z(n, D, 1), z(n, D).exp())


def mixture_of(family: Callable[..., Distribution]) -> Callable[..., Mixture]:
    return lambda n, z: Mixture(torch.log_softmax(z(n, 3), 1), family(3 * n, z))


def joint_of(first: Callable[..., Distribution], second: Callable[..., Distribution]) -> Callable[..., Joint]:
    return lambda n, z: Joint([first(n, z), second(n, z)], [torch.tensor([3, 0]), torch.tensor([1, 2])])


DISCRETE: dict[str, Callable[..., Distribution]] = {
    "bits": bits, "classes": classes, "masked": masked, "masked points": masked_points, "levels": levels,
    "weighted levels": weighted, "mixture of bits": mixture_of(bits), "mixture of classes": mixture_of(classes),
    "mixture of masked": mixture_of(masked), "bits and classes": joint_of(bits, classes),
    "bits and masked": joint_of(bits, masked), "mixture of bits and classes": mixture_of(joint_of(bits, classes)),
}  # fmt: skip
NUMBERS: dict[str, Callable[..., Distribution]] = {
    "diagonal": diagonal, "full": full, "low rank": low_rank, "mixture of diagonal": mixture_of(diagonal),
    "mixture of full": mixture_of(full), "mixture of low rank": mixture_of(low_rank),
    "diagonal and full": joint_of(diagonal, full), "mixture of diagonal and full": mixture_of(joint_of(diagonal, full)),
}  # fmt: skip
MIXED: dict[str, Callable[..., Distribution]] = {
    "numbers and bits": joint_of(diagonal, bits), "classes and numbers": joint_of(classes, full),
    "mixture of masked and numbers": mixture_of(joint_of(masked, diagonal)),
}  # fmt: skip
ALL = {**DISCRETE, **NUMBERS, **MIXED}


def values_of(p: Distribution) -> list[Tensor]:
    """Values of each entry of a discrete family, the mask among them."""
    if isinstance(p, Mixture):
        return values_of(p.components)
    if isinstance(p, Joint):
        found = dict.fromkeys(range(4), LEVELS)
        for part, columns in zip(p.parts, p.columns, strict=True):
            found.update(zip(columns.tolist(), values_of(part), strict=True))
        return [found[i] for i in range(4)]
    if isinstance(p, DiscretisedGaussian | WeightedLevels):
        return [LEVELS] * D
    k = p.n_classes if isinstance(p, Categorical | Masked) else 2
    return [torch.arange(k + isinstance(p, Masked), dtype=torch.float64)] * D


def events_of(p: Distribution) -> Tensor:
    return torch.cartesian_prod(*values_of(p))


def table(p: Distribution, events: Tensor) -> Tensor:
    """Probability of every event, (n, number of events), from ``log_prob`` alone."""
    n = len(p.mean)
    return torch.stack([p.log_prob(x.expand(n, -1)) for x in events], 1).exp()


def same(p: Distribution, q: Distribution, x: Tensor) -> None:
    torch.testing.assert_close(p.log_prob(x), q.log_prob(x), **EXACT)


# ------------------------------------------------------------------------------------------------- batch surgery


@pytest.mark.parametrize("family", ALL)
@settings(max_examples=4, deadline=None)
@given(seed=seeds, rows=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_rows_can_be_taken_repeated_and_joined(family: str, seed: int, rows: list[int]) -> None:
    p = ALL[family](4, draws(seed))
    x = p.sample(Generator().manual_seed(seed % 1000))
    each, index = p.log_prob(x), torch.tensor(rows)
    torch.testing.assert_close(p.take(index).log_prob(x[index]), each[index], **EXACT)
    torch.testing.assert_close(p[1:3].log_prob(x[1:3]), each[1:3], **EXACT)
    torch.testing.assert_close(p.repeat(3).log_prob(x.repeat_interleave(3, 0)), each.repeat_interleave(3), **EXACT)
    joined = Distribution.concat([p.take(index), p[:2], p])
    torch.testing.assert_close(joined.log_prob(torch.cat([x[index], x[:2], x])), torch.cat([each[index], each[:2], each]))
    for q in (p.take(index), joined):
        assert type(q) is type(p)
        assert len(q.mean) == len(q.variance) == len(q.sample())
        assert len(q) == len(q.mean)


def test_families_are_not_mixed_in_one_batch() -> None:
    with pytest.raises(NotImplementedError, match="concat of Gaussian with Bernoulli"):
        Distribution.concat([diagonal(2, draws(0)), bits(2, draws(0))])


def test_rows_of_first_steps_and_others_can_be_taken() -> None:
    first = torch.tensor([True, False, True])
    p = FirstStepDiscretised(Gaussian(torch.zeros(3, D), torch.ones(3, D)), STEP, LOW, HIGH, first)
    assert isinstance(p.take(torch.tensor([0, 2])), DiscretisedGaussian)
    assert isinstance(p.take(torch.tensor([1])), Gaussian)
    both = Distribution.concat([p, p.repeat(2)])
    assert isinstance(both, FirstStepDiscretised)
    assert both.first.tolist() == [True, False, True, True, True, False, False, True, True]
    assert torch.equal(both.variance, torch.ones(9, D))


# ------------------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize("family", [name for name in DISCRETE if "levels" not in name])
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_moments_of_discrete_families_are_sums(family: str, seed: int) -> None:
    z = draws(seed)
    p = DISCRETE[family](3, z)
    if "masked" in family:  # of what is shown
        p = p.unmasked()
    events = events_of(p)
    weight = table(p, events)
    torch.testing.assert_close(weight.sum(1), torch.ones(3, dtype=torch.float64), **EXACT)
    mean = weight @ events
    torch.testing.assert_close(p.mean, mean, **EXACT)
    off = events - mean.unsqueeze(1)
    torch.testing.assert_close(p.variance, (weight.unsqueeze(2) * off.square()).sum(1), **EXACT)
    v = z(3, events.shape[1])
    cov = torch.einsum("ns,nsi,nsj->nij", weight, off, off)
    torch.testing.assert_close(p.covariance_times(v), (cov @ v.unsqueeze(2)).squeeze(2), **EXACT)
    low, high = p.support or (math.nan, math.nan)
    assert low == events.min()
    assert high == events.max()
    listed = p.states(64)
    assert listed is not None
    assert sorted(listed.tolist()) == sorted(events.tolist())
    assert p.states(len(events) - 1) is None
    torch.testing.assert_close(p.centre(), p.mean.round(), **EXACT)
    points = p.point_masses(events)
    assert table(points, events).equal(torch.eye(len(events), dtype=torch.float64))


@pytest.mark.parametrize("family", ["masked", "masked points", "mixture of masked"])
def test_a_masked_entry_has_no_value(family: str) -> None:
    p = DISCRETE[family](3, draws(0))
    torch.testing.assert_close(p.mean, p.unmasked().mean)
    torch.testing.assert_close(p.variance, p.unmasked().variance)
    x = torch.tensor([[3.0, 1.0]]).double()
    mask = p.masked(x)
    assert mask is not None
    assert mask.tolist() == [[True, False]]
    assert p.offset(x, torch.tensor([[0.5, 0.5]]).double()).tolist() == [[0.0, 0.5]]


def dense(p: Distribution) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights (n, M), means (n, M, d) and covariances (n, M, d, d) of families of numbers."""
    if isinstance(p, Mixture):
        _, mean, cov = dense(p.components)
        shape = p.log_weights.shape
        return p.log_weights, mean.view(*shape, -1), cov.view(*shape, *cov.shape[-2:])
    if isinstance(p, Joint):
        order = torch.argsort(torch.cat(p.columns))
        blocks = [dense(part)[2][:, 0] for part in p.parts]
        cov = torch.stack([torch.block_diag(*each) for each in zip(*blocks, strict=True)])
        mean = torch.cat([part.mean for part in p.parts], 1)[:, order]
        return mean.new_zeros(len(mean), 1), mean.unsqueeze(1), cov[:, order][:, :, order].unsqueeze(1)
    if isinstance(p, LowRankGaussian):
        cov = p.root @ p.root.mT + torch.diag_embed(p.var)
    else:
        cov = p.cov if isinstance(p, MultivariateGaussian) else torch.diag_embed(p.variance)
    return p.mean.new_zeros(len(p.mean), 1), p.mean.unsqueeze(1), cov.unsqueeze(1)


def dense_log_prob(parts: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    log_weights, mean, cov = parts
    return torch.logsumexp(log_weights + MultivariateNormal(mean, cov).log_prob(x.unsqueeze(1)), 1)


@pytest.mark.parametrize("family", NUMBERS)
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_moments_of_numbers_are_those_of_a_dense_covariance(family: str, seed: int) -> None:
    z = draws(seed)
    p = NUMBERS[family](3, z)
    log_weights, mean, cov = dense(p)
    weight = log_weights.exp().unsqueeze(2)
    centre = (weight * mean).sum(1)
    off = mean - centre.unsqueeze(1)
    total = (weight.unsqueeze(3) * (cov + off.unsqueeze(3) * off.unsqueeze(2))).sum(1)
    torch.testing.assert_close(p.mean, centre, **EXACT)
    torch.testing.assert_close(p.variance, total.diagonal(dim1=1, dim2=2), **EXACT)
    v = z(3, centre.shape[1])
    torch.testing.assert_close(p.covariance_times(v), (total @ v.unsqueeze(2)).squeeze(2), **EXACT)
    assert p.support is None
    assert p.states(64) is None
    assert torch.equal(p.step_inside(centre, v), v)


# ------------------------------------------------------------------------------------------------- products


def logs_at(factor: Any, events: Tensor, values: list[Tensor]) -> Tensor:
    """Sum of the logs of a factor over the entries of each event, (n or 1, events); masks have none."""
    total = torch.zeros(1, len(events), dtype=torch.float64)
    for i, column in enumerate(values):
        logs = factor.columns(torch.tensor([i])).logs(column)[:, 0]
        at = (events[:, i].unsqueeze(1) == column).long().argmax(1)
        shown = (events[:, i].unsqueeze(1) == column).any(1)
        total = total + torch.where(shown, logs[:, at], 0.0)
    return total


def check_product(p: Distribution, product: tuple[Distribution, Tensor], events: Tensor, log_r: Tensor) -> None:
    """Hold a product to p r / Z over all events; rows without a possible event have log Z = -inf."""
    q, log_z = product
    joint = table(p, events).log() + log_r
    truth = torch.logsumexp(joint, 1)
    torch.testing.assert_close(log_z, truth, **EXACT)
    there = truth > -math.inf
    torch.testing.assert_close(table(q, events)[there], torch.softmax(joint[there], 1), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("family", DISCRETE)
@settings(max_examples=5, deadline=None)
@given(seed=seeds, n=st.sampled_from([1, 3]), share=st.floats(0.1, 2.0))
def test_discrete_families_are_multiplied_by_bayes_rule(family: str, seed: int, n: int, share: float) -> None:
    z = draws(seed)
    p = DISCRETE[family](3, z)
    events = events_of(p)
    d, shown = events.shape[1], values_of(p)
    if "masked" in family:
        shown = [v[:3] if len(v) == 4 else v for v in shown]
    mask = z(n, d) > 0
    some = torch.stack([v[torch.randint(len(v), (n,), generator=Generator().manual_seed(seed % 97 + i))]
                        for i, v in enumerate(shown)], 1)  # fmt: skip
    for factor in (MeasuredEntries(mask, z(n, d), z(n, d).exp(), share), KnownValues(mask, some)):
        check_product(p, p.condition(factor), events, logs_at(factor, events, shown))
    if len({len(v) for v in shown}) == 1:
        values = ValueFactor(z(n, d, len(shown[0])))
        if "levels" not in family:
            check_product(p, p.condition(values), events, logs_at(values, events, shown))
    g, at = z(3, d), z(3, d)
    log_r = torch.stack([(g * p.offset(x.expand(3, -1), at)).sum(1) for x in events], 1)
    check_product(p, p.tilt(g, at), events, log_r)


@pytest.mark.parametrize("family", ["bits", "classes", "mixture of classes", "bits and classes"])
@settings(max_examples=5, deadline=None)
@given(seed=seeds, n=st.sampled_from([1, 3]))
def test_linear_measurements_of_single_entries_are_exact(family: str, seed: int, n: int) -> None:
    z = draws(seed)
    p = DISCRETE[family](3, z)
    events = events_of(p)
    d = events.shape[1]
    matrix = torch.zeros(3, d, dtype=torch.float64)
    matrix[0, 1], matrix[1, 1], matrix[2, 0] = 0.7, -1.2, 2.0
    y, noise = z(n, 3), z(n, 3).exp()
    assert p.has_linear_product(matrix)
    log_r = -0.5 * ((y.unsqueeze(1) - events @ matrix.T).square() / noise.unsqueeze(1)
                    + noise.unsqueeze(1).log() + math.log(2 * math.pi)).sum(2)  # fmt: skip
    check_product(p, p.observe_linear(matrix, y, noise), events, log_r)
    assert not p.has_linear_product(torch.ones(1, d, dtype=torch.float64))


@pytest.mark.parametrize("family", ["bits", "classes", "masked", "mixture of bits", "bits and classes"])
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_products_of_two_discrete_distributions_are_sums(family: str, seed: int) -> None:
    z = draws(seed)
    p = DISCRETE[family](3, z)
    q = bits(3, z) if family == "mixture of bits" else DISCRETE[family](3, z)
    events = events_of(p)
    check_product(p, p.product(q), events, table(q, events).log())


@pytest.mark.parametrize("family", NUMBERS)
@settings(max_examples=4, deadline=None)
@given(seed=seeds, n=st.sampled_from([1, 3]))
def test_numbers_are_multiplied_as_dense_covariances_are(family: str, seed: int, n: int) -> None:
    z = draws(seed)
    p = NUMBERS[family](3, z)
    log_weights, mean, cov = dense(p)
    d = mean.shape[-1]
    x = z(3, d)
    mask, y, noise = z(n, d) > -0.5, z(n, d), z(n, d).exp()

    q, log_z = p.observe_entries(mask, y, noise)
    log_r = torch.where(mask, torch.distributions.Normal(x, noise.sqrt()).log_prob(y), 0.0).sum(1)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + log_r, **EXACT)
    each = [MultivariateNormal(m[:, b], (cov + torch.diag_embed(noise).unsqueeze(1))[i, :, b][:, :, b]).log_prob(y[i % n, b])
            for i in range(3) for m, b in [(mean[i], mask[i % n])] if b.any()]  # fmt: skip
    if len(each) == 3:
        torch.testing.assert_close(log_z, torch.logsumexp(log_weights + torch.stack(each), 1), **EXACT)

    known, log_known = p.condition(KnownValues(mask, y))  # exact: draws agree, and the rest has the conditional density
    drawn = known.sample(Generator().manual_seed(0))
    torch.testing.assert_close(torch.where(mask, drawn, 0.0), torch.where(mask, y, 0.0).expand(3, d), **EXACT)
    narrow, log_narrow = p.observe_entries(mask, y, torch.full_like(y, 1e-9))
    torch.testing.assert_close(known.mean, narrow.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(known.variance, narrow.variance, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_known, log_narrow, rtol=1e-5, atol=1e-5)

    matrix = z(2, d)
    if isinstance(p, Joint) or family == "mixture of diagonal and full":
        matrix[0, 1] = matrix[0, 2] = matrix[1, 0] = matrix[1, 3] = 0.0  # each row of one block
        assert not p.has_linear_product(torch.ones(1, d, dtype=torch.float64))
    assert p.has_linear_product(matrix)
    seen, error = z(n, 2), z(n, 2).exp()
    q, log_z = p.observe_linear(matrix, seen, error)
    log_r = torch.distributions.Normal(x @ matrix.T, error.sqrt()).log_prob(seen).sum(1)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + log_r, **EXACT)
    torch.testing.assert_close(q.log_prob(x), dense_log_prob(dense(q), x), **EXACT)

    g, at = z(3, d), z(3, d)
    q, log_z = p.tilt(g, at)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + (g * (x - at)).sum(1), **EXACT)
    torch.testing.assert_close(q.log_prob(x), dense_log_prob(dense(q), x), **EXACT)


@pytest.mark.parametrize("family", ["diagonal", "full", "mixture of diagonal", "diagonal and full"])
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_products_of_two_densities_hold_at_every_point(family: str, seed: int) -> None:
    z = draws(seed)
    p = NUMBERS[family](3, z)
    other = diagonal(3, z) if family == "mixture of diagonal" else NUMBERS[family](3, z)
    x = z(3, p.mean.shape[1])
    q, log_z = p.product(other)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + other.log_prob(x), **EXACT)


@pytest.mark.parametrize("family", MIXED)
@settings(max_examples=4, deadline=None)
@given(seed=seeds, n=st.sampled_from([1, 3]))
def test_tables_are_multiplied_at_every_point(family: str, seed: int, n: int) -> None:
    # renormalisation is that of the blocks, which the tests above sum; here p r = Z q at draws
    z = draws(seed)
    p = MIXED[family](3, z)
    x = p.unmasked().sample(Generator().manual_seed(seed % 1000))
    factor = MeasuredEntries(z(n, 4) > -0.5, z(n, 4), z(n, 4).exp())
    q, log_z = p.condition(factor)
    log_r = torch.where(factor.mask, torch.distributions.Normal(x, factor.noise.sqrt()).log_prob(factor.y), 0.0).sum(1)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + log_r, **EXACT)
    g, at = z(3, 4), z(3, 4)
    q, log_z = p.tilt(g, at)
    torch.testing.assert_close(q.log_prob(x) + log_z, p.log_prob(x) + (g * (x - at)).sum(1), **EXACT)
    assert p.support is None
    clamped = p.step_inside(p.mean, 100.0 * torch.ones(3, 4, dtype=torch.float64))
    assert (clamped == 100.0).sum() == 6  # numbers are free, and bits and classes end at their last value
    values = p.covariance_times(torch.ones(3, 4, dtype=torch.float64))
    assert values.shape == (3, 4)


def test_noise_is_added_and_removed() -> None:
    z = draws(0)
    for p in (diagonal(3, z), full(3, z)):
        share, noise = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
        mean = z(3, D)
        q = p.rescaled(mean, share, noise)
        expected = 0.36 * dense(p)[2] + 0.2 * torch.eye(D, dtype=torch.float64)
        torch.testing.assert_close(dense(q)[2], expected, **EXACT)
        back = q.unscaled(p.mean, share, noise / share.square(), torch.tensor(1e-9, dtype=torch.float64))
        torch.testing.assert_close(dense(back)[2], dense(p)[2], **EXACT)
    thin = low_rank(3, z).rescaled(z(3, D), torch.tensor(0.6).double(), torch.tensor(0.2).double())
    assert thin.variance.shape == (3, D)


@pytest.mark.parametrize(
    ("family", "refused", "sentence"),
    [
        (diagonal, lambda p: p.reweight_values(torch.zeros(1, D, 2)), "a Gaussian distribution has no table of values"),
        (full, lambda p: p.point_masses(torch.zeros(3, D)), "a MultivariateGaussian distribution has no point masses"),
        (
            levels,
            lambda p: p.observe_linear(torch.eye(D), torch.zeros(1, D), torch.ones(1, D)),
            "no exact product with linear",
        ),
        (diagonal, lambda p: p.condition(ValueFactor(torch.zeros(1, D, 2))), "for real numbers use GaussianMeasurement"),
        (bits, lambda p: p.rescaled(p.mean, p.mean, p.mean), "a Bernoulli distribution has no sum with Gaussian noise"),
        (bits, lambda p: p.condition(ValueFactor(torch.zeros(1, D, 3))), "have 3 values, but entries of this model have 2"),
    ],
)
def test_what_a_family_has_not_is_refused_by_name(
    family: Callable[..., Distribution], refused: Callable[[Distribution], object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        refused(family(3, draws(0)))
