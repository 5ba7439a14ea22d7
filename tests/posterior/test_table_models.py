"""Observations of a table's model, through its transforms, against imputation and exact posteriors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from quasistatic import DiffusionDensity
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import BitFlipChannel, GaussianMeasurement, KnownColumns, KnownEntries, LogFactor
from quasistatic.posterior.smc import posterior_sample
from quasistatic.reverse import MixedDenoiser
from quasistatic.schedules import geometric
from quasistatic.transforms import Affine, Chain, Complete, Dequantise, HistogramGaussianizer, OnColumns, Whiten, YeoJohnson

MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.8, 0.0], [-0.4, 0.3, 0.6]], dtype=torch.float64)
COV = ROOT @ ROOT.T
NUMERIC, RATE = [0, 2, 3], 0.3


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


def table(kind: str = "plain") -> DiffusionModel:
    """Three correlated numbers and, in column 1, a bit: the untrained model is exact."""
    scale = torch.tensor([2.0, 0.5, 1.5], dtype=torch.float64)
    layer = OnColumns([Affine(torch.zeros(3), scale)], [NUMERIC])
    if kind == "power":
        layer = OnColumns([Chain(Affine(torch.zeros(3), scale), YeoJohnson(torch.tensor([0.6, 1.3, 1.0])))], [NUMERIC])
    cov = COV / (scale * scale[:, None])
    whiten = OnColumns([Whiten.by(MEAN / scale, cov)], [NUMERIC])
    complete = Complete(MEAN / scale, cov, NUMERIC, [torch.tensor([1 - RATE, RATE])], [1])
    beta = geometric(12, 8.0, -14.0)
    q = MixedDiffusion([GaussianDiffusion(beta), BernoulliDiffusion(beta, torch.tensor([RATE]))], [NUMERIC, [1]])
    network = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=4, depth=1)
    return DiffusionModel(Chain(layer, complete, whiten), q, MixedDenoiser(q, network), (4,))


def bits_aside(x: Tensor) -> Tensor:
    return x[..., NUMERIC]


@pytest.mark.parametrize("twist", ["lookahead"])
def test_known_entries_of_a_table_have_the_linear_gaussian_posterior(twist: str) -> None:
    mask = torch.tensor([[True, False, False, True], [False, True, True, False]])
    values = torch.tensor([[1.5, 0.0, 0.0, 0.2], [0.0, 1.0, -1.0, 0.0]], dtype=torch.float64)
    p = table().posterior(KnownEntries(mask, values), 6000, twist=twist, generator=seed(0))
    for b in range(2):
        known, rest = mask[b, NUMERIC], ~mask[b, NUMERIC]
        y = values[b, NUMERIC][known]
        truth = MultivariateNormal(MEAN[known], COV[known][:, known]).log_prob(y).item()
        truth += math.log(RATE) if mask[b, 1] else 0.0
        assert p.log_evidence[b].item() == pytest.approx(truth, abs=2e-3)
        gain = COV[rest][:, known] @ torch.linalg.inv(COV[known][:, known])
        mean, cov = MEAN[rest] + gain @ (y - MEAN[known]), COV[rest][:, rest] - gain @ COV[known][:, rest]
        x = bits_aside(p.x[b])[:, rest]
        assert ((x.mean(0) - mean).abs() < 4.5 * cov.diagonal().sqrt() / 6000**0.5).all()
        assert ((x.var(0) / cov.diagonal() - 1.0).abs() < 4.5 * (2.0 / 6000) ** 0.5).all()
        assert torch.equal(p.x[b][:, mask[b]], values[b, mask[b]].expand(6000, -1))


@pytest.mark.parametrize("kind", ["some", "all", "matrix"])
def test_a_measurement_of_a_table_has_the_linear_gaussian_posterior(kind: str) -> None:
    rows = {
        "some": torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]),
        "all": torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]),
        "matrix": torch.tensor([[1.0, 0, -0.5, 2.0]]),
    }[kind].double()
    y, std = torch.tensor([2.0, -1.0, 0.0, 0.1], dtype=torch.float64), 0.6
    if kind == "matrix":
        y = torch.tensor([0.7], dtype=torch.float64)
        seen = GaussianMeasurement(y, std, rows)
    else:
        used = rows.any(0)
        seen = GaussianMeasurement(torch.where(used, y, 0.0), std, used)
        y = y[used]
    a = rows[:, NUMERIC]
    total = a @ COV @ a.T + std**2 * torch.eye(len(rows), dtype=torch.float64)
    gain = COV @ a.T @ torch.linalg.inv(total)
    mean, cov = MEAN + gain @ (y - a @ MEAN), COV - gain @ a @ COV
    p = table().posterior(seen, 6000, generator=seed(1))
    assert p.log_evidence.item() == pytest.approx(MultivariateNormal(a @ MEAN, total).log_prob(y).item(), abs=2e-3)
    assert p.ess.item() > 5990
    x = bits_aside(p.x)
    assert ((x.mean(0) - mean).abs() < 4.5 * cov.diagonal().sqrt() / 6000**0.5).all()
    assert ((x.T.cov() - cov).abs() < 0.05 * COV.diagonal().max()).all()
    assert abs(p.x[:, 1].mean().item() - RATE) < 4.5 * (RATE * (1 - RATE) / 6000) ** 0.5


def test_a_measured_number_and_bit_of_a_table_are_weighted_as_they_are() -> None:
    # number 0 and the bit in one measurement, the bit's flips and a function: by draws of the model itself
    model = table("power")
    x = model.sample(200_000, generator=seed(2))
    both = GaussianMeasurement(torch.tensor([1.0]), 0.8, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    for observation in (
        GaussianMeasurement(torch.tensor([1.2, 0.8, 0.0, 0.4]), 0.7, torch.tensor([True, True, False, True])),
        both,
        LogFactor(lambda x: -0.2 * (x[:, 0] - 0.5 * x[:, 2] - x[:, 1]) ** 2),
        both & LogFactor(lambda x: -0.1 * x[:, 3] ** 2),
    ):
        r = observation.on((4,)).log_r(x).exp()
        p = model.posterior(observation, 5000, n_runs=4, generator=seed(3))
        error = math.hypot((r.std() / r.mean() / len(r) ** 0.5).item(), p.log_evidence_error.item() * 1.5)
        assert error < 0.05
        assert abs(p.log_evidence.item() - r.mean().log().item()) < 5.0 * error
        mean = (r.unsqueeze(1) * x).sum(0) / r.sum()
        n = 1.0 / (1.0 / p.n_ancestors + (r / r.sum()).square().sum())
        assert ((p.mean - mean).abs() < 5.0 * p.std / n.sqrt()).all()


def test_known_entries_carry_the_slopes_of_a_power() -> None:
    # all entries known: the log evidence is the log density of the row
    model, x = table("power"), torch.tensor([[1.0, 1.0, -2.5, 0.3], [0.2, 0.0, -1.0, 1.0]], dtype=torch.float64)
    p = model.posterior(KnownEntries(torch.ones(4, dtype=torch.bool), x), 50, generator=seed(0))
    truth = model.log_prob(x, 2000, generator=seed(1))
    torch.testing.assert_close(p.log_evidence, truth, atol=1e-2, rtol=0)


def test_known_integers_of_a_table_have_the_mass_of_integers() -> None:
    mass = torch.tensor([[0.1, 0.2, 0.4, 0.3], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    layer = OnColumns([Chain(Dequantise(4), HistogramGaussianizer(mass))], [[0, 2]])
    beta = geometric(12, 8.0, -14.0)
    q = MixedDiffusion([GaussianDiffusion(beta), BernoulliDiffusion(beta, torch.tensor([RATE]))], [[0, 2], [1]])
    network = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=4, depth=1)
    complete = Complete(torch.zeros(2), torch.eye(2), [0, 2], [torch.tensor([1 - RATE, RATE])], [1])
    model = DiffusionModel(Chain(layer, complete), q, MixedDenoiser(q, network), (3,))
    known = KnownEntries(torch.tensor([True, True, False]), torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    p = model.posterior(known, 4000, generator=seed(0))
    for b, truth in enumerate((0.4 * (1 - RATE), 0.1 * RATE)):
        assert abs(p.log_evidence[b].item() - math.log(truth)) < 4 * p.log_evidence_error[b].item() + 2e-3
    assert torch.equal(p.x[0, :, :2], torch.tensor([2.0, 0.0]).double().expand(4000, 2))
    share = torch.stack([(p.x[0, :, 2] == k).double().mean() for k in range(4)])
    assert ((share - 0.25).abs() < 4.5 * (0.25 * 0.75 / 4000) ** 0.5).all()


def test_flipped_bits_of_a_table_of_bits_are_taken_as_they_are() -> None:
    beta = geometric(10, 8.0, -14.0)
    rates = torch.tensor([0.2, 0.6])
    q = MixedDiffusion([BernoulliDiffusion(beta, rates)], [[0, 1]])
    network = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=4, depth=1)
    classes = [torch.stack([1 - rate, rate]) for rate in rates]
    complete = Complete(torch.zeros(0), torch.zeros(0, 0), [], classes, [0, 1])
    model = DiffusionModel(Chain(OnColumns([], []), complete), q, MixedDenoiser(q, network), (2,))
    p = model.posterior(BitFlipChannel(torch.tensor([1.0, 0.0]), 0.1), 4000, generator=seed(0))
    one, zero = 0.2 * 0.9 + 0.8 * 0.1, 0.6 * 0.1 + 0.4 * 0.9
    assert p.log_evidence.item() == pytest.approx(math.log(one * zero), abs=2e-3)
    assert abs(p.mean[0].item() - 0.2 * 0.9 / one) < 4.5 * p.std[0].item() / 4000**0.5


@pytest.fixture(scope="module")
def density() -> DiffusionDensity:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) @ ROOT.numpy().T + MEAN.numpy()
    return DiffusionDensity(
        max_updates=300, width=8, depth=1, n_components=2, n_steps=30, random_state=0, n_members=1, average=False
    ).fit(x)


def test_a_fitted_table_takes_known_entries_as_imputation_does(density: DiffusionDensity) -> None:
    model = density.members_[0]
    rows = torch.tensor([[1.4, np.nan, 0.1], [np.nan, -1.5, np.nan]], dtype=torch.float64)
    p = model.posterior(KnownEntries.where_finite(rows), 4000, generator=seed(0))
    layer, _, whiten = model.transform.parts  # type: ignore[misc,union-attr]
    y, log_det = layer(rows)
    seen = KnownColumns(~y.isnan(), y.nan_to_num(), whiten.parts[0].back, whiten.parts[0].mean)  # type: ignore[arg-type,union-attr,index]
    other = posterior_sample(model.process, model.kernel, seen, 4000, shape=(3,), generator=seed(0))
    torch.testing.assert_close(p.log_evidence, other.log_evidence + log_det, rtol=0, atol=1e-9)
    drawn = model.transform.inverse(other.x.reshape(-1, 3)).view(other.x.shape)
    hidden = rows.isnan()
    for b in range(2):
        torch.testing.assert_close(p.x[b][:, hidden[b]], drawn[b][:, hidden[b]])
        assert torch.equal(p.x[b][:, ~hidden[b]], rows[b, ~hidden[b]].expand(4000, -1))
    filled = density.impute(rows.numpy(), n_draws=500, n_particles=4000, n_steps=None, random_state=1)
    torch.testing.assert_close(p.log_evidence, torch.as_tensor(filled.log_evidence), rtol=0, atol=0.1)
    error = 5.0 * p.std / p.n_ancestors.sqrt().unsqueeze(1) * (1.0 + 1.0)
    assert ((p.mean - torch.as_tensor(filled.mean)).abs() <= error + 1e-9).all()


def test_a_fitted_table_takes_a_measurement(density: DiffusionDensity) -> None:
    model = density.members_[0]
    x = model.sample(20_000, generator=seed(1))
    seen = GaussianMeasurement(torch.tensor([1.5, -1.0, 0.0]), 0.8, torch.tensor([True, True, False]))
    r = seen.on((3,)).log_r(x).exp()
    p = model.posterior(seen, 1000, n_runs=4, generator=seed(2))
    error = math.hypot((r.std() / r.mean() / len(r) ** 0.5).item(), 1.5 * p.log_evidence_error.item())
    assert abs(p.log_evidence.item() - r.mean().log().item()) < 5.0 * error < 0.2
    mean = (r.unsqueeze(1) * x).sum(0) / r.sum()
    n = 1.0 / (1.0 / p.n_ancestors + (r / r.sum()).square().sum())
    assert ((p.mean - mean).abs() < 5.0 * p.std / n.sqrt()).all()
