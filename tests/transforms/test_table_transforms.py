"""Transforms of tables: powers of columns, blocks of columns, and holes that are completed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.preprocessing import PowerTransformer
from torch import Generator, Tensor

from chance import check_mean
from oracles import roughen
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import MixedDenoiser
from quasistatic.schedules import geometric
from quasistatic.storage.modules import build, describe
from quasistatic.transforms import Affine, Chain, Complete, Dequantise, HistogramGaussianizer, OnColumns, Whiten, YeoJohnson
from quasistatic.transforms.normal import Normal

NAN = math.nan
RATE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def numbers(n: int, d: int = 3, seed: int = 0) -> Tensor:
    x = torch.randn(n, d, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return (x @ (torch.eye(d, dtype=torch.float64) + 0.6 * torch.ones(d, d).tril(-1).double())) * 2.0 + 1.0


def pierced(x: Tensor, share: float = 0.3, seed: int = 1) -> Tensor:
    return x.masked_fill(torch.rand(x.shape, generator=Generator().manual_seed(seed)) < share, NAN)


# ------------------------------------------------------------------------------------------------- powers


def test_powers_agree_with_scikit_learn() -> None:
    x = numbers(200).exp().clamp_max(50.0) / 5.0 - 1.0
    peer = PowerTransformer("yeo-johnson", standardize=False).fit(x.numpy())
    ours = YeoJohnson.fit(x)
    np.testing.assert_allclose(ours.power.numpy(), peer.lambdas_, rtol=1e-6)
    np.testing.assert_allclose(ours(x)[0].numpy(), peer.transform(x.numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [-1.5, 0.0, 0.4, 1.0, 2.0, 3.0])
def test_slopes_of_powers_and_the_way_back(power: float) -> None:
    x = torch.linspace(-3.0, 3.0, 41, dtype=torch.float64)[:, None].requires_grad_()
    layer = YeoJohnson(torch.tensor([power]))
    z, log_slope = layer.each(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(layer.inverse(z.detach()), x.detach(), rtol=1e-9, atol=1e-9)
    assert torch.isfinite(layer.inverse(torch.tensor([[-1e6], [1e6]], dtype=torch.float64))).all()


def test_draws_stay_within_a_range_of_the_data() -> None:
    # a power below zero, whose image ends at 1 / |power|: a draw beyond would come from infinitely far
    x = (numbers(500)[:, :1] - 1.0).exp()
    layer = YeoJohnson.fit(x)
    assert layer.power.item() < 0.0
    spread = x.max() - x.min()
    back = layer.inverse(torch.tensor([[-1e9], [1e9]], dtype=torch.float64))
    assert back.flatten().tolist() == pytest.approx([(x.min() - spread).item(), (x.max() + spread / 4).item()], rel=1e-3)
    again = build(*describe(layer))
    assert torch.equal(again.high, layer.high)


def test_a_column_that_never_changes_or_is_missing_keeps_its_power() -> None:
    x = torch.stack([torch.ones(10), torch.full((10,), NAN), torch.arange(10.0).exp()], 1).double()
    assert YeoJohnson.fit(x).power[:2].tolist() == [1.0, 1.0]
    assert YeoJohnson.fit(x).power[2] < 0.5


# ------------------------------------------------------------------------------------------------- blocks of columns


def marginals() -> OnColumns:
    """Column 1 by its histogram, columns 0 and 2 by powers."""
    levels = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    powers = Chain(Affine(torch.ones(2), 2.0 * torch.ones(2)), YeoJohnson(torch.tensor([0.5, 1.5])))
    return OnColumns([powers, Chain(Dequantise(4), HistogramGaussianizer(levels))], [[2, 0], [1]])


def test_blocks_are_put_where_they_came_from() -> None:
    x = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    layer = marginals()
    z, log_det = layer(x, Generator().manual_seed(0))
    torch.testing.assert_close(layer.inverse(z)[:, [0, 2]], x[:, [0, 2]])
    assert torch.equal(layer.inverse(z)[:, 1].floor(), x[:, 1])
    powers = layer.parts[0](x[:, [2, 0]])  # type: ignore[operator]
    torch.testing.assert_close(z[:, [2, 0]], powers[0])
    noise = Generator().manual_seed(0)
    torch.testing.assert_close(log_det, powers[1] + layer.parts[1](x[:, [1]], noise)[1])  # type: ignore[operator]


def test_holes_pass_and_cost_nothing() -> None:
    layer = OnColumns([Affine(torch.zeros(3), torch.tensor([1.0, 2.0, 4.0]))], [[0, 1, 2]])
    x = pierced(numbers(20))
    z, log_det = layer(x)
    assert torch.equal(z.isnan(), x.isnan())
    by_hand = -torch.where(x.isnan(), 0.0, torch.tensor([1.0, 2.0, 4.0]).double().log()).sum(1)
    torch.testing.assert_close(log_det, by_hand)
    nothing = torch.full((2, 3), NAN, dtype=torch.float64)
    assert marginals()(nothing)[1].tolist() == [0.0, 0.0]


def test_as_many_transforms_as_blocks() -> None:
    with pytest.raises(InputError, match="a transform for each block"):
        OnColumns([Affine(torch.zeros(1), torch.ones(1))], [[0], [1]])


def test_whitening_a_known_law() -> None:
    law = Normal.fit(numbers(500))
    z, log_det = Whiten.by(law.mean, law.cov)(numbers(500))
    torch.testing.assert_close(z.T @ z / 500, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(log_det[0], -0.5 * torch.linalg.slogdet(law.cov)[1])
    with pytest.raises(InputError, match="positive definite"):
        Whiten.by(law.mean, torch.eye(3) - torch.full((3, 3), 0.8).fill_diagonal_(0.0))


@pytest.mark.parametrize("seed", range(3))
def test_whitening_is_free_of_units(seed: int) -> None:
    draw = Generator().manual_seed(seed)
    x = torch.randn(200, 4, generator=draw, dtype=torch.float64) @ torch.randn(4, 4, generator=draw, dtype=torch.float64)
    unit = 10.0 ** torch.tensor([-6.0, 0.0, 3.0, 6.0], dtype=torch.float64)[torch.randperm(4, generator=draw)]
    z, log_det = Whiten.fit(x)(x)
    scaled, scaled_log_det = Whiten.fit(x * unit)(x * unit)
    torch.testing.assert_close(scaled, z, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(scaled_log_det, log_det - unit.log().sum(), rtol=0, atol=1e-9)


def test_columns_that_are_sums_of_others_can_be_whitened() -> None:
    """Rounding makes their least eigenvalue a little negative, or zero."""
    x = numbers(500)
    x = torch.cat([x, x.sum(1, keepdim=True), 1e6 * (x[:, :1] - x[:, 1:2])], 1)
    layer = Whiten.fit(x)
    z, log_det = layer(x)
    assert torch.isfinite(z).all()
    assert torch.isfinite(log_det).all()
    torch.testing.assert_close(layer.inverse(z), x, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------- tables with holes


def table_model(law: Normal, n_steps: int, rough: float = 0.0) -> DiffusionModel:
    """Numbers in columns 0, 2, 3, a bit in column 1 and a class in column 4, untrained."""
    beta = geometric(n_steps, 5.0, -4.0)
    bits = BernoulliDiffusion(beta, torch.tensor([0.3], dtype=torch.float64))
    q = MixedDiffusion([GaussianDiffusion(beta), bits, CategoricalDiffusion(beta, 3, rho=RATE)], [[0, 2, 3], [1], [4]])
    network = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=8, depth=1)
    if rough:
        roughen(network, scale=rough)
    bit_rates = torch.tensor([0.7, 0.3])
    transform = Chain(
        Complete(law.mean, law.cov, [0, 2, 3], [bit_rates, RATE], [1, 4]),
        OnColumns([Whiten.by(law.mean, law.cov)], [[0, 2, 3]]),
    )
    return DiffusionModel(transform, q, MixedDenoiser(q, network.double()).double(), (5,))


def mixed_rows(n: int, seed: int = 0) -> Tensor:
    generator = Generator().manual_seed(seed)
    x = torch.empty(n, 5, dtype=torch.float64)
    x[:, [0, 2, 3]] = numbers(n, seed=seed)
    x[:, 1] = torch.randint(0, 2, (n,), generator=generator).double()
    x[:, 4] = torch.randint(0, 3, (n,), generator=generator).double()
    return x


@pytest.mark.parametrize("n_steps", [2, 7, 50])
def test_a_zero_network_scores_what_is_observed_by_the_gaussian_fit_s_marginal(n_steps: int) -> None:
    x = pierced(mixed_rows(60), 0.35)
    law = Normal.fit(mixed_rows(200)[:, [0, 2, 3]])
    model = table_model(law, n_steps)
    bit, chosen = torch.tensor([0.7, 0.3]).double(), x[:, 4]
    truth = law.log_prob(x[:, [0, 2, 3]])
    truth = truth + torch.where(x[:, 1].isnan(), 0.0, bit.log()[x[:, 1].nan_to_num().long()])
    truth = truth + torch.where(chosen.isnan(), 0.0, RATE.log()[chosen.nan_to_num().long()])
    bound = model.elbo(x, method="trajectory", generator=Generator().manual_seed(0))
    torch.testing.assert_close(bound.total, truth, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.log_prob(x, 3, generator=Generator().manual_seed(1)), truth, rtol=0, atol=1e-6)


def test_a_learned_network_s_bound_of_the_observed_part_is_below_its_marginal() -> None:
    # a class that is missing beside a known bit, summed over all its values
    beta = geometric(2, 2.0, -2.0)
    q = MixedDiffusion([BernoulliDiffusion(beta, 0.3), CategoricalDiffusion(beta, 3, rho=RATE)], [[0], [1]])
    network = roughen(ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q), width=8, depth=1), scale=0.5)
    kernel = MixedDenoiser(q, network.double()).double()
    model = DiffusionModel(Complete(torch.zeros(0), torch.zeros(0, 0), [], [RATE], [1]), q, kernel, (2,))
    row, n = torch.tensor([[1.0, NAN]], dtype=torch.float64), 30_000
    every = torch.tensor([[1.0, k] for k in (0.0, 1.0, 2.0)], dtype=torch.float64)
    with torch.no_grad():
        whole = elbo(q, kernel, every.repeat(n, 1), generator=Generator().manual_seed(0)).total.view(n, 3).mean(0)
    expected = (RATE * (whole - RATE.log())).sum()  # E_q [bound - log q]
    bound = model.elbo(row.repeat(n, 1), generator=Generator().manual_seed(1)).total
    check_mean(bound, expected, false_alarm=1e-4, resolves=0.05)
    assert expected < torch.logsumexp(whole, 0)


def test_without_holes_nothing_is_drawn() -> None:
    x, law = mixed_rows(9), Normal.fit(numbers(50))
    layer = Complete(law.mean, law.cov, [0, 2, 3], [torch.tensor([0.7, 0.3]), RATE], [1, 4])
    z, log_det = layer(x)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros(9, dtype=torch.float64))


def test_a_missing_class_is_drawn_by_its_rates() -> None:
    layer = Complete(torch.zeros(0), torch.zeros(0, 0), [], [RATE], [0])
    z, log_det = layer(torch.full((20_000, 1), NAN), Generator().manual_seed(0))
    check_mean((z == 1).double(), 0.3)
    torch.testing.assert_close(log_det, -RATE.log()[z[:, 0].long()])


def test_infinity_is_refused_and_a_hole_only_where_it_can_be_completed() -> None:
    model = table_model(Normal.fit(numbers(50)), 3)
    x = mixed_rows(3)
    x[1, 2] = math.inf
    with pytest.raises(InputError, match=r"inf at index \[1, 2\]"):
        model.elbo(x)
    x[1, 2] = NAN
    model.elbo(x)
    whole = DiffusionModel(Chain(), model.process, model.kernel, (5,))
    with pytest.raises(InputError, match=r"nan at index \[1, 2\]"):
        whole.elbo(x)


def test_a_model_of_tables_is_described_and_built_again() -> None:
    model = table_model(Normal.fit(numbers(50)), 4, rough=0.3)
    again = build(*describe(model)).double()
    again.load_state_dict(model.state_dict())
    x = pierced(mixed_rows(12))
    a, b = (m.elbo(x, generator=Generator().manual_seed(0)).total for m in (model, again))
    assert torch.equal(a, b)
