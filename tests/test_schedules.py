"""Schedules against their formulas, and as functions of time that do not know T."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.schedules import beta_from_log_snr, constant_erasure, cosine, geometric, linear, respaced

ALL: list[Callable[[int], Tensor]] = [constant_erasure, linear, cosine, geometric]


def alpha_bar(beta: Tensor) -> Tensor:
    return (1.0 - beta).cumprod(0)


def log_snr(beta: Tensor) -> Tensor:
    """Of steps 1..T, by exact products of what each step keeps."""
    log_keep = torch.log1p(-beta).cumsum(0)
    return log_keep - torch.log(-torch.expm1(log_keep))


def same_levels(beta: Tensor, levels: Tensor, every: int = 1) -> None:
    """Hold log-SNRs to levels as well as the rates can tell: near one they are 1e-16 apart, relative to 1 - beta."""
    atol = 1e-9 + (1e-15 / (1.0 - beta)).sum().item()
    torch.testing.assert_close(log_snr(beta)[::every], levels, rtol=1e-9, atol=atol)


@st.composite
def falling_levels(draw: st.DrawFn) -> Tensor:
    """Strictly decreasing log-SNRs from at most 25 down, steps from 0.01 to 8."""
    top = draw(st.floats(-5.0, 25.0))
    falls = draw(st.lists(st.floats(0.01, 8.0), min_size=1, max_size=12))
    return top - torch.tensor([0.0, *falls], dtype=torch.float64).cumsum(0)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("n_steps", [2, 3, 40, 2000])
def test_every_schedule_makes_a_process(schedule: Callable[[int], Tensor], n_steps: int) -> None:
    beta = schedule(n_steps)
    assert beta.shape == (n_steps,)
    assert beta.dtype == torch.float64
    family = BernoulliDiffusion if schedule is constant_erasure else GaussianDiffusion
    q = family(beta)
    assert (q.log_snr.diff() < 0).all()


@pytest.mark.parametrize("schedule", ALL)
def test_one_step_is_no_schedule(schedule: Callable[[int], Tensor]) -> None:
    with pytest.raises(ValueError, match="n_steps must be at least 2, got 1"):
        schedule(1)


@given(n_steps=st.integers(2, 3000))
def test_constant_erasure_takes_the_same_share_at_each_step(n_steps: int) -> None:
    signal = alpha_bar(constant_erasure(n_steps))
    left = torch.arange(n_steps - 1, -1, -1, dtype=torch.float64) / n_steps
    torch.testing.assert_close(signal, left, rtol=1e-9, atol=1e-12)
    assert signal[-1].item() == 0.0


@pytest.mark.parametrize("n_steps", [250, 4000])
def test_linear_is_about_one_process_for_every_number_of_steps(n_steps: int) -> None:
    # log alpha_bar_T is -sum of beta to first order, and that sum does not depend on T; the second order is
    # sum of beta^2 / 2 = 0.07 at T = 1000, of log alpha_bar_T = -10.1
    reference = alpha_bar(linear(1000))[-1].log().item()
    assert alpha_bar(linear(n_steps))[-1].log().item() == pytest.approx(reference, rel=0.04)


def test_linear_has_the_ends_it_is_given() -> None:
    assert linear(5, 0.1, 0.5).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_linear_stays_below_one_with_few_steps() -> None:
    assert linear(10)[-1].item() == 0.999


@pytest.mark.parametrize("n_steps", [5, 100])
def test_cosine_follows_its_formula_up_to_the_last_step(n_steps: int) -> None:
    o = 0.008
    u = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    f = ((u + o) / (1 + o) * math.pi / 2).cos() ** 2
    torch.testing.assert_close(alpha_bar(cosine(n_steps))[:-1], (f / f[0])[1:-1], rtol=1e-9, atol=1e-12)


@given(high=st.floats(0.0, 30.0), fall=st.floats(0.5, 40.0), n_steps=st.integers(2, 100))
def test_geometric_falls_evenly_between_its_ends(high: float, fall: float, n_steps: int) -> None:
    levels = torch.linspace(high, high - fall, n_steps, dtype=torch.float64)
    same_levels(geometric(n_steps, high, high - fall), levels)


def test_geometric_needs_a_range() -> None:
    with pytest.raises(ValueError, match=r"log_snr_max must exceed log_snr_min, got 1\.0 and 2\.0"):
        geometric(4, 1.0, 2.0)


@given(levels=falling_levels())
def test_rates_from_levels_lead_through_these_levels(levels: Tensor) -> None:
    same_levels(beta_from_log_snr(levels), levels)


def test_a_last_level_of_minus_infinity_is_total_erasure() -> None:
    beta = beta_from_log_snr(torch.tensor([3.0, 0.0, -math.inf]))
    assert beta[-1].item() == 1.0
    assert (beta[:-1] < 1).all()


@pytest.mark.parametrize("levels", [[1.0, 2.0], [1.0, 1.0], [2.0, math.nan, 0.0]])
def test_levels_must_fall(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="fall strictly"):
        beta_from_log_snr(torch.tensor(levels))


@given(levels=falling_levels())
def test_cutting_again_as_it_was_changes_nothing(levels: Tensor) -> None:
    beta = beta_from_log_snr(levels)
    torch.testing.assert_close(respaced(beta, len(beta)), beta, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("n_steps", [2, 7, 2000])
def test_total_erasure_cut_again_as_it_was_changes_nothing(n_steps: int) -> None:
    beta = constant_erasure(n_steps)
    torch.testing.assert_close(respaced(beta, n_steps), beta, rtol=1e-9, atol=1e-12)


@given(levels=falling_levels(), times=st.integers(2, 4))
def test_a_finer_cut_holds_the_coarser_one(levels: Tensor, times: int) -> None:
    beta = beta_from_log_snr(levels)
    fine = respaced(beta, (len(beta) - 1) * times + 1)
    same_levels(fine, levels, times)
    same_levels(respaced(fine, len(beta)), levels)


@given(levels=falling_levels(), n_steps=st.integers(2, 30))
def test_a_cut_keeps_the_first_and_the_last_level(levels: Tensor, n_steps: int) -> None:
    assume((levels[0] - levels[-1]).item() < 30.0)  # one step further down has a rate that rounds to one
    same_levels(respaced(beta_from_log_snr(levels), n_steps), levels[[0, -1]], n_steps - 1)


@given(n_steps=st.integers(2, 50), again=st.integers(2, 50))
def test_erasure_stays_total_and_the_first_level_stays(n_steps: int, again: int) -> None:
    beta = respaced(constant_erasure(n_steps), again)
    assert beta[-1].item() == 1.0
    assert beta[0].item() == pytest.approx(1.0 / n_steps)


@pytest.mark.parametrize(("n_steps", "again"), [(4, 9), (40, 12), (12, 40)])
def test_geometric_is_geometric_however_it_is_cut(n_steps: int, again: int) -> None:
    torch.testing.assert_close(respaced(geometric(n_steps), again), geometric(again), rtol=1e-8, atol=1e-12)
