"""MCGSM: each conditional integrates to one, Gaussian fields are recovered, samples come from the density."""

from __future__ import annotations

import itertools
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_mean, check_same_mean, standard_error
from oracles import roughen
from quasistatic.baselines import MCGSM, ConditionalGSM
from quasistatic.baselines.mcgsm import _draw
from quasistatic.baselines.neighbourhood import View, contexts_of, view_of
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate
from quasistatic.storage.modules import load_module, save_module

ENTROPY_OF_NORMAL = 0.5 * math.log(2.0 * math.pi * math.e)
ACROSS, DOWN = 0.8, 0.6  # correlation of neighbours in the field


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def field(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """A Gaussian Markov field of unit variance and covariance ACROSS^|dj| DOWN^|di|: an autoregression both ways.

    Given all that came before, a pixel depends on its left, upper and upper left neighbours alone and has variance
    (1 - ACROSS^2)(1 - DOWN^2).
    """
    return torch.einsum("ij,njk,lk->nil", root(height, DOWN), normal(n, height, width, seed=seed), root(width, ACROSS))


def root(n: int, correlation: float) -> Tensor:
    lag = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    return torch.linalg.cholesky(torch.as_tensor(correlation, dtype=torch.float64) ** lag)


def field_covariance(height: int, width: int) -> Tensor:
    """Of the flattened field."""
    down, across = root(height, DOWN), root(width, ACROSS)
    return torch.kron(down @ down.T, across @ across.T)


def field_log_prob(x: Tensor) -> Tensor:
    """Log density of the field, (n,), by its covariance matrix."""
    cov = field_covariance(*x.shape[1:])
    law = torch.distributions.MultivariateNormal(torch.zeros(len(cov), dtype=torch.float64), cov)
    return law.log_prob(x.flatten(1))


def rough(n_context: int, n_components: int = 3, n_scales: int = 2, seed: int = 0) -> ConditionalGSM:
    """A conditional with random parameters and coordinates."""
    model = ConditionalGSM(n_context, n_components, n_scales).double()
    context = normal(400, n_context, seed=seed) @ normal(n_context, n_context, seed=seed + 1) + 0.3
    model.standardise(2.0 + context.sum(1) + normal(400, seed=seed + 2), context)
    roughen(model, seed, scale=0.7)
    return model


@cache
def gaussian() -> MCGSM:
    """One component of one scale, edges included, on the Gaussian field, for all tests that only look at it."""
    images, validation = field(2000, 12, 12), field(100, 12, 12, seed=1)
    return MCGSM.fit(images, validation, reach=1, n_components=1, n_scales=1, n_updates=1, border_updates=1)


def rough_images() -> MCGSM:
    model = MCGSM(reach=1, n_components=2, n_scales=2)
    for i, conditional in enumerate(model.conditionals.values()):
        roughen(conditional, i, scale=0.4)
    return model


# ------------------------------------------------------------------------------------------------------ conditionals


@given(n_context=st.integers(0, 6), k=st.integers(1, 4), s=st.integers(1, 3), seed=st.integers(0, 50))
def test_every_conditional_integrates_to_one(n_context: int, k: int, s: int, seed: int) -> None:
    model, context = rough(n_context, k, s, seed), 2.0 * normal(1, n_context, seed=seed + 9)
    with torch.no_grad():
        _, mean = model._mixture(context)
        sd = (model.log_sd - 0.5 * model.alpha).exp()
        finest, low, high = sd.min(), mean.min() - 10.0 * sd.max(), mean.max() + 10.0 * sd.max()
        grid = torch.linspace(low, high, int(((high - low) / finest).item() * 2) + 100, dtype=torch.float64)
        density = model.log_prob(grid, context.expand(len(grid), -1)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-7)


def test_the_density_is_the_formula() -> None:
    """Sum over components and scales in the document's own terms, entry by entry."""
    model, x, context = rough(3), normal(1), normal(1, 3, seed=5)
    c = [math.fsum(((context[0, i] - model.shift[i]) * model.whiten[i, n]).item() for i in range(3)) for n in range(3)]
    y = (x[0] - model.centre - sum(model.regression[n] * c[n] for n in range(3))) / model.log_sd.exp()
    top = bottom = 0.0
    for k, s in itertools.product(range(3), range(2)):
        alpha, energy = model.alpha[k, s].item(), model.eta[k, s].item()
        energy += sum(model.tilt[k, i].item() * c[i] for i in range(3))
        for n in range(3):
            along = sum(model.direction[i, n].item() * c[i] for i in range(3))
            energy -= 0.5 * math.exp(alpha) * model.beta[k, n].item() ** 2 * along**2
        mean = sum(model.predictor[k, i].item() * c[i] for i in range(3)) + model.bias[k].item()
        bottom += math.exp(energy)
        top += math.exp(energy + 0.5 * (alpha - math.exp(alpha) * (y.item() - mean) ** 2)) / math.sqrt(2 * math.pi)
    expected = math.log(top / bottom) - model.log_sd.item()
    assert model.log_prob(x, context).item() == pytest.approx(expected, rel=1e-10)


def test_one_component_of_one_scale_is_linear_regression() -> None:
    """Before any training: mean and residual variance of least squares, by the normal equations."""
    context = normal(500, 4) @ normal(4, 4, seed=1) + 2.0
    x = context @ normal(4, seed=2) - 1.0 + 0.5 * normal(500, seed=3)
    model = ConditionalGSM(4, n_components=1, n_scales=1).double()
    model.standardise(x, context)
    design = torch.cat([context, torch.ones(500, 1)], 1)
    residual = x - design @ torch.linalg.solve(design.T @ design, design.T @ x)
    expected = torch.distributions.Normal(0.0, residual.square().mean().sqrt()).log_prob(residual)
    torch.testing.assert_close(model.log_prob(x, context).detach(), expected)


def test_at_the_start_it_is_stationary_for_one_component() -> None:
    """Least squares is already the maximum of the likelihood: no gradient there."""
    context = normal(500, 4) @ normal(4, 4, seed=1)
    x = context.sum(1) + normal(500, seed=3)
    model = ConditionalGSM(4, n_components=1, n_scales=1).double()
    model.standardise(x, context)
    model.log_prob(x, context).mean().backward()
    for parameter in (model.predictor, model.bias, model.alpha):
        assert parameter.grad is not None
        assert parameter.grad.abs().max().item() < 1e-10


def test_coordinates_do_not_matter() -> None:
    """A change of units of pixels and contexts changes the density by its Jacobian alone."""
    context, x = normal(300, 3), normal(300, seed=1)
    x = x + context.sum(1)
    plain, scaled = (ConditionalGSM(3, 2, 2).double() for _ in range(2))
    plain.standardise(x, context)
    scaled.standardise(50.0 * x - 3.0, 50.0 * context + 7.0)
    for model in (plain, scaled):
        model.perturb(Generator().manual_seed(0))
    expected = plain.log_prob(x, context) - math.log(50.0)
    torch.testing.assert_close(scaled.log_prob(50.0 * x - 3.0, 50.0 * context + 7.0), expected)


def test_gradients_are_finite_and_right() -> None:
    model, x, context = rough(3), normal(5), normal(5, 3, seed=4)
    parameters = list(model.parameters())
    assert torch.autograd.gradcheck(lambda *p: model.log_prob(x, context), parameters)
    far = model.log_prob(torch.tensor([1e4]).double(), 1e3 * torch.ones(1, 3).double())
    far.backward()
    assert torch.isfinite(far)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)


