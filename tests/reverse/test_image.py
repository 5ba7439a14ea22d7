"""The denoiser of images: zero is its Gaussian base, levels are masses, and grids are what enumeration says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from chance import check_mean
from oracles import ExactGaussianData, roughen
from quasistatic.distributions import Gaussian
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.first_step import FirstStepDiscretised
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.networks.unet import UNet
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase, mean_on_grid
from quasistatic.schedules import geometric
from quasistatic.train.objective import Objective, draw_batch
from quasistatic.transforms import Chain
from strategies import gaussian_diffusions, seeds

EVENT = (2, 2, 3)
D = 12


def gaussian_law(d: int = D, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A mean and a covariance of correlated coordinates."""
    generator = Generator().manual_seed(seed)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
    mean = 0.3 * torch.randn(d, generator=generator, dtype=torch.float64)
    return mean, 0.4 * root @ root.T + 0.01 * torch.eye(d, dtype=torch.float64)


def base_of(mean: Tensor, cov: Tensor, event: tuple[int, ...] = EVENT) -> WienerBase:
    values, vectors = torch.linalg.eigh(cov)
    return WienerBase(mean.view(event), values, vectors)


def make(
    q: GaussianDiffusion, levels: int | None = None, base: nn.Module | None = None, channels: int = 2, rough: bool = False
) -> ImageDenoiser:
    network = UNet(ImageDenoiser.n_inputs(channels, levels), ImageDenoiser.n_outputs(channels), (4, 4))
    kernel = ImageDenoiser(q, network, base or base_of(*gaussian_law()), levels)
    return (roughen(kernel, scale=0.05) if rough else kernel).eval().requires_grad_(False)  # type: ignore[return-value]


def chain(n_steps: int = 30) -> GaussianDiffusion:
    return GaussianDiffusion(geometric(n_steps, 9.0, -5.0))


