"""Masses of levels under a normal law: normalised, exact however far out, and one batch with densities."""

from __future__ import annotations

import math

import mpmath  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_frequencies
from quasistatic.distributions import Gaussian
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.first_step import FirstStepDiscretised
from quasistatic.errors import InputError

LOW, HIGH, STEP = -1.0, 1.0, 2 / 255
LEVELS = torch.linspace(LOW, HIGH, 256, dtype=torch.float64)


def law(mean: Tensor, var: Tensor) -> DiscretisedGaussian:
    return DiscretisedGaussian(mean, var, STEP, LOW, HIGH)


def every_level(mean: float, sd: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log masses of all 256 levels."""
    p = law(torch.full((256, 1), mean, dtype=dtype), torch.tensor(sd**2, dtype=dtype))
    return p.log_prob(LEVELS.to(dtype).unsqueeze(1))


@given(mean=st.floats(-3, 3), log_sd=st.floats(-12, 4))
def test_masses_sum_to_one(mean: float, log_sd: float) -> None:
    # means on, between and outside the levels; deviations from a thousandth of a step to thousands
    total = every_level(mean, math.exp(log_sd)).logsumexp(0)
    assert abs(total.item()) < 1e-9
    total = every_level(mean, math.exp(log_sd), torch.float32).logsumexp(0)
    assert abs(total.item()) < 1e-3 * max(1.0, math.exp(log_sd))


@given(mean=st.floats(-20, 20), log_sd=st.floats(-9, 3), level=st.integers(0, 255))
def test_they_are_differences_of_the_distribution_function(mean: float, log_sd: float, level: int) -> None:
    # against fifty and, in the tails, thousands of digits
    sd, x = math.exp(log_sd), LEVELS[level].item()
    with mpmath.workdps(50):
        below = -mpmath.inf if level == 0 else (mpmath.mpf(x) - STEP / 2 - mean) / sd
        above = mpmath.inf if level == 255 else (mpmath.mpf(x) + STEP / 2 - mean) / sd
        if below + above > 0:
            below, above = -above, -below
        truth = mpmath.log(mpmath.erfc(-above / mpmath.sqrt(2)) - mpmath.erfc(-below / mpmath.sqrt(2))) - mpmath.log(2)
    p = law(*(torch.tensor([[v]], dtype=torch.float64) for v in (mean, sd**2)))
    told = p.log_prob(LEVELS[level].view(1, 1))
    assert told.item() == pytest.approx(float(truth), rel=1e-9, abs=1e-9)


def test_narrow_levels_have_their_density_times_their_width() -> None:
    mean, var = torch.randn(50, 3, dtype=torch.float64), 1.0 + torch.rand(50, 3, dtype=torch.float64)
    step = 1e-4
    x = 0.5 * torch.randint(-10, 11, (50, 3)).double()
    told = DiscretisedGaussian(mean, var, step, -10.0, 10.0).log_prob(x)
    torch.testing.assert_close(told, Gaussian(mean, var).log_prob(x) + 3 * math.log(step), rtol=0, atol=1e-7)


def test_gradients_are_those_of_finite_differences() -> None:
    # levels near, far, outermost on both sides, and below and above the mean
    generator = Generator().manual_seed(0)
    mean = (3.0 * torch.randn(40, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    var = (0.05 + torch.rand(40, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    x = torch.randint(-2, 4, (40, 4), generator=generator).double()
    assert torch.autograd.gradcheck(lambda m, v: DiscretisedGaussian(m, v, 1.0, -2.0, 3.0).log_prob(x), (mean, var))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [3.0, 40.0, 1e3, 1e6])
def test_gradients_of_a_mistake_pull_back_in_proportion_to_it(distance: float, dtype: torch.dtype) -> None:
    # the mass far out lies at the near edge, so d/dmean is the distance to it, in either direction
    for x, edge in ((-0.5, -0.5 + STEP / 2), (1.0, 1.0 - STEP / 2)):
        sd, away = 0.01, math.copysign(distance, -x)
        mean = torch.tensor([[edge - math.copysign(distance * 0.01, x)]], dtype=dtype, requires_grad=True)
        level = LEVELS[round((x - LOW) / STEP)].to(dtype)
        var = torch.tensor([[sd**2]], dtype=dtype, requires_grad=True)
        law(mean, var).log_prob(level.view(1, 1)).sum().backward()
        assert mean.grad is not None
        assert var.grad is not None
        assert torch.isfinite(var.grad).all()
        expected = -away / sd
        assert mean.grad.item() == pytest.approx(expected, rel=0.7 / distance + (0.03 if dtype == torch.float32 else 1e-3))


def test_draws_have_those_frequencies() -> None:
    # false alarm 1e-6 each
    for mean, sd in ((0.1, 0.02), (-0.99, 0.05), (1.3, 0.4)):
        n = 20000
        p = law(torch.full((n, 1), mean, dtype=torch.float64), torch.tensor(sd**2))
        level = ((p.sample(Generator().manual_seed(1)) - LOW) / STEP).round().long()
        check_frequencies(torch.bincount(level.flatten(), minlength=256), every_level(mean, sd).exp())


def test_what_is_no_level_is_refused() -> None:
    p = law(torch.zeros(1, 1), torch.ones(1))
    for x in (0.0, -1.0 - STEP, 1.0 + STEP):
        with pytest.raises(InputError, match="levels must be"):
            p.log_prob(torch.tensor([[x]]))


# ------------------------------------------------------------------------------------------- both kinds in a batch


def mixed(first: list[bool]) -> tuple[Gaussian, Tensor]:
    generator = Generator().manual_seed(2)
    n = len(first)
    normal = Gaussian(0.3 * torch.randn(n, 2, 3, generator=generator), 0.01 + torch.rand(n, 2, 3, generator=generator))
    return normal, torch.tensor(first)


@pytest.mark.parametrize("first", [[True, False, False], [False, True, False, True], [True], [False, False]])
def test_each_row_is_scored_as_its_own_kind(first: list[bool]) -> None:
    normal, mask = mixed(first)
    x = LEVELS.float()[torch.randint(0, 256, normal.mean.shape, generator=Generator().manual_seed(3))]
    told = FirstStepDiscretised.of(normal, STEP, LOW, HIGH, mask).log_prob(x)
    masses = DiscretisedGaussian(normal.mean, normal.var, STEP, LOW, HIGH).log_prob(x)
    torch.testing.assert_close(told, torch.where(mask, masses, normal.log_prob(x)))


def test_rows_of_one_kind_are_that_kind() -> None:
    normal, mask = mixed([True, True, False, False])
    p = FirstStepDiscretised.of(normal, STEP, LOW, HIGH, mask)
    assert isinstance(p, FirstStepDiscretised)
    assert isinstance(p[:2], DiscretisedGaussian)
    assert isinstance(p[2:], Gaussian)
    assert isinstance(p[1:3], FirstStepDiscretised)


def test_the_cost_of_a_training_batch() -> None:
    # -log P at the points, KL elsewhere
    normal, mask = mixed([True, True, False, False, False])
    p = FirstStepDiscretised.of(normal, STEP, LOW, HIGH, mask)
    points = LEVELS.float()[torch.randint(0, 256, normal.mean.shape)]
    var = torch.tensor([0.0, 0.0, 0.1, 0.2, 0.3]).view(5, 1, 1)
    q = Gaussian(points, var)
    cost = q.cost(p, 2)
    torch.testing.assert_close(cost[:2], -DiscretisedGaussian(normal.mean, normal.var, STEP, LOW, HIGH).log_prob(points)[:2])
    torch.testing.assert_close(cost[2:], q[2:].kl(normal[2:]))


def test_draws_of_both_kinds() -> None:
    normal, mask = mixed([False, True, True])
    x = FirstStepDiscretised.of(normal, STEP, LOW, HIGH, mask).sample(Generator().manual_seed(0))
    place = (x - LOW) / STEP
    on_grid = ((place - place.round()).abs() < 1e-3).flatten(1).all(1)
    assert on_grid.tolist() == [False, True, True]