def test_draws_have_the_density() -> None:
    """The law's distribution function at its draws is uniform: means of u and of u^2, false alarm 2e-6."""
    model, n = rough(2), 40000
    context = normal(1, 2, seed=3)
    with torch.no_grad():
        draws = model.sample(context.expand(n, -1), Generator().manual_seed(0))
        log_weight, mean = model._mixture(context)
        sd = (model.log_sd - 0.5 * model.alpha).exp()
        below = torch.distributions.Normal(mean.view(1, 3, 1), sd.expand(1, 3, 2)).cdf(draws.view(-1, 1, 1))
        u = (log_weight.exp() * below).sum((1, 2))
    check_mean(u, 0.5, resolves=0.02)
    check_mean(u.square(), 1.0 / 3.0, resolves=0.02)


# ------------------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize("size", [(5, 7), (4, 4), (1, 6), (2, 9)])
@pytest.mark.parametrize("reach", [1, 2])
def test_contexts_lie_before_the_pixel_and_leave_none_out(size: tuple[int, int], reach: int) -> None:
    height, width = size
    number = torch.arange(height * width).view(1, height, width)  # in raster order
    for i, j in itertools.product(range(height), range(width)):
        context = contexts_of(number, view_of(i, j, width, reach), torch.tensor([i]), torch.tensor([j]))
        expected = [
            number[0, a, b].item()
            for a, b in itertools.product(range(height), range(width))
            if (i - reach <= a < i and abs(b - j) <= reach) or (a == i and j - reach <= b < j)
        ]
        assert context.tolist() == [expected]


def test_the_neighbourhood_of_three_has_24_pixels_and_25_views() -> None:
    model = MCGSM()
    assert len(model.interior.offsets) == 24
    assert len(model.views) == 25
    assert sum(p.numel() for p in model.conditionals["3-3-3"].parameters()) == 1548


