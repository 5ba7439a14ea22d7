"""Estimates of the sum over steps: unbiased for any losses, and of less variance where it counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_frequencies, check_mean, check_same_mean
from oracles import RandomBits, all_bits, enumerated_bound, quick_bound
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.likelihood.exact import ExactBernoulliKernel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import FixedFirstStep, GaussianDenoiser
from quasistatic.schedules import constant_erasure, linear
from strategies import seeds


def taught(loss: Tensor, **options: float) -> TimestepSampler:
    """A sampler that has seen the loss of every step, t = 2..T."""
    sampler = TimestepSampler(len(loss) + 1, **options)  # type: ignore[arg-type]
    sampler.record(torch.arange(2, len(loss) + 2), loss)
    return sampler


def steep(n: int = 60) -> Tensor:
    """Losses of a linear schedule: nearly all of the sum in a few first steps."""
    return torch.exp(-0.3 * torch.arange(n, dtype=torch.float64)) + 1e-3


# ------------------------------------------------------------------------------------------------------- the draws


@given(n_steps=st.integers(2, 200), n_bins=st.integers(1, 80), seed=seeds)
def test_probabilities_are_a_law_of_all_steps(n_steps: int, n_bins: int, seed: int) -> None:
    loss = 10 ** (3 * torch.randn(n_steps - 1, generator=Generator().manual_seed(seed), dtype=torch.float64))
    sampler = taught(loss, n_bins=n_bins)
    assert sampler.p.shape == (n_steps - 1,)
    assert sampler.p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (sampler.p >= 0.1 / (n_steps - 1) - 1e-15).all()  # the uniform share bounds every weight


@given(n_steps=st.integers(2, 200), n=st.integers(1, 100), seed=seeds)
def test_draws_are_one_from_each_slice(n_steps: int, n: int, seed: int) -> None:
    # a step that fills n p slices is drawn that often, but for the two slices it shares
    generator = Generator().manual_seed(seed)
    sampler = taught(torch.rand(n_steps - 1, generator=generator, dtype=torch.float64) + 0.01)
    t, weight = sampler.draw(n, generator)
    assert (t.diff() >= 0).all()
    assert t.min() >= 2
    assert t.max() <= n_steps
    torch.testing.assert_close(weight, 1.0 / sampler.p[t - 2])
    often = torch.bincount(t - 2, minlength=n_steps - 1)
    assert (often - n * sampler.p).abs().max().item() < 2.0


def test_single_draws_have_the_probabilities(generator: Generator) -> None:
    # chi-square, 1e-6
    sampler = taught(steep(12))
    t = torch.cat([sampler.draw(1, generator)[0] for _ in range(20_000)])
    check_frequencies(torch.bincount(t - 2, minlength=12), sampler.p)


@pytest.mark.parametrize("n", [1, 3, 16, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sum_over_steps_is_unbiased_for_any_table_of_losses(n: int, seed: int) -> None:
    # 1e-6 each: the table measured is another one than the table learned
    generator = Generator().manual_seed(seed)
    loss, seen = (10 ** torch.randn(30, generator=generator, dtype=torch.float64) for _ in "ab")
    sampler = taught(seen)
    draws = [sampler.draw(n, generator) for _ in range(2000)]
    estimates = torch.stack([(weight * loss[t - 2]).mean() for t, weight in draws])
    check_mean(estimates, loss.sum())


def test_the_learned_probabilities_follow_the_rms_loss() -> None:
    loss = steep(20)
    sampler = taught(loss, uniform_share=0.0)
    torch.testing.assert_close(sampler.p, loss / loss.sum())


def test_a_table_that_is_known_leaves_no_variance() -> None:
    # p proportional to the loss: every draw says the sum itself
    loss = steep(20)
    t, weight = taught(loss, uniform_share=0.0).draw(7, Generator().manual_seed(0))
    torch.testing.assert_close(weight * loss[t - 2], loss.sum().expand(7))


def test_less_variance_than_uniform_on_a_steep_table() -> None:
    # p = 0.1 / 60 + 0.9 loss / sum: importance alone leaves (sum loss^2 / p - sum^2) / 8; a ratio of 50 to either
    # is far from what 500 repeats could mistake
    loss = steep()
    spread = {}
    for name, sampler in {"learned": taught(loss), "uniform": TimestepSampler(61, importance=False)}.items():
        generator = Generator().manual_seed(0)
        draws = [sampler.draw(8, generator) for _ in range(500)]
        spread[name] = torch.stack([(w * loss[t - 2]).mean() for t, w in draws]).var().item()
    independent = 500 * [0.0]
    generator = Generator().manual_seed(0)
    for k in range(500):
        t = torch.randint(2, 62, (8,), generator=generator)
        independent[k] = (60 * loss[t - 2]).mean().item()
    assert spread["learned"] < spread["uniform"] / 20
    assert spread["uniform"] < torch.tensor(independent).var().item() / 2  # stratified alone


def test_nothing_is_learned_before_every_group_was_seen() -> None:
    sampler = TimestepSampler(11)
    sampler.record(torch.tensor([2, 3]), torch.tensor([5.0, 1.0]))
    assert sampler.p.tolist() == pytest.approx([0.1] * 10)
    sampler.record(torch.arange(4, 12), torch.ones(8))
    assert sampler.p[0].item() > 2 * sampler.p[1].item()


def test_uniform_stays_uniform_whatever_it_sees() -> None:
    sampler = taught(steep(10), importance=False)
    assert sampler.p.tolist() == pytest.approx([0.1] * 10)


def test_neighbouring_steps_of_a_long_chain_share_a_probability() -> None:
    sampler = taught(torch.linspace(2.0, 1.0, 1999, dtype=torch.float64), n_bins=64)
    assert len(sampler.p.unique()) == 64
    assert sampler.bin_size.sum().item() == 1999
    assert sampler.bin_size.max().item() - sampler.bin_size.min().item() <= 1
    assert (sampler.bin_of.diff() >= 0).all()


def test_a_running_mean_forgets() -> None:
    sampler = taught(torch.ones(4), memory=0.9)
    sampler.record(torch.tensor([2]), torch.tensor([3.0]))
    assert sampler.square.tolist() == pytest.approx([0.9 * 1.0 + 0.1 * 9.0, 1.0, 1.0, 1.0])


def test_losses_wait_until_the_refresh() -> None:
    sampler, at_once = TimestepSampler(5), TimestepSampler(5)
    for loss in (1.0, 2.0):
        sampler.record(torch.arange(2, 6), torch.full((4,), loss), refresh=False)
    assert sampler.square.tolist() == [0.0] * 4
    sampler.record(torch.tensor([2]), torch.tensor([3.0]))
    at_once.record(torch.tensor([2, 2, 2, 3, 3, 4, 4, 5, 5]), torch.tensor([1.0, 2, 3, 1, 2, 1, 2, 1, 2]))
    torch.testing.assert_close(sampler.square, at_once.square)


def test_a_sampler_goes_on_from_its_state() -> None:
    first, second = taught(steep(10)), TimestepSampler(11)
    first.record(torch.tensor([3]), torch.tensor([7.0]), refresh=False)
    second.load(first.state())
    for sampler in (first, second):
        sampler.record(torch.tensor([4]), torch.tensor([2.0]))
    assert torch.equal(first.p, second.p)
    a, b = (s.draw(20, Generator().manual_seed(1))[0] for s in (first, second))
    assert torch.equal(a, b)


def test_a_state_is_a_copy() -> None:
    sampler = taught(steep(10))
    state = sampler.state()
    before = state["square"].clone()
    sampler.record(torch.arange(2, 12), torch.full((10,), 100.0))
    assert torch.equal(state["square"], before)


@pytest.mark.parametrize("n_steps", [0, 1])
def test_one_step_has_no_transitions_to_draw(n_steps: int) -> None:
    with pytest.raises(InputError, match=f"n_steps must be .*at least 2.*got {n_steps}"):
        TimestepSampler(n_steps)


def test_two_steps_have_one() -> None:
    t, weight = TimestepSampler(2).draw(5)
    assert t.tolist() == [2] * 5
    assert weight.tolist() == [1.0] * 5


# ----------------------------------------------------------------------------------------------------- quick_bound


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("each", [1, 3])
def test_the_quick_bound_has_the_mean_of_the_whole_chain_for_every_state(
    each: int, learned: bool, generator: Generator
) -> None:
    # 1e-6 for the 4 states together, against enumeration
    q = BernoulliDiffusion(constant_erasure(8), 0.4)
    kernel, states, n = RandomBits(q, 2), all_bits(2), 6000
    sampler = taught(steep(7)) if learned else None
    total = quick_bound(q, kernel, states.repeat(n, 1), n_pairs=4 * n * each, sampler=sampler, generator=generator)
    check_mean(total.view(n, 4), enumerated_bound(q, kernel, states), resolves=1.5)


def test_the_quick_bound_of_a_gaussian_chain(generator: Generator) -> None:
    # 1e-6
    q = GaussianDiffusion(linear(30))
    kernel = GaussianDenoiser(q, ResidualMLP(2, 4, width=8, depth=1), 2).requires_grad_(False)
    x = torch.tensor([0.3, 1.5], dtype=torch.float64).expand(4000, 2)
    quick = quick_bound(q, kernel, x, n_pairs=16_000, generator=generator)
    whole = elbo(q, kernel, x, generator=generator).total
    check_same_mean(quick, whole)


def test_mixtures_and_the_papers_first_step_have_quick_bounds_too(generator: Generator) -> None:
    # 1e-6 for the 4 states together
    q, states = BernoulliDiffusion(constant_erasure(6), 0.4), all_bits(2)
    kernel = FixedFirstStep(ExactBernoulliKernel(q, states[[0, 3]]), q)
    x = states[[0, 3]].repeat(4000, 1)
    total = quick_bound(q, kernel, x, n_pairs=2 * len(x), generator=generator).view(4000, 2)
    check_mean(total, enumerated_bound(q, kernel, states)[[0, 3]], resolves=0.5)


def test_a_budget_for_the_whole_chain_buys_the_whole_chain() -> None:
    q = BernoulliDiffusion(constant_erasure(4), 0.4)
    kernel, states = RandomBits(q, 2), all_bits(2)
    quick = quick_bound(q, kernel, states, n_pairs=12, generator=Generator().manual_seed(1))
    assert torch.equal(quick, elbo(q, kernel, states, generator=Generator().manual_seed(1)).total)


def test_a_quick_bound_costs_what_it_was_asked_to() -> None:
    q = BernoulliDiffusion(constant_erasure(50), 0.4)
    kernel, rows = RandomBits(q, 2), []
    kernel.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))
    quick_bound(q, kernel, all_bits(2).repeat(10, 1), n_pairs=120)
    assert sum(rows) == 40 + 120  # t = 1 for every example, and the pairs