def states(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, *EVENT, generator=Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- the base


@given(q=gaussian_diffusions(max_steps=6), seed=seeds)
def test_a_zero_network_has_the_moments_of_the_true_reversal(q: GaussianDiffusion, seed: int) -> None:
    # means of all, variances of each: what of p(x_{t-1} | x_t) a diagonal Gaussian can have
    mean, cov = gaussian_law()
    exact, kernel, x = ExactGaussianData(q, mean, cov), make(q, base=base_of(mean, cov)), states(3, seed % 1000)
    for t in range(1, q.n_steps + 1):
        told, truth = kernel(x, t), exact(x.flatten(1), t)
        assert isinstance(told, Gaussian)
        torch.testing.assert_close(told.mean.flatten(1), truth.mean, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(told.var.flatten(1), truth.var, rtol=1e-6, atol=1e-9)


@given(q=gaussian_diffusions(max_steps=8), seed=seeds, var=st.floats(1e-3, 1e3))
def test_one_number_is_known_exactly(q: GaussianDiffusion, seed: int, var: float) -> None:
    # the chain's end in log pi(x_T) aside, each path's weight is log N(x; mu, v) for every number of steps
    one = torch.ones(1, 1, dtype=torch.float64)
    base = WienerBase(one.view(1, 1, 1), torch.tensor([var], dtype=torch.float64), one)
    x = 1.0 + math.sqrt(var) * torch.randn(5, 1, 1, 1, generator=Generator().manual_seed(seed), dtype=torch.float64)
    kernel = make(q, base=base, channels=1)
    path = [x]
    for t in range(1, q.n_steps + 1):
        path.append(q.step(path[-1], t).sample(Generator().manual_seed(seed + t)))
    weight = sum(
        kernel(path[t], t).log_prob(path[t - 1]) - q.step(path[t - 1], t).log_prob(path[t]) for t in range(1, len(path))
    )
    signal, noise = q.alpha_bar[-1], q.noise_bar[-1]
    end = Gaussian(signal.sqrt().expand_as(x), signal * var + noise)
    data = Gaussian(torch.ones_like(x), torch.tensor(var, dtype=torch.float64))
    torch.testing.assert_close(weight + end.log_prob(path[-1]), data.log_prob(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_steps", [3, 50])
def test_the_bound_of_white_pictures_is_their_density(n_steps: int) -> None:
    base = base_of(torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64))
    q, x = chain(n_steps), states(4)
    total = elbo(q, make(q, base=base), x, method="trajectory").total
    white = -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    torch.testing.assert_close(total, white, rtol=1e-9, atol=1e-9)


def test_the_base_is_fitted_by_moments() -> None:
    mean, cov = gaussian_law(4)
    x = mean + torch.randn(9000, 4, generator=Generator().manual_seed(2), dtype=torch.float64) @ torch.linalg.cholesky(cov).T
    x[:, 3] = 0.5  # a dead pixel
    base = WienerBase.fit(x.view(-1, 1, 2, 2), floor=1e-3, dtype=torch.float64)
    sample = (x - x.mean(0)).T @ (x - x.mean(0)) / len(x)
    back = base.vectors @ torch.diag(base.values) @ base.vectors.T
    sample[3, 3] = 1e-3 * sample.diagonal().mean()
    torch.testing.assert_close(back, sample, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(base.mean.flatten(), x.mean(0))
    with pytest.raises(InputError, match="the least is 0"):
        WienerBase(torch.zeros(1), torch.zeros(1), torch.eye(1))


def test_the_base_has_a_precision_of_its_own() -> None:
    # in single precision it is right to what a bound can show, at the ends of the schedule too
    double = base_of(*gaussian_law())
    single = WienerBase(double.mean.float(), double.values.float(), double.vectors.float())
    assert single.double().vectors.dtype == torch.float32
    for log_snr in (-6.0, 0.0, 14.0):
        clock, x = torch.full((5,), log_snr, dtype=torch.float64), states(5)
        (mean, var), (mean_1, var_1) = double(x, clock), single(x, clock)
        assert mean_1.dtype == torch.float64
        assert ((mean - mean_1).square() / var).max() < 1e-6
        torch.testing.assert_close(var, var_1, rtol=1e-5, atol=0)


# ------------------------------------------------------------------------------------------------- the grid


def enumerated(mean: Tensor, var: Tensor, low: float, step: float, levels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the restriction, by all levels."""
    grid = low + step * torch.arange(levels, dtype=torch.float64)
    distance = (mean.unsqueeze(-1) - grid).square()
    weight = torch.softmax(-0.5 * distance / var.unsqueeze(-1), -1)
    centre = (weight * grid).sum(-1)
    return centre, (weight * (grid - centre.unsqueeze(-1)).square()).sum(-1)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_restriction_to_a_grid_is_what_enumeration_says(levels: int) -> None:
    step = 2 / (levels - 1)
    mean = torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    for deviation in (1e-3, 0.05, 0.2, 0.5, 0.99):
        var = torch.full_like(mean, (deviation * step) ** 2)
        truth, _ = enumerated(mean, var, -1.0, step, levels)
        torch.testing.assert_close(mean_on_grid(mean, var, -1.0, step, levels), truth, rtol=0, atol=1e-7 * step)


def test_a_grid_is_not_felt_through_much_noise() -> None:
    step = 2 / 255
    for deviation in (1.01, 3.0, 10.0):
        mean, var = torch.linspace(-0.2, 0.2, 501, dtype=torch.float64), torch.tensor((deviation * step) ** 2).double()
        truth, _ = enumerated(mean, var.expand_as(mean), -1.0, step, 256)
        torch.testing.assert_close(mean_on_grid(mean, var, -1.0, step, 256), truth, rtol=0, atol=1e-6 * step)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_far_outside_the_grid_go_to_its_ends(dtype: torch.dtype) -> None:
    mean = torch.tensor([-1e6, -50.0, 50.0, 1e6], dtype=dtype)
    for var in (1e-12, 1e-4, 1.0, 1e8):
        told = mean_on_grid(mean, torch.full_like(mean, var), -1.0, 2 / 255, 256)
        torch.testing.assert_close(told, mean.sign(), rtol=0, atol=1e-5)


class UniformLevels(nn.Module):
    """The exact posterior of independent pixels whose levels are all equally likely."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        log_snr = log_snr.view(-1, 1, 1, 1)
        seen, var = x_t / torch.sigmoid(log_snr).sqrt(), torch.exp(-log_snr).expand_as(x_t)
        mean, var = enumerated(seen, var, -1.0, 2 / (self.levels - 1), self.levels)
        return mean, var + 1e-12


class Zero(nn.Module):
    """A network that has nothing to add, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return x.new_zeros(len(x), ImageDenoiser.n_outputs(1) * x[0, 0].numel())


def test_uniform_levels_cost_the_logarithm_of_their_number() -> None:
    # -log P of every picture is d log 16; T = 200 and noise of a seventh of a step at t = 1 cost less than 0.01 bits a pixel
    levels, q = 16, GaussianDiffusion(geometric(200, 8.0, -6.0))
    generator = Generator().manual_seed(7)
    x = torch.randint(0, levels, (400, 1, 2, 2), generator=generator).double() * (2 / (levels - 1)) - 1.0
    kernel = ImageDenoiser(q, Zero(), UniformLevels(levels), levels).requires_grad_(False)
    bits = -elbo(q, kernel, x, generator=generator).total / math.log(2) / 4
    check_mean(bits - 0.005, 4.0, resolves=0.1)


# ------------------------------------------------------------------------------------------- the kernel of levels


def levels_data(n: int, seed: int = 3) -> Tensor:
    level = torch.randint(0, 256, (n, *EVENT), generator=Generator().manual_seed(seed))
    return level.double() / 127.5 - 1.0


def test_the_first_step_tells_masses_and_the_others_densities() -> None:
    q = chain()
    kernel, x = make(q, 256, rough=True), states(4)
    t = torch.tensor([1, 1, 5, 30])
    assert isinstance(kernel(x, 1), DiscretisedGaussian)
    assert isinstance(kernel(x, 5), Gaussian)
    assert isinstance(kernel(x, torch.ones(4, dtype=torch.long)), DiscretisedGaussian)
    together, x_prev = kernel(x, t), levels_data(4)
    assert isinstance(together, FirstStepDiscretised)
    for i in range(4):
        alone = kernel(x[i : i + 1], int(t[i]))
        torch.testing.assert_close(
            together.log_prob(x_prev)[i : i + 1], alone.log_prob(x_prev[i : i + 1]), rtol=1e-5, atol=1e-5
        )


def test_without_levels_the_first_step_is_a_density() -> None:
    kernel = make(chain(), rough=True)
    assert isinstance(kernel(states(2), 1), Gaussian)
    assert isinstance(kernel(states(2), torch.tensor([1, 3])), Gaussian)


def test_masses_of_all_pictures_sum_to_one() -> None:
    # one pixel: the 256 pictures that there are
    one = torch.ones(1, 1, dtype=torch.float64)
    base = WienerBase(0.1 * one.view(1, 1, 1), torch.tensor([0.2], dtype=torch.float64), one)
    kernel = make(chain(), 256, base, channels=1, rough=True)
    x_1 = torch.full((256, 1, 1, 1), 0.3, dtype=torch.float64)
    grid = torch.linspace(-1, 1, 256, dtype=torch.float64).view(-1, 1, 1, 1)
    assert kernel(x_1, 1).log_prob(grid).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_trust_moves_the_mean_to_the_grid() -> None:
    q = chain()
    kernel, x = make(q, 256), q.marginal(levels_data(3), 1).sample(Generator().manual_seed(0))
    signal, noise = q.alpha_bar[1].sqrt(), q.noise_bar[1]
    untouched = kernel(x, 1).mean
    own = mean_on_grid(x / signal, (noise / signal.square()).expand_as(x), -1.0, 2 / 255, 256)
    base, var = kernel.base(x, q.log_snr_at(1, x))
    torch.testing.assert_close(untouched, base)
    kernel.trust.bias.copy_(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(kernel(x, 1).mean, own)
    kernel.trust.bias.copy_(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(kernel(x, 1).mean, mean_on_grid(base, var, -1.0, 2 / 255, 256))


def test_the_network_counts_in_deviations_of_the_base() -> None:
    # F = 2 and S = log 3 everywhere
    q = chain()
    kernel, x = make(q), states(3)
    before = kernel(x, 7)
    assert isinstance(kernel.network, UNet)
    assert kernel.network.last.bias is not None
    kernel.network.last.bias.copy_(torch.tensor([2.0, 2.0, math.log(3.0), math.log(3.0)]))
    after = kernel(x, 7)
    share_0, _, var = q._at(7, x, "posterior")
    sd = ((before.var - var) / share_0.square()).sqrt()
    torch.testing.assert_close(after.mean, before.mean + 2.0 * share_0 * sd, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(after.var, var + 3.0 * (share_0 * sd).square(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("levels", [None, 256])
def test_channels_are_of_order_one_at_every_step(levels: int | None) -> None:
    q = GaussianDiffusion(geometric(100, 13.3, -5.0))
    kernel, x = make(q, levels), levels_data(200)
    for t in (1, 2, 10, 30, 60, 100):
        x_t = q.marginal(x, t).sample(Generator().manual_seed(t))
        features = kernel._base(x_t, t).features
        assert features.shape[1] == ImageDenoiser.n_inputs(2, levels)
        assert features.square().mean((0, 2, 3)).max() < 4.0**2 * 4


def test_single_precision_and_autocast_leave_base_and_law_alone() -> None:
    q = GaussianDiffusion(geometric(100, 13.3, -5.0))
    kernel, t = make(q, 256, rough=True), torch.tensor([2, 50, 100])
    x = q.marginal(levels_data(3), t).sample(Generator().manual_seed(0))
    double, single = kernel(x, t), kernel(x.float(), t)
    assert single.mean.dtype == torch.float32
    torch.testing.assert_close(single.mean.double(), double.mean, rtol=1e-5, atol=1e-5)
    roughen(kernel.network, scale=0.0)
    expected = kernel(x.float(), t)
    with torch.autocast("cpu", torch.bfloat16):
        cast = kernel(x.float(), t)
    assert torch.equal(cast.mean, expected.mean)
    assert torch.equal(cast.var, expected.var)


def test_other_steps_share_all_parameters() -> None:
    q = chain(30)
    kernel, x = make(q, 256, rough=True), states(2)
    coarse = q.respaced([10, 20, 30])
    moved = kernel.on(coarse)
    assert moved.network is kernel.network
    # x_0 given x_t is the same: t = 20 of one is t = 2 of the other
    torch.testing.assert_close(moved._base(x, 2).mean, kernel._base(x, 20).mean)
    torch.testing.assert_close(
        kernel.evaluate_network(kernel._base(x, 20).features, 20), moved.evaluate_network(moved._base(x, 2).features, 2)
    )


def test_a_training_batch_is_the_bound_with_finite_gradients() -> None:
    q = chain()
    kernel, x = make(q, 256, rough=True).requires_grad_(True), levels_data(6).float()
    batch = draw_batch(q, x, None, 6, Generator().manual_seed(0), draw_previous=False)._replace(
        t=torch.tensor([1, 1, 4, 9, 20, 30]), weight=torch.ones(6), n_first=2
    )
    batch = batch._replace(x_t=q.marginal(x, batch.t).sample(Generator().manual_seed(1)))
    loss, each = Objective(kernel)(batch)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in kernel.parameters())
    for i in range(6):
        t = int(batch.t[i])
        p = kernel(batch.x_t[i : i + 1], t)
        one = x[i : i + 1]
        expected = -p.log_prob(one) if t == 1 else q.posterior(one, batch.x_t[i : i + 1], t).kl(p)
        torch.testing.assert_close(each[i : i + 1], expected.detach(), rtol=1e-4, atol=1e-3)


def test_a_whole_model_comes_back_from_disk(tmp_path: Path) -> None:
    q = chain(6)
    model = DiffusionModel(Chain(), q, make(q, 256, rough=True), EVENT)
    model.save(tmp_path / "model")
    again, x = load_model(tmp_path / "model"), levels_data(3)
    scores = [m.elbo(x, generator=Generator().manual_seed(0)).total for m in (model, again)]
    torch.testing.assert_close(*scores, rtol=1e-9, atol=0)
    draws = again.sample(2, generator=Generator().manual_seed(0))
    torch.testing.assert_close(draws, model.sample(2, generator=Generator().manual_seed(0)))
    place = (draws + 1.0) * 127.5
    torch.testing.assert_close(place, place.round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("levels", [0, 1, -3])
def test_a_grid_has_two_levels(levels: int) -> None:
    with pytest.raises(InputError, match="two levels"):
        make(chain(), levels)