def test_random_places_see_the_same_contexts() -> None:
    images, view = normal(3, 6, 7), View(2, 1, 2)
    x, context = _draw(images, view, 500, Generator().manual_seed(0))
    rows, columns = torch.arange(2, 6), torch.arange(1, 5)
    pixels, contexts = images[:, rows[:, None], columns].flatten(), contexts_of(images, view, rows, columns)
    known = dict(zip(pixels.tolist(), contexts.tolist(), strict=True))
    assert all(known[a] == b for a, b in zip(x.tolist(), context.tolist(), strict=True))
    assert set(x.tolist()) == set(pixels.tolist())  # and every place is drawn: 48 of them missed with chance 1e-3


def test_each_pixel_is_scored_by_its_own_conditional() -> None:
    model, x = rough_images(), normal(2, 4, 5)
    each = model.pixel_log_prob(x)
    for i, j in itertools.product(range(4), range(5)):
        view = view_of(i, j, 5, 1)
        conditional = model.conditionals[view.name]
        expected = conditional.log_prob(x[:, i, j], contexts_of(x, view, torch.tensor([i]), torch.tensor([j])))  # type: ignore
        torch.testing.assert_close(each[:, i, j], expected.detach())
    torch.testing.assert_close(model.pixel_log_prob(x, interior=True), each[:, 1:, 1:-1])
    torch.testing.assert_close(model.log_prob(x), each.sum((1, 2)))


def test_the_joint_density_of_an_image_integrates_to_one() -> None:
    """Two rows of two pixels, by importance sampling from a wide Student t; false alarm 1e-6."""
    model = rough_images()
    proposal = torch.distributions.StudentT(torch.tensor(4.0).double(), scale=torch.tensor(2.0).double())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = proposal.sample((200_000, 2, 2))
    weight = (model.log_prob(x) - proposal.log_prob(x).sum((1, 2))).exp()
    check_mean(weight, 1.0, resolves=0.1)


# ---------------------------------------------------------------------------------------------------------- Gaussian


@pytest.mark.parametrize("kind", ["one normal", "mixture"])
def test_a_gaussian_field_costs_its_entropy_rate(kind: str) -> None:
    """Interior pixels: never cheaper than the truth but by chance (1e-6), and a hundredth of a nat dearer at most."""
    model = gaussian()
    if kind == "mixture":
        images, validation = field(400, 12, 12), field(100, 12, 12, seed=1)
        settings = {"reach": 1, "n_components": 2, "n_scales": 2, "borders": False, "n_updates": 150, "batch_size": 1000}
        model = MCGSM.fit(images, validation, **settings)  # type: ignore[arg-type]
    x = field(150, 16, 16, seed=2)
    var = (1 - ACROSS**2) * (1 - DOWN**2)
    left, up, corner = x[:, 1:, :-2], x[:, :-1, 1:-1], x[:, :-1, :-2]
    mean = ACROSS * left + DOWN * up - ACROSS * DOWN * corner
    truth = torch.distributions.Normal(mean, math.sqrt(var)).log_prob(x[:, 1:, 1:-1])
    check_mean(truth.mean((1, 2)), -ENTROPY_OF_NORMAL - 0.5 * math.log(var), resolves=0.05)
    loss = (truth - model.pixel_log_prob(x, interior=True)).mean((1, 2))
    assert -4.8 * standard_error(loss).item() < loss.mean().item() < 0.01


def test_a_patch_costs_no_less_than_its_exact_density_says() -> None:
    """Joint density, edges included: KL(exact || model) is positive (false alarm 1e-6), and here 1e-4 nats a pixel."""
    x = field(400, 8, 8, seed=3)
    loss = field_log_prob(x) - gaussian().log_prob(x)
    assert -4.8 * standard_error(loss).item() < loss.mean().item() < 0.03


def test_samples_have_the_covariance_of_the_field() -> None:
    """Up to the fit to 2000 images: within 0.06 for 3 x 4 pixels, and draws alone are off by 0.04 with chance 1e-4."""
    x = gaussian().sample(20_000, (3, 4), generator=Generator().manual_seed(0)).flatten(1)
    assert (x.T.cov() - field_covariance(3, 4)).abs().max().item() < 0.06


def test_samples_have_the_joint_density() -> None:
    """Means under draws of the model and under draws of another law, weighted by density, agree; false alarm 1e-6."""
    model = rough_images()
    proposal = torch.distributions.StudentT(torch.tensor(4.0).double(), scale=torch.tensor(2.0).double())
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = proposal.sample((200_000, 2, 2))
    weight = (model.log_prob(x) - proposal.log_prob(x).sum((1, 2))).exp()
    drawn = model.sample(40_000, (2, 2), generator=Generator().manual_seed(2))
    moments = [torch.cat([v.tanh().flatten(1), (v[:, 0] * v[:, 1]).tanh()], 1) for v in (x, drawn)]
    check_same_mean(weight[:, None] * moments[0], moments[1])


