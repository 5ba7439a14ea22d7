"""Chosen steps against all other choices, and schedules that must gain on data they have not seen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from chance import check_mean
from oracles import ExactGaussianData, RandomBits, all_bits, enumerated_bound, random_weights
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel
from quasistatic.likelihood.schedule_search import cheapest_path, learn_schedule, optimal_schedule, step_costs
from quasistatic.networks import PerStepMLP, ResidualMLP
from quasistatic.reverse import BernoulliDenoiser, GaussianDenoiser, PaperKernel, ReverseKernel
from quasistatic.schedules import beta_from_log_snr, constant_erasure, geometric, linear
from strategies import seeds

# ---------------------------------------------------------------------------------------------------- cheapest path


def brute_force(cost: Tensor, end: Tensor, n_steps: int) -> tuple[float, list[int]]:
    """Try every increasing chain of levels."""
    best: tuple[float, list[int]] = (math.inf, [])
    for levels in itertools.combinations(range(1, len(end)), n_steps):
        pairs = zip((0, *levels[:-1]), levels, strict=True)
        total = sum(cost[i, j].item() for i, j in pairs) + end[levels[-1]].item()
        best = min(best, (total, list(levels)))
    return best


def random_costs(n_levels: int, seed: int, missing: float) -> tuple[Tensor, Tensor]:
    """Costs of all forward steps, some of them not considered."""
    generator = Generator().manual_seed(seed)
    cost = torch.rand(n_levels + 1, n_levels + 1, generator=generator, dtype=torch.float64)
    holes = torch.rand(cost.shape, generator=generator) < missing
    cost = torch.where(holes | ~torch.ones_like(cost).triu(1).bool(), math.inf, cost)
    end = torch.cat([torch.tensor([math.inf]), torch.rand(n_levels, generator=generator)]).double()
    return cost, end


@given(n_levels=st.integers(1, 8), seed=seeds, missing=st.sampled_from([0.0, 0.3]), data=st.data())
def test_the_cheapest_path_is_the_cheapest_of_all(n_levels: int, seed: int, missing: float, data: st.DataObject) -> None:
    n_steps = data.draw(st.integers(1, n_levels))
    cost, end = random_costs(n_levels, seed, missing)
    total, levels = brute_force(cost, end, n_steps)
    if math.isinf(total):
        with pytest.raises(InputError, match=f"no chain of {n_steps} steps fits on {n_levels} levels"):
            cheapest_path(cost, end, n_steps)
    else:
        assert cheapest_path(cost, end, n_steps) == levels


def test_a_chain_longer_than_the_grid_does_not_fit() -> None:
    cost, end = random_costs(3, 0, 0.0)
    with pytest.raises(InputError, match="no chain of 4 steps fits on 3 levels"):
        cheapest_path(cost, end, 4)


# -------------------------------------------------------------------------------------------------------- step costs


def bits(n_steps: int = 5) -> tuple[BernoulliDiffusion, Tensor, Tensor]:
    """Two bits, mostly equal, and data in exact proportion to 1 / 1000."""
    states = all_bits(2)
    weights = torch.tensor([0.6, 0.05, 0.05, 0.3], dtype=torch.float64)
    x = states.repeat_interleave((weights * 1000).round().long(), 0)
    return BernoulliDiffusion(constant_erasure(n_steps), 0.4), weights, x


@pytest.mark.parametrize("factorised", [True, False])
def test_costs_along_a_path_add_up_to_minus_its_bound(factorised: bool) -> None:
    # the cost of every chain of levels is minus the bound of the respaced process. 200 repeats of draws that are
    # shared by all levels; 1e-6 for each of 3 chains
    q, weights, x = bits()
    kernel = ExactBernoulliKernel(q, all_bits(2), weights, factorised)
    tables = [step_costs(q, kernel, x, generator=Generator().manual_seed(seed)) for seed in range(40)]
    for levels in ([1, 2, 3, 4, 5], [2, 5], [1, 4]):
        coarse = q.with_beta(q.respaced([*levels, *([] if levels[-1] == 5 else [5])]).beta[1 : len(levels) + 1])
        truth = -(weights @ enumerated_bound(coarse, kernel.on(coarse), all_bits(2)))
        pairs = list(zip([0, *levels[:-1]], levels, strict=True))
        totals = torch.stack([sum((c[i, j] for i, j in pairs), e[levels[-1]]) for c, e in tables])
        check_mean(totals, truth, resolves=0.2)


def test_a_network_asked_once_for_each_level_tells_the_same_costs() -> None:
    # the shortcut for network kernels, and the long way round
    q, _, x = bits(4)
    torch.manual_seed(1)
    network = BernoulliDenoiser(q, ResidualMLP(2, 2, width=8, depth=1), torch.tensor([0.4, 0.4]))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)

    class Hidden(ReverseKernel):
        """The same kernel, of no known kind."""

        def __init__(self, inner: BernoulliDenoiser) -> None:
            super().__init__(inner.process)
            self.inner = inner

        def forward(self, x_t: Tensor, t: int | Tensor) -> object:  # type: ignore[override]
            return self.inner.on(self.process)(x_t, t)

    direct, _ = step_costs(q, network, x, generator=Generator().manual_seed(1))
    asked, _ = step_costs(q, Hidden(network), x, generator=Generator().manual_seed(1))
    torch.testing.assert_close(direct, asked)


def test_only_forward_steps_within_reach_have_costs() -> None:
    q, weights, x = bits(6)
    cost, end = step_costs(q, ExactBernoulliKernel(q, all_bits(2), weights), x, reach=2)
    for i, j in itertools.product(range(7), repeat=2):
        assert torch.isfinite(cost[i, j]).item() == (i < j and (i == 0 or j - i <= 2)), (i, j)
    assert torch.isfinite(end).tolist() == [False] + [True] * 6
    expected = torch.stack([q.marginal(x, j).kl(q.stationary(x.shape, x.dtype)).mean() for j in range(1, 7)])
    torch.testing.assert_close(end[1:], expected)


def test_a_kernel_with_parameters_for_each_step_cannot_be_regridded() -> None:
    q = GaussianDiffusion(geometric(6))
    with pytest.raises(ValueError, match="parameters for n_steps = 6 and cannot serve"):
        step_costs(q, PaperKernel(q, PerStepMLP(2, 4, 6)), torch.zeros(3, 2))


# ------------------------------------------------------------------------------------------- truths for what follows


class Line:
    """Numbers from a mixture of five narrow normals, and what their best normal kernels cost, by quadrature.

    With K the variance of x_0 given x_j, KL(q || p) of the step from level j to level i is, in the mean over x_0 given
    x_j, half of log(1 + (SNR_i - SNR_j) K); the first step's is half of log(2 pi e K).
    """

    means = torch.tensor([-1.5, -0.7, 0.1, 0.6, 1.5], dtype=torch.float64)
    sd = 0.1

    def __init__(self) -> None:
        any_grid = GaussianDiffusion(geometric(4))
        self.kernel = ExactGaussianMixtureKernel(any_grid, self.means.unsqueeze(1), self.sd**2, family="diagonal")
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        self.nodes, self.weights = torch.as_tensor(nodes), torch.as_tensor(weights / weights.sum()).repeat(5) / 5

    def draw(self, n: int, seed: int) -> Tensor:
        generator = Generator().manual_seed(seed)
        which = torch.randint(5, (n,), generator=generator)
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        return (self.means[which] + self.sd * noise).unsqueeze(1)

    def variance(self, snr: Tensor) -> Tensor:
        """Of x_0 at the quadrature points of sqrt(SNR) x_0 + noise."""
        total = snr * self.sd**2 + 1.0
        seen = (snr.sqrt() * self.means.unsqueeze(1) + total.sqrt() * self.nodes).flatten()
        off = seen.unsqueeze(1) - snr.sqrt() * self.means
        share = torch.softmax(-0.5 * off.square() / total, 1)
        centre = self.means + snr.sqrt() * self.sd**2 / total * off
        mean = (share * centre).sum(1, keepdim=True)
        return (share * (centre - mean).square()).sum(1) + self.sd**2 / total

    def costs(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """What :func:`step_costs` estimates for levels 1 .. T."""
        n, snr, signal = len(log_snr), log_snr.exp(), torch.sigmoid(log_snr)
        cost = torch.full((n + 1, n + 1), math.inf, dtype=torch.float64)
        for j in range(1, n + 1):
            variance = self.variance(snr[j - 1])
            cost[0, j] = 0.5 * self.weights @ (2 * math.pi * math.e * variance).log()
            for i in range(1, j):
                cost[i, j] = 0.5 * self.weights @ torch.log1p((snr[i - 1] - snr[j - 1]) * variance)
        square = self.means.square().mean() + self.sd**2
        end = 0.5 * (signal * (square - 1.0) - torch.log1p(-signal))
        return cost, torch.cat([end.new_full((1,), math.inf), end])

    def elbo(self, process: ForwardProcess) -> float:
        cost, end = self.costs(process.log_snr[1:])
        return -(cost.diagonal(1).sum() + end[-1]).item()

    def best(self, levels: Tensor, n_steps: int, *, ends: bool = False) -> float:
        """Bound of the best choice among ``levels``, of those with both ends if so asked."""
        cost, end = self.costs(levels)
        if ends:
            cost[0, 2:], end[:-1] = math.inf, math.inf
        chosen = cheapest_path(cost, end, n_steps)
        return self.elbo(GaussianDiffusion(beta_from_log_snr(levels[torch.tensor(chosen) - 1])))


@pytest.fixture(scope="module")
def line() -> Line:
    return Line()


class Heartbeat:
    """A one in every fifth of 20 bits, and the exact bound of its best factorised kernel.

    The five sequences are alike, and of an x_t only the numbers of ones at each phase count: 5^5 cases stand for 2^20.
    """

    atoms = torch.eye(5, dtype=torch.float64).repeat(1, 4)

    def __init__(self) -> None:
        counts = torch.tensor(list(itertools.product(range(5), repeat=5)))
        self.cases = torch.stack([(block < counts).double() for block in range(4)], 1).flatten(1)
        self.multiplicity = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64)[counts].prod(1)

    def elbo(self, process: ForwardProcess, kernel: ReverseKernel) -> float:
        """In bits per sequence."""
        x_0, kernel = self.atoms[:1].expand_as(self.cases), kernel.on(process)
        last = process.marginal(x_0[:1], process.n_steps)
        total = -last.kl(process.stationary((1, 20), torch.float64)).item()
        for t in range(1, process.n_steps + 1):
            weight = process.marginal(x_0, t).log_prob(self.cases).exp() * self.multiplicity
            assert weight.sum().item() == pytest.approx(1.0)
            p = kernel(self.cases, t)
            score = p.log_prob(x_0) if t == 1 else -process.posterior(x_0, self.cases, t).kl(p)
            total += (weight * torch.where(weight > 0, score, 0.0)).sum().item()
        return total / math.log(2.0)


def test_costs_are_those_by_quadrature(line: Line) -> None:
    # all costs of 5 levels at once, 1e-6 for the whole; each table has one draw of points and noise for all its costs
    q = GaussianDiffusion(geometric(5, 6.0, -2.0))
    tables = [
        step_costs(q, line.kernel, line.draw(1000, seed), generator=Generator().manual_seed(seed))[0] for seed in range(20)
    ]
    truth, _ = line.costs(q.log_snr[1:])
    inside = torch.isfinite(truth)
    check_mean(torch.stack([table[inside] for table in tables]), truth[inside], resolves=0.1)


# ---------------------------------------------------------------------------------------------------- optimal_schedule


@pytest.mark.parametrize("start", [linear(6, 0.01, 0.9), geometric(6, 6.0, -6.0)], ids=["linear", "geometric"])
def test_regridding_reaches_the_best_choice_of_its_levels(line: Line, start: Tensor) -> None:
    # from 3000 points; over 16 seeds the choice lay 0 to 0.0066 nats below the best, so 0.015 is 5 of their deviations
    q = GaussianDiffusion(start)
    chosen = optimal_schedule(q, line.kernel, line.draw(3000, 0), 6, n_levels=30, generator=Generator().manual_seed(1))
    assert isinstance(chosen, GaussianDiffusion)
    best = line.best(torch.linspace(q.log_snr[1].item() + 1.0, q.log_snr[-1].item(), 30, dtype=torch.float64), 6)
    assert best - 0.015 < line.elbo(chosen) < best + 1e-9
    assert line.elbo(chosen) > line.elbo(q) + 0.13  # the best is 0.15 above geometric and 0.25 above linear


def test_regridding_an_arc_gains_on_fresh_points() -> None:
    # a full covariance in two dimensions; 0.145 nats, seen to 0.05 and held to it with a false alarm of 1e-6. The same
    # noise for both chains: without that, the error is three times as large
    angle = torch.linspace(0, 4.5, 24, dtype=torch.float64)
    means = 1.4 * torch.stack([angle.cos(), angle.sin()], 1)
    start, generator = GaussianDiffusion(linear(8, 0.01, 0.9)), Generator().manual_seed(0)
    kernel = ExactGaussianMixtureKernel(start, means, 0.01, family="full")

    def draw(n: int) -> Tensor:
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return means[torch.randint(24, (n,), generator=generator)] + 0.1 * noise

    chosen, fresh = optimal_schedule(start, kernel, draw(400), 8, n_levels=24, generator=generator), draw(6000)
    after, before = (elbo(q, kernel, fresh, generator=Generator().manual_seed(5)).total for q in (chosen, start))
    check_mean(after - before, 0.145, resolves=0.08)


def test_regridding_the_heartbeat_by_all_its_states() -> None:
    # for which the paper has no way to learn a schedule. Equal erasure has -2.5813 bits, the best grid of equal information
    # -2.5594, the best that erases all -2.542. (Not to erase all saves a step here: pi has the right rate for every bit.)
    beat, start = Heartbeat(), BernoulliDiffusion(constant_erasure(20), 0.2)
    kernel = ExactBernoulliKernel(start, beat.atoms, factorised=True)
    assert beat.elbo(start, kernel) == pytest.approx(-2.5813, abs=5e-5)
    rows = beat.atoms.repeat(200, 1)
    chosen = optimal_schedule(start, kernel, rows, 20, n_levels=60, generator=Generator().manual_seed(0))
    assert -2.5594 < beat.elbo(chosen, kernel) < -2.535


@pytest.mark.parametrize("beta", [constant_erasure(6).tolist(), [0.02, 0.02, 0.02, 0.02, 0.9, 1.0]], ids=["even", "poor"])
def test_regridding_bits_by_enumeration(beta: list[float]) -> None:
    # gains of 0.06 from equal erasure and 0.4 from the poor start: both come to within 0.015 of the best of all grids
    states, weights = all_bits(4), random_weights(16, seed=3, spread=2.5)
    start = BernoulliDiffusion(torch.tensor(beta, dtype=torch.float64), 0.5)
    kernel = ExactBernoulliKernel(start, states, weights, factorised=True)
    x = states.repeat_interleave((3000 * weights).round().long(), 0)

    def bound(q: ForwardProcess) -> float:
        return (weights @ enumerated_bound(q, kernel.on(q), states)).item()

    chosen = optimal_schedule(start, kernel, x, 6, n_levels=24, generator=Generator().manual_seed(1))
    assert isinstance(chosen, BernoulliDiffusion)
    assert -1.8 < bound(chosen) < -1.785  # dynamic programming on 60 levels with summed costs: -1.7851
    assert bound(start) < -1.8498 + 1e-4


def test_no_level_lies_outside_of_the_range_of_the_start() -> None:
    # steps 3.9 .. 2.8 and then all at once: within 4.9 .. 1.8 no choice is a good one
    start = BernoulliDiffusion(torch.tensor([0.02, 0.02, 0.02, 1.0], dtype=torch.float64), 0.4)
    _, weights, x = bits()
    chosen = optimal_schedule(start, ExactBernoulliKernel(start, all_bits(2), weights, factorised=True), x, 4, n_levels=12)
    inside = chosen.log_snr[1:-1]
    assert start.log_snr[1] + 1.0 >= inside.max()
    assert inside.min() >= start.log_snr[-2] - 1.0
    assert inside.min() < start.log_snr[-2]  # the unit to spare is used
    with pytest.raises(InputError, match="erases all in one step gives no range"):
        optimal_schedule(start.with_beta(torch.ones(1)), ExactBernoulliKernel(start, all_bits(2), weights), x, 4)


def test_regridding_repeats_with_its_generator() -> None:
    q, weights, x = bits()
    kernel = ExactBernoulliKernel(q, all_bits(2), weights)
    a, b = (optimal_schedule(q, kernel, x, 3, n_levels=8, generator=Generator().manual_seed(1)) for _ in "ab")
    assert torch.equal(a.beta, b.beta)


def test_no_more_steps_than_levels() -> None:
    q, weights, x = bits()
    with pytest.raises(InputError, match="n_levels must be at least n_steps = 9, got 8"):
        optimal_schedule(q, ExactBernoulliKernel(q, all_bits(2), weights), x, 9, n_levels=8)


# ---------------------------------------------------------------------------------------------------- learn_schedule


@pytest.mark.parametrize("fix_beta_1", [True, False])
def test_gradient_ascent_finds_what_dynamic_programming_finds(line: Line, fix_beta_1: bool) -> None:
    # the ends stay (the first may move, which is worth 3e-5 here), so the best choice between them is the limit. Over
    # 4 seeds each the gradient ended 0.001 to 0.005 nats below it, deviation 0.0015: 0.012 is 5 of them above the mean
    start = GaussianDiffusion(linear(6, 0.01, 0.9))
    learned = learn_schedule(
        start, line.kernel, line.draw(2000, 0), n_iterations=100, batch_size=128, learning_rate=0.05,
        fix_beta_1=fix_beta_1, generator=Generator().manual_seed(0),
    )  # fmt: skip
    assert learned.n_steps == 6
    assert not learned.beta.requires_grad
    first, last = start.log_snr[1].item(), start.log_snr[-1].item()
    best = line.best(torch.linspace(first, last, 80, dtype=torch.float64), 6, ends=True)
    assert best - 0.012 < line.elbo(learned) < best + 1e-3
    assert line.elbo(learned) > line.elbo(start) + 0.2
    same_start = learned.beta[1].item() == pytest.approx(start.beta[1].item(), rel=1e-9)
    assert same_start == fix_beta_1
    # the last level stays, whatever moves before it
    assert learned.log_snr[-1].item() == pytest.approx(last, rel=1e-9)


def test_without_an_iteration_nothing_changes() -> None:
    q = GaussianDiffusion(linear(6, 0.01, 0.9))
    kernel = ExactGaussianData(q, torch.zeros(2), torch.eye(2))
    same = learn_schedule(q, kernel, torch.zeros(4, 2), n_iterations=0, generator=Generator())
    torch.testing.assert_close(same.beta, q.beta, rtol=1e-9, atol=1e-12)


def test_frozen_noise_is_one_function_that_only_rises(line: Line) -> None:
    # with one draw for all iterations, a small step along the gradient cannot lower the bound of that draw
    seen: list[float] = []
    learn_schedule(
        GaussianDiffusion(linear(6, 0.01, 0.9)), line.kernel, line.draw(400, 0), n_iterations=12, batch_size=64,
        learning_rate=0.01, fresh_noise=False, generator=Generator().manual_seed(0), on_iteration=seen.append,
    )  # fmt: skip
    assert len(seen) == 12
    assert all(b > a for a, b in itertools.pairwise(seen)), seen


def test_learning_a_schedule_leaves_the_kernel_alone() -> None:
    q = GaussianDiffusion(geometric(4))
    kernel = GaussianDenoiser(q, ResidualMLP(2, 4, width=8, depth=1), 2)
    frozen = next(kernel.parameters()).requires_grad_(False)
    before = [p.clone() for p in kernel.parameters()]
    learn_schedule(q, kernel, torch.zeros(8, 2), n_iterations=2, batch_size=4, generator=Generator())
    for parameter, old in zip(kernel.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None
        assert parameter.requires_grad == (parameter is not frozen)


def test_random_odds_are_not_symmetric() -> None:
    # what the oracles above lean on: other kernels cost more than the best product
    q, weights, x = bits()
    best, _ = step_costs(q, ExactBernoulliKernel(q, all_bits(2), weights, factorised=True), x)
    assert torch.isfinite(best[0, 1:]).all()
    worse = weights @ enumerated_bound(q, RandomBits(q, 2), all_bits(2))
    right = weights @ enumerated_bound(q, ExactBernoulliKernel(q, all_bits(2), weights, factorised=True), all_bits(2))
    assert worse < right
