"""Evidence: products with laws against quadrature, enumeration and linear algebra, and sentences for bad input."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from oracles import ExactGaussianData, all_bits, random_weights, roughen
from quasistatic.datasets.heartbeat import heartbeat_atoms
from quasistatic.distributions import Bernoulli, Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import BitFlipChannel, GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.posterior.twisting import TwistedKernel, data_distribution
from quasistatic.reverse import BernoulliDenoiser, FixedFirstStep, GaussianDenoiser, PaperKernel, ReverseKernel
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.transforms import Affine, Chain, Dequantise, HistogramGaussianizer, Transform, Whiten
from strategies import seeds


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(n: int, d: int, seed: int = 0) -> Gaussian:
    return Gaussian(normal(n, d, seed=seed), normal(n, d, seed=seed + 1).exp())


def full(n: int, d: int, seed: int = 0) -> MultivariateGaussian:
    factor = normal(n, d, d, seed=seed + 1).tril(-1) + torch.diag_embed(normal(n, d, seed=seed + 2).exp())
    return MultivariateGaussian(normal(n, d, seed=seed), factor)


def bits(n: int, d: int, seed: int = 0) -> Bernoulli:
    return Bernoulli(torch.sigmoid(normal(n, d, seed=seed)))


def mixture(part: Callable[[int, int, int], Distribution], n: int, d: int, seed: int = 0, m: int = 3) -> Mixture:
    return Mixture(torch.log_softmax(normal(n, m, seed=seed + 9), 1), part(n * m, d, seed))


FAMILIES: dict[str, Callable[[int, int, int], Distribution]] = {
    "gaussian": gaussian,
    "full": full,
    "bits": bits,
    "mixture of gaussians": lambda n, d, seed: mixture(gaussian, n, d, seed),
    "mixture of full": lambda n, d, seed: mixture(full, n, d, seed),
    "mixture of bits": lambda n, d, seed: mixture(bits, n, d, seed),
}


# ---------------------------------------------------------------------------------------- products in closed form


@settings(max_examples=50)
@given(family=st.sampled_from(sorted(FAMILIES)), seed=seeds, share=st.floats(0.05, 1.0), kind=st.sampled_from("xma"))
def test_a_product_is_bayes_rule_at_every_point(family: str, seed: int, share: float, kind: str) -> None:
    # p(x) r(x)^share = Z tilted(x), for any x: it fixes both the law and its normaliser
    p, seed = FAMILIES[family](4, 3, seed % 1000), seed % 1000
    observation: Observation
    if "bits" in family:
        x = (normal(4, 3, seed=seed + 20) > 0).double()
        observation = BitFlipChannel((normal(3, seed=seed + 21) > 0).double(), torch.tensor([0.1, 0.5, 0.7]))
    else:
        x, std = normal(4, 3, seed=seed + 20), torch.tensor([0.5, 1.0, 2.0])
        operator, y = {
            "x": (None, normal(3, seed=seed + 22)),
            "m": (torch.tensor([True, False, True]), normal(3, seed=seed + 22)),
            "a": (normal(2, 3, seed=seed + 23), normal(2, seed=seed + 22)),
        }[kind]
        observation = GaussianMeasurement(y, std[:2] if kind == "a" else std, operator)
    observation = observation.on((3,))
    tilt = observation.product(p, share)
    expected = p.log_prob(x) + share * observation.log_r(x)
    torch.testing.assert_close(tilt.log_z + tilt.distribution.log_prob(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "full", "mixture of gaussians", "mixture of full"])
def test_known_entries_condition_and_are_scored_by_their_marginal(family: str) -> None:
    # the law of the rest, by Bayes: p(x) = p(known) p(rest | known), with the marginal of a normal from torch
    mask, values = torch.tensor([False, True, False, True]), normal(4, seed=5)
    p = FAMILIES[family](3, 4, 0)
    law, log_z = KnownEntries(mask, values).tilt(p)

    def marginal(q: Distribution) -> Tensor:
        if isinstance(q, Mixture):
            return torch.logsumexp(q.log_weights + marginal(q.components).view_as(q.log_weights), 1)
        cov = q.cov if isinstance(q, MultivariateGaussian) else torch.diag_embed(q.var)  # type: ignore[attr-defined]
        return MultivariateNormal(q.mean[:, mask], cov[:, mask][:, :, mask]).log_prob(values[mask])

    torch.testing.assert_close(log_z, marginal(p))
    x = law.sample(Generator().manual_seed(0))
    assert torch.equal(x[:, mask], values[mask].expand(3, 2))
    if family == "full":
        assert isinstance(p, MultivariateGaussian)
        cov = p.cov
        gain = cov[:, ~mask][:, :, mask] @ torch.linalg.inv(cov[:, mask][:, :, mask])
        expected = p.mean[:, ~mask] + (gain @ (values[mask] - p.mean[:, mask]).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(law.mean[:, ~mask], expected)
        rest = cov[:, ~mask][:, :, ~mask] - gain @ cov[:, mask][:, :, ~mask]
        torch.testing.assert_close(law.cov[:, ~mask][:, :, ~mask], rest)  # type: ignore[attr-defined]


def test_known_bits_are_conditioned_by_enumeration() -> None:
    states, mask = all_bits(4), torch.tensor([True, False, True, False])
    values = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    for family in ("bits", "mixture of bits"):
        p = FAMILIES[family](1, 4, 3)
        law, log_z = KnownEntries(mask, values).tilt(p)
        agree = (states[:, mask] == values[mask]).all(1)
        joint = torch.stack([p.log_prob(s[None]) for s in states]).exp().squeeze(1) * agree
        torch.testing.assert_close(log_z.exp(), joint.sum()[None])
        after = torch.stack([law.log_prob(s[None]) for s in states]).exp().squeeze(1)
        torch.testing.assert_close(after, joint / joint.sum())


def test_impossible_bits_have_evidence_zero_and_no_nan() -> None:
    p = Mixture(torch.tensor([[0.5, 0.5]]).log(), Bernoulli(torch.tensor([[0.0, 1.0], [0.0, 0.0]])))
    law, log_z = KnownEntries(torch.tensor([True, False]), torch.tensor([1.0, 0.0])).tilt(p)
    assert log_z.item() == -math.inf
    assert law.sample(Generator().manual_seed(0)).isfinite().all()


@settings(max_examples=30)
@given(family=st.sampled_from(sorted(FAMILIES)), seed=seeds)
def test_two_pieces_one_after_the_other_are_their_product(family: str, seed: int) -> None:
    p, seed = FAMILIES[family](2, 3, seed % 1000), seed % 1000
    a: Observation
    b: Observation
    if "bits" in family:
        a = BitFlipChannel(torch.tensor([1.0, 0.0, 1.0]), 0.2)
        b = KnownEntries(torch.tensor([False, True, False]), torch.tensor([0.0, 1.0, 0.0]))
        x = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    else:
        a = GaussianMeasurement(normal(3, seed=seed), 0.7)
        b = GaussianMeasurement(normal(2, seed=seed + 1), 0.3, normal(2, 3, seed=seed + 2))
        x = normal(2, 3, seed=seed + 3)
    first, log_first = a.tilt(p)
    second, log_second = b.tilt(first)
    for both in (a & b, b & a):
        law, log_z = both.tilt(p)
        torch.testing.assert_close(log_z, log_first + log_second, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(law.log_prob(x), second.log_prob(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_evidence_of_one_changes_nothing(family: str) -> None:
    p, x = FAMILIES[family](4, 3, 7), torch.tensor([[0.0, 1.0, 1.0]] * 4, dtype=torch.float64)
    nothing: list[Observation] = [LogFactor(lambda x: 0.0 * x.sum(1)), LogFactor(lambda x: x.new_zeros(len(x)), False)]
    if "bits" in family:
        nothing.append(KnownEntries(torch.zeros(3, dtype=torch.bool), torch.zeros(3)))
        law, log_z = BitFlipChannel(torch.zeros(3), 0.5).tilt(p)  # a channel that says nothing
        torch.testing.assert_close(log_z, torch.full((4,), 3 * math.log(0.5), dtype=torch.float64))
        torch.testing.assert_close(law.log_prob(x), p.log_prob(x))
    else:
        nothing.append(KnownEntries(torch.zeros(3, dtype=torch.bool), torch.zeros(3)))
    for observation in nothing:
        law, log_z = observation.tilt(p)
        torch.testing.assert_close(log_z, torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
        torch.testing.assert_close(law.log_prob(x), p.log_prob(x))


def test_power_spreads_the_whole_evidence_over_the_steps() -> None:
    # r_T = 1 and r_0 = r, with r_t = r^((T - t) / T) between
    p, observation = gaussian(2, 3), GaussianMeasurement(normal(3, seed=2), 0.5).on((3,))
    assert observation.tilt(p, 10, 10)[0] is p
    x = normal(2, 3, seed=4)
    for t in (0, 3, 9):
        law, log_z = observation.tilt(p, t, 10)
        torch.testing.assert_close(log_z + law.log_prob(x), p.log_prob(x) + (10 - t) / 10 * observation.log_r(x))


# -------------------------------------------------------------------------------------------- the paper's perturbation


@settings(max_examples=30)
@given(family=st.sampled_from(sorted(FAMILIES)), seed=seeds)
def test_the_gap_makes_good_what_the_stand_in_misses(family: str, seed: int) -> None:
    p, x = FAMILIES[family](3, 2, seed % 1000), normal(3, 2, seed=seed % 1000 + 5)
    if "bits" in family:
        x = (x > 0).double()
    for differentiable in (True, False):
        observation = LogFactor(lambda x: torch.cos(x[:, 0]) - x[:, 1] ** 2 * x[:, 0].tanh(), differentiable)
        for improved in (False, True):
            tilt = observation.on((2,)).product(p, 0.7, improved)
            assert (tilt.difference is None) == (improved and "bits" in family)  # few states are enumerated
            left = tilt.distribution.log_prob(x) + tilt.log_weight(x)
            torch.testing.assert_close(left, p.log_prob(x) + 0.7 * observation.log_r(x), rtol=1e-6, atol=1e-6)


def test_a_normal_law_moves_by_its_covariance_times_the_gradient() -> None:
    # eq. 61, with the gradient by hand
    p, observation = full(2, 3), LogFactor(lambda x: -(x**4).sum(1))
    law, _ = observation.tilt(p)
    expected = p.mean + (p.cov @ (-4.0 * p.mean**3).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(law.mean, expected)  # type: ignore[attr-defined]
    torch.testing.assert_close(law.cov, p.cov)  # type: ignore[attr-defined]


def test_bits_follow_the_rule_of_appendix_c() -> None:
    # c d / (c d + (1 - c)(1 - d)), with log r linear in the bits
    p, d = bits(2, 4), torch.tensor([0.1, 0.5, 0.9, 0.3], dtype=torch.float64)
    law, _ = LogFactor(lambda x: (x * d.log() + (1 - x) * torch.log1p(-d)).sum(1)).tilt(p)
    c = p.probs
    torch.testing.assert_close(law.probs, c * d / (c * d + (1 - c) * (1 - d)))  # type: ignore[attr-defined]


def test_looking_ahead_is_exact_for_a_normal_r_given_as_a_function() -> None:
    # the improved step ends at the posterior mean; the guess of log E r lacks the determinant alone
    v, s, y = 0.8, 0.3, normal(3, seed=3)
    p = Gaussian(normal(4, 3), torch.full((4, 3), v, dtype=torch.float64))
    closed = GaussianMeasurement(y, s).on((3,))
    free = LogFactor(closed.log_r).on((3,)).product(p, improved=True)
    exact = closed.product(p)
    torch.testing.assert_close(free.distribution.mean, exact.distribution.mean)
    missing = 1.5 * math.log(1 + v / s**2)
    torch.testing.assert_close(free.log_lookahead - missing, exact.log_lookahead)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_exponential_tilts_are_the_derivatives_of_the_log_normaliser(family: str) -> None:
    # d log Z / dg = E x - a, d^2 log Z / dg^2 = Cov: holds mean and covariance to each other by autograd
    p, at, g = FAMILIES[family](1, 3, 11), normal(1, 3, seed=2), torch.zeros(1, 3, dtype=torch.float64)
    v = normal(1, 3, seed=4)

    g.requires_grad_()
    (slope,) = torch.autograd.grad(p.tilt(g, at)[1].sum(), g, create_graph=True)
    torch.testing.assert_close(slope, p.mean - at)
    (bend,) = torch.autograd.grad((slope * v).sum(), g)
    torch.testing.assert_close(bend, p.covariance_times(v))


# ------------------------------------------------------------------------------------------------- laws of the data


def _kernels() -> dict[str, tuple[ForwardProcess, ReverseKernel]]:
    q, b = GaussianDiffusion(geometric(6, 5.0, -4.0)), BernoulliDiffusion(constant_erasure(5), 0.3)
    centres = normal(3, 2, seed=1)
    made: dict[str, tuple[ForwardProcess, ReverseKernel]] = {
        f"exact {family}": (q, ExactGaussianMixtureKernel(q, centres, 0.2, family=family))
        for family in ("mixture", "full", "diagonal")
    }
    for covariance in ("diagonal", "full"):
        for m in (1, 2):
            torch.manual_seed(0)
            net = roughen(ResidualMLP(2, GaussianDenoiser.n_outputs(2, covariance, m), width=8, depth=1))
            made[f"{covariance} {m}"] = (q, GaussianDenoiser(q, net, 2, covariance, m))
    for m in (1, 2):
        torch.manual_seed(0)
        net = roughen(ResidualMLP(2, BernoulliDenoiser.n_outputs(2, m), width=8, depth=1))
        made[f"bits {m}"] = (b, BernoulliDenoiser(b, net, torch.tensor([0.2, 0.6]), m))
    for factorised in (False, True):
        made[f"patterns {factorised}"] = (b, ExactBernoulliKernel(b, all_bits(2), random_weights(4), factorised))
    return made


@pytest.mark.parametrize("name", sorted(_kernels()))
def test_a_kernel_is_the_image_of_its_law_of_the_data(name: str) -> None:
    process, kernel = _kernels()[name]
    x_t, x = normal(5, 2, seed=1), normal(5, 2, seed=2)
    if isinstance(process, BernoulliDiffusion):
        x_t, x = (x_t > 0).double(), (x > 0).double()
    with torch.no_grad():
        for t in range(1, process.n_steps + 1):
            law, own = data_distribution(process, kernel, x_t, t)
            assert own is None
            image = process.posterior_over(law, x_t, t)
            torch.testing.assert_close(image.log_prob(x), kernel(x_t, t).log_prob(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["exact diagonal", "exact full", "exact mixture", "patterns True"])
def test_the_law_of_the_data_is_read_out_of_a_kernel_that_does_not_tell_it(name: str) -> None:
    process, kernel = _kernels()[name]

    class Silent(ReverseKernel):
        def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
            return kernel(x_t, t)

    x_t = normal(5, 2, seed=1)
    if isinstance(process, BernoulliDiffusion):
        x_t = (x_t > 0).double()
    for t in range(2, process.n_steps + 1):
        (told, _), (read, step) = (
            data_distribution(process, kernel, x_t, t),
            data_distribution(process, Silent(process), x_t, t),
        )
        assert step is not None
        torch.testing.assert_close(read.mean, told.mean, rtol=1e-7, atol=1e-7)
        g = normal(5, 2, seed=3)
        torch.testing.assert_close(read.covariance_times(g), told.covariance_times(g), rtol=1e-6, atol=1e-6)


def test_a_variance_below_that_of_the_forward_posterior_leaves_a_positive_one() -> None:
    q = GaussianDiffusion(geometric(6))
    torch.manual_seed(0)
    kernel = PaperKernel(q, roughen(ResidualMLP(2, 4, width=8, depth=1), scale=1.0))
    for wrapped in (kernel, FixedFirstStep(kernel, q)):
        with torch.no_grad():
            for t in range(1, 7):
                law, _ = data_distribution(q, wrapped, normal(50, 2), t)
                assert (law.var > 0).all()  # type: ignore[attr-defined]
                assert law.mean.isfinite().all()  # type: ignore[attr-defined]


def test_the_tilted_kernel_is_the_true_posterior_kernel() -> None:
    # normal data, measured: the posterior is a normal prior of its own, with its own exact reversal
    q = GaussianDiffusion(geometric(6, 6.0, -5.0))
    y, s, var = torch.tensor([0.7, -0.4], dtype=torch.float64), 0.5, 0.6
    cov, gain = var * s**2 / (var + s**2), var / (var + s**2)
    centre = normal(2, seed=8)
    posterior = ExactGaussianData(q, centre + gain * (y - centre), cov * torch.eye(2))
    kernel = TwistedKernel(ExactGaussianMixtureKernel(q, centre[None], var, family="diagonal"), q, GaussianMeasurement(y, s))
    x_t, x = normal(5, 2, seed=1), normal(5, 2, seed=2)
    for t in range(1, 7):
        truth = posterior(x_t, t).log_prob(x)
        torch.testing.assert_close(kernel(x_t, t).log_prob(x), truth)
        torch.testing.assert_close(kernel(x_t, torch.full((5,), t)).log_prob(x), truth)


def test_a_batch_of_observations_is_each_on_its_own() -> None:
    q, b = GaussianDiffusion(geometric(4)), normal(3, 2, seed=4)
    prior, x = ExactGaussianMixtureKernel(q, normal(3, 2), 0.3, family="full"), normal(6, 2, seed=5)
    together = TwistedKernel(prior, q, GaussianMeasurement(b, 0.4))(x, 3)
    for i in range(3):
        alone = TwistedKernel(prior, q, GaussianMeasurement(b[i], 0.4))(x[2 * i : 2 * i + 2], 3)
        torch.testing.assert_close(alone.mean, together.mean[2 * i : 2 * i + 2])


# ---------------------------------------------------------------------------------------------------- units of a model


@pytest.mark.parametrize(
    "transform", [Affine(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([2.0, 0.3, 1.0])), Whiten.fit(normal(50, 3))]
)
@pytest.mark.parametrize("kind", ["x", "mask", "matrix"])
def test_a_measurement_in_data_units_is_the_same_function_of_x(transform: Transform, kind: str) -> None:
    operator = {"x": None, "mask": torch.tensor([True, False, True]), "matrix": normal(2, 3, seed=3)}[kind]
    y = normal(4, 2 if kind == "matrix" else 3, seed=2)
    seen = GaussianMeasurement(y, 0.3, operator)
    x = normal(4, 3, seed=1)
    z, _ = transform(x)
    about_z = seen.on((3,)).through(transform)
    log_factor = 0.0 if about_z.log_jacobian is None else about_z.log_jacobian
    torch.testing.assert_close(about_z.log_r(z) + log_factor, seen.on((3,)).log_r(x))


def test_known_entries_in_data_units_are_a_density_of_the_data() -> None:
    # log p_x(x) = log p_z(z) + log |dz/dx|: all entries known leaves the log-determinant as the factor
    x = torch.tensor([[3.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    transform = Chain(
        Dequantise(4), HistogramGaussianizer.fit(torch.randint(0, 4, (60, 2), generator=Generator().manual_seed(0)), 4)
    )
    z, log_det = transform(x, Generator().manual_seed(1))
    known = KnownEntries(torch.ones(2, dtype=torch.bool), x)
    about_z = known.on((2,)).through(transform, Generator().manual_seed(1))
    assert isinstance(about_z, KnownEntries)
    torch.testing.assert_close(about_z.values, z)
    assert about_z.log_jacobian is None
    torch.testing.assert_close(about_z.log_slope, log_det)


def test_a_function_of_data_units_is_asked_in_data_units() -> None:
    transform = Affine(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
    x = normal(4, 2)
    about_z = LogFactor(lambda x: x[:, 0] ** 3).on((2,)).through(transform)
    torch.testing.assert_close(about_z.log_r(transform(x)[0]), x[:, 0] ** 3)


# ------------------------------------------------------------------------------------------------------- bad input

NAN = float("nan")
YES = torch.tensor([True, False])


def _kernel(observation: Observation) -> None:
    q = GaussianDiffusion(geometric(3))
    TwistedKernel(ExactGaussianMixtureKernel(q, torch.zeros(1, 2), 1.0), q, observation)(
        torch.zeros(1, 2, dtype=torch.float64), 2
    )


class Odd(Transform):
    """A transform that nobody knows."""


def _bits(observation: Observation) -> None:
    observation.tilt(Bernoulli(torch.full((1, 2), 0.5)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda: KnownEntries(YES, torch.zeros(3)),
            r"mask and values have shapes \(2,\) and \(3,\), but must have the same",
        ),
        (lambda: KnownEntries(YES, torch.tensor([0.0, NAN])), r"values of known entries holds nan at index \[1\]"),
        (lambda: KnownEntries(torch.tensor([0.5, 1.0]), torch.zeros(2)), "must be made of true and false"),
        (lambda: _kernel(KnownEntries(torch.ones(3, dtype=torch.bool), torch.zeros(3))), r"has shape \(3,\), but must have"),
        (
            lambda: _bits(KnownEntries(YES, torch.tensor([0.5, 0.0]))),
            "a known entry is 0.5, but must be one of the 2 values",
        ),
        (lambda: _kernel(KnownEntries(YES, torch.zeros(2)) & KnownEntries(YES, torch.zeros(2))), "known twice"),
        (lambda: GaussianMeasurement(torch.zeros(2), 0.0), "must be positive, got 0.0"),
        (lambda: GaussianMeasurement(torch.tensor([NAN]), 1.0), r"y holds nan at index \[0\]"),
        (lambda: GaussianMeasurement(torch.zeros(2), 1.0, lambda x: x), "a callable operator needs its adjoint"),
        (lambda: _kernel(GaussianMeasurement(torch.zeros(2), 1.0, lambda x: x, lambda y: 2 * y)), "its adjoint is not"),
        (lambda: _kernel(GaussianMeasurement(torch.zeros(2), 1.0, torch.ones(2, 3))), "a matrix with 2 columns"),
        (lambda: _kernel(GaussianMeasurement(torch.zeros(2), 1.0, torch.ones(3, dtype=torch.bool))), "the mask has shape"),
        (lambda: _kernel(GaussianMeasurement(torch.zeros(2), torch.ones(3))), "std has shape"),
        (lambda: BitFlipChannel(torch.tensor([0.0, 2.0]), 0.1), r"y holds 2.0 at index \[1\], but bits must be 0 or 1"),
        (lambda: BitFlipChannel(torch.zeros(2), 0.0), "strictly between 0 and 1, got 0.0"),
        (lambda: _kernel(BitFlipChannel(torch.zeros(2), 0.1)), "need bits or classes"),
        (lambda: _kernel(LogFactor(lambda x: x[:, 0] * NAN)), "log_r returned nan, but must be finite"),
        (lambda: _kernel(LogFactor(lambda x: x)), r"one number for each row, shape \(1,\), got \(1, 2\)"),
        (lambda: _kernel(LogFactor(lambda x: torch.zeros(len(x)))), "log_r has no gradient"),
        (lambda: LogFactor(3.0), "must be a function"),  # type: ignore[arg-type]
        (lambda: _kernel(GaussianMeasurement(torch.zeros(2, 2), 1.0) & GaussianMeasurement(torch.zeros(3, 2), 1.0)), "hold"),
        (lambda: TwistedKernel(None, None, None, "late"), "twist must be"),  # type: ignore[arg-type]
        (
            lambda: KnownEntries(YES, torch.zeros(2)).on((2,)).through(Odd()),
            "cannot pass the transform Odd",
        ),
        (
            lambda: BitFlipChannel(torch.zeros(2), 0.1).on((2,)).through(Affine(torch.zeros(2), torch.ones(2))),
            "a BitFlipChannel cannot pass the transform of this model",
        ),
    ],
)
def test_bad_evidence_is_refused_in_one_sentence(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_heartbeats_hold_what_is_known() -> None:
    atoms = torch.as_tensor(heartbeat_atoms()).double()
    known = KnownEntries(torch.arange(20) == 7, atoms[2])
    law, log_z = known.tilt(Mixture(torch.full((1, 5), -math.log(5.0), dtype=torch.float64), Bernoulli(atoms)))
    assert log_z.item() == pytest.approx(-math.log(5.0))
    assert law.log_prob(atoms[2:3]).item() == pytest.approx(0.0)