# ------------------------------------------------------------------------------------------------------------ in use


def test_a_scale_mixture_is_found() -> None:
    """Pixels of two contrasts, told by their left neighbours' size: more scales and components score higher."""
    contrast = torch.where(normal(300, 1, 1) > 0, 1.0, 0.1)
    images, test = (contrast * normal(300, 8, 8, seed=s) for s in (1, 2))
    settings = {"reach": 1, "borders": False, "n_updates": 150, "batch_size": 500}
    one = MCGSM.fit(images, images, n_components=1, n_scales=1, **settings)  # type: ignore[arg-type]
    many = MCGSM.fit(images, images, n_components=2, n_scales=2, **settings)  # type: ignore[arg-type]
    truth = torch.distributions.Normal(0.0, contrast).log_prob(test)[:, 1:, 1:-1]
    loss = (truth - many.pixel_log_prob(test, interior=True)).mean((1, 2))
    assert -4.8 * standard_error(loss).item() < loss.mean().item() < 0.15  # four neighbours tell the contrast but for that
    assert (truth - one.pixel_log_prob(test, interior=True)).mean().item() > 0.6


def test_a_fit_ends_with_its_best_look_and_repeats_itself() -> None:
    """On few pixels the likelihood of others falls with training; no steps score no better than many."""
    few, others = field(1, 4, 5), field(50, 8, 8, seed=1)
    settings = {"reach": 1, "n_components": 3, "n_scales": 2, "borders": False, "batch_size": 50}
    fits = [MCGSM.fit(few, others, n_updates=steps, **settings) for steps in (1, 100, 100)]  # type: ignore[arg-type]
    scores = [fit.pixel_log_prob(others, interior=True).mean().item() for fit in fits]
    assert scores[1] >= scores[0] - 0.05
    assert scores[1] == scores[2]


def test_the_estimate_is_in_bits_per_pixel() -> None:
    model, x = rough_images(), normal(6, 4, 5)
    joint = model.bits_per_pixel(x)
    assert joint == Estimate.of(model.log_prob(x), "bits_per_pixel", (4, 5))
    interior = model.bits_per_pixel(x, interior=True)
    mean = model.pixel_log_prob(x, interior=True).mean().item() / math.log(2.0)
    assert interior.value == pytest.approx(mean)
    assert interior.unit == "bits_per_pixel"


def test_a_channel_axis_may_be_there() -> None:
    model, x = rough_images(), normal(2, 4, 5)
    assert torch.equal(model.log_prob(x.unsqueeze(1)), model.log_prob(x))


def test_it_is_saved_and_read(tmp_path: Path) -> None:
    model, x = gaussian(), field(3, 5, 6, seed=4)
    save_module(model, tmp_path)
    again, _ = load_module(tmp_path)
    assert torch.equal(again.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 3, 8, 8), r"images must have shape \(n, H, W\) or \(n, 1, H, W\), got \(2, 3, 8, 8\)"),
        ((0, 8, 8), r"images must have shape"),
        ((2, 4, 5), r"images must be at least 1 x 6 for reach 3, got 4 x 5"),
    ],
)
def test_images_it_cannot_score_are_told(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        MCGSM(n_components=1, n_scales=1).log_prob(torch.zeros(shape))


def test_without_borders_there_is_no_joint_density() -> None:
    model = MCGSM(reach=1, borders=False)
    with pytest.raises(InputError, match="without borders"):
        model.log_prob(torch.zeros(1, 4, 4))
    with pytest.raises(InputError, match="without borders"):
        model.sample(1, (4, 4))
    assert model.pixel_log_prob(torch.zeros(1, 4, 4), interior=True).shape == (1, 3, 2)


def test_pixels_that_are_certain_have_no_density() -> None:
    with pytest.raises(InputError, match=r"leaves variance 0\.0 of the pixels"):
        MCGSM.fit(torch.ones(2, 8, 8), torch.ones(2, 8, 8), reach=1, n_components=1, n_scales=1, borders=False)


def test_a_fit_needs_pixels_and_steps() -> None:
    x = field(2, 8, 8)
    with pytest.raises(InputError, match="n_updates must be at least 0 and batch_size at least 1, got -1, 400 and 4096"):
        MCGSM.fit(x, x, n_updates=-1)
    with pytest.raises(InputError, match="got 2000, 400 and 0"):
        MCGSM.fit(x, x, batch_size=0)
