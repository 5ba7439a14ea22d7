"""Evidence in data units, carried through every transform, against closed forms, quadrature and plain draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal

from chance import check_mean
from oracles import ExactGaussianData
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.model import DiffusionModel
from quasistatic.posterior.observations import Blur, GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.schedules import geometric
from quasistatic.transforms import Affine, Chain, Dequantise, HistogramGaussianizer, Levels, Transform, Whiten

Q = GaussianDiffusion(geometric(12, 8.0, -14.0))


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def white_model(transform: Transform, d: int) -> DiffusionModel:
    """A standard normal in model units, with its exact reversal."""
    return DiffusionModel(transform, Q, ExactGaussianMixtureKernel(Q, torch.zeros(1, d), 1.0, family="diagonal"), (d,))


@pytest.mark.parametrize("masks", ["one", "each its own"])
def test_known_entries_pass_a_model_that_mixes_them(masks: str) -> None:
    # x = shift + B z with B of the whitening: conditional and marginal of a normal law, from torch and by hand
    rows = normal(400, 3) @ torch.tensor([[1.0, 0.8, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 2.0]], dtype=torch.float64) + 3.0
    whiten = Whiten.fit(rows)
    transform = Chain(
        Affine(torch.zeros(3), torch.tensor([1.0, 2.0, 0.5])), Whiten.fit(rows / torch.tensor([1.0, 2.0, 0.5]))
    )
    model = white_model(transform, 3)
    cov = torch.linalg.inv(whiten.matrix) @ torch.linalg.inv(whiten.matrix).T
    law = MultivariateNormal(whiten.mean, cov)
    values = torch.tensor([[3.5, 2.0, 4.0], [2.0, 1.0, 3.0]], dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [True, False, True]])
    if masks != "one":
        mask[1] = torch.tensor([False, False, True])
    p = model.posterior(KnownEntries(mask, values), 4000, generator=seed(0))
    for b in range(2):
        m = mask[b]
        marginal = MultivariateNormal(law.mean[m], cov[m][:, m])
        assert p.log_evidence[b].item() == pytest.approx(marginal.log_prob(values[b, m]).item(), abs=2e-3)
        gain = cov[~m][:, m] @ torch.linalg.inv(cov[m][:, m])
        check_mean(p.x[b][:, ~m], law.mean[~m] + gain @ (values[b, m] - law.mean[m]))
        rest = (cov[~m][:, ~m] - gain @ cov[m][:, ~m]).diagonal()
        assert ((p.std[b, ~m] - rest.sqrt()).abs() < 5 * rest.sqrt() / 8000**0.5).all()
        assert torch.equal(p.x[b][:, m], values[b, m].expand(4000, -1))


def test_known_integers_of_a_dequantised_model_have_the_mass_and_the_posterior_of_integers() -> None:
    # two correlated normals seen as integers: P(x_0 = k) and E x_1 given it, by a fine grid
    cov = torch.tensor([[1.0, 0.7], [0.7, 1.0]], dtype=torch.float64)
    q = GaussianDiffusion(geometric(20, 9.0, -12.0))
    scale = 1.5
    transform = Chain(Dequantise(8), Affine(torch.full((2,), 4.0), torch.full((2,), scale)))
    model = DiffusionModel(transform, q, ExactGaussianData(q, torch.zeros(2), cov), (2,))
    for k in (2.0, 5.0):
        known = KnownEntries(torch.tensor([True, False]), torch.tensor([k, 0.0]))
        p = model.posterior(known, 6000, generator=seed(1))
        edges = torch.tensor([(k - 4.0) / scale, (k - 3.0) / scale], dtype=torch.float64)
        mass = Normal(0.0, 1.0).cdf(edges).diff().item()
        assert abs(p.log_evidence.item() - math.log(mass)) < 4 * p.log_evidence_error.item() + 1e-4
        z = torch.linspace(edges[0].item(), edges[1].item(), 2001, dtype=torch.float64)
        weight = torch.softmax(-0.5 * z.square(), 0)
        levels = torch.arange(8, dtype=torch.float64)
        low, high = ((levels + off - 4.0) / scale for off in (0.0, 1.0))
        low[0], high[-1] = -math.inf, math.inf
        sd = (1 - 0.7**2) ** 0.5
        each = Normal(0.0, 1.0).cdf((high - 0.7 * z[:, None]) / sd) - Normal(0.0, 1.0).cdf((low - 0.7 * z[:, None]) / sd)
        truth = (weight @ each).double()
        seen = (p.x[:, 1:] == levels).double().T @ p.weights
        error = (truth * (1 - truth) / p.n_ancestors).sqrt()
        assert ((seen - truth).abs() < 4.5 * error + 1e-4).all()
        assert (p.x[:, 0] == k).all()


def test_a_known_integer_and_a_measurement_go_together() -> None:
    # parts of a product: one comes in versions for the particles, the other does not
    transform = Chain(Dequantise(8), Affine(torch.full((2,), 4.0), torch.full((2,), 1.5)))
    model = white_model(transform, 2)
    known = KnownEntries(torch.tensor([True, False]), torch.tensor([[3.0, 0.0], [5.0, 0.0]]))
    seen = GaussianMeasurement(torch.tensor([[0.0, 2.0], [0.0, 6.0]]), 0.8, torch.tensor([False, True]))
    p = model.posterior(known & seen, 2000, generator=seed(2), chunk=2000)
    # the entries are independent: P(3) N(2 + 1/2; 4, 1.5^2 + 0.8^2) and so on
    for b, (k, y) in enumerate([(3.0, 2.0), (5.0, 6.0)]):
        edges = torch.tensor([(k - 4.0) / 1.5, (k - 3.0) / 1.5], dtype=torch.float64)
        truth = Normal(0.0, 1.0).cdf(edges).diff().log().item()
        truth += Normal(3.5, (1.5**2 + 0.8**2) ** 0.5).log_prob(torch.tensor(y, dtype=torch.float64)).item()
        assert abs(p.log_evidence[b].item() - truth) < 4 * p.log_evidence_error[b].item() + 2e-3


@pytest.mark.parametrize("kind", ["measured", "function"])
def test_evidence_passes_a_histogram_as_a_function_with_a_gradient(kind: str) -> None:
    x = torch.randint(0, 6, (300, 2), generator=seed(0))
    transform = Chain(Dequantise(6), HistogramGaussianizer.fit(x, 6))
    model = white_model(transform, 2)
    y = torch.tensor([[2.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    measured = GaussianMeasurement(y, 2.0)
    observation: Observation = measured
    if kind == "function":
        one = GaussianMeasurement(y[0], 2.0).on((2,))
        observation = LogFactor(one.log_r)
    p = model.posterior(observation, 5000, generator=seed(1))
    plain = model.sample(200_000, generator=seed(2))
    for b in range(2 if kind == "measured" else 1):
        r = GaussianMeasurement(y[b], 2.0).on((2,)).log_r(plain).exp()
        error = (r.std() / r.mean() / len(r) ** 0.5).item()
        at = p.observation(b) if kind == "measured" else p
        off = math.hypot(error, at.log_evidence_error.item())
        assert abs(at.log_evidence.item() - r.mean().log().item()) < 4 * off
        truth = (r.unsqueeze(1) * plain).sum(0) / r.sum()
        assert ((at.mean - truth).abs() < 5 * at.std / at.n_ancestors**0.5 + 0.02).all()


def test_a_measurement_of_levels_is_the_same_function_of_them() -> None:
    x = torch.randint(0, 16, (4, 1, 4, 4), generator=seed(0)).double()
    z, _ = Levels(16)(x)
    for seen in (
        GaussianMeasurement(3 * normal(1, 4, 4), 2.0),
        GaussianMeasurement(3 * normal(1, 4, 4), 2.0, torch.rand(1, 4, 4, generator=seed(1)) < 0.5),
        GaussianMeasurement(3 * normal(1, 4, 4), 2.0, Blur.gaussian(0.6)),
        GaussianMeasurement(3 * normal(5), 2.0, normal(5, 16)),
    ):
        about_z = seen.on((1, 4, 4)).through(Levels(16))
        factor = 0.0 if about_z.log_jacobian is None else about_z.log_jacobian
        torch.testing.assert_close(about_z.log_r(z) + factor, seen.on((1, 4, 4)).log_r(x))


def test_a_function_of_rounded_data_keeps_its_value_and_gets_a_gradient() -> None:
    x = torch.randint(0, 16, (3, 2), generator=seed(0)).double()
    about_z = LogFactor(lambda x: -((x - 3.0) ** 2).sum(1)).on((2,)).through(Levels(16))
    z = Levels(16)(x)[0].requires_grad_()
    value = about_z.log_r(z)
    torch.testing.assert_close(value, -((x - 3.0) ** 2).sum(1))
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(slope, -2 * (x - 3.0) * 7.5)
