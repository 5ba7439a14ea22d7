"""What all kernels promise: the grid they stand on, the time they ask for, and the paper's first step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Generator, Tensor, nn

from oracles import RandomBits, all_bits, reverse_matrix, roughen
from quasistatic.distributions import Bernoulli, Gaussian
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.networks import NormalisedRBF, PerStepMLP, ResidualMLP
from quasistatic.reverse import (
    BernoulliDenoiser,
    FixedFirstStep,
    GaussianDenoiser,
    NetworkKernel,
    PaperKernel,
)
from quasistatic.schedules import constant_erasure, geometric
from strategies import diffusions, gaussian_diffusions, seeds

FINE, COARSE = GaussianDiffusion(geometric(8)), GaussianDiffusion(geometric(4))


def denoiser(process: GaussianDiffusion = FINE) -> GaussianDenoiser:
    return GaussianDenoiser(process, roughen(ResidualMLP(2, 4, width=8, depth=1)), 2)


# ------------------------------------------------------------------------------------------------------------- grids


def test_another_grid_shares_all_parameters_and_leaves_this_one() -> None:
    kernel = denoiser()
    other = kernel.on(COARSE)
    assert type(other) is GaussianDenoiser
    assert other.process is COARSE
    assert kernel.process is FINE
    assert all(a is b for a, b in zip(kernel.parameters(), other.parameters(), strict=True))


def test_training_on_another_grid_trains_this_kernel() -> None:
    kernel = denoiser()
    kernel.on(COARSE)(torch.ones(3, 2), 2).mean.sum().backward()  # type: ignore[attr-defined]
    gradient = kernel.network.last.weight.grad  # type: ignore[union-attr]
    assert isinstance(gradient, Tensor)
    assert gradient.abs().max().item() > 0


def test_a_kernel_on_its_own_grid_is_itself() -> None:
    kernel = denoiser()
    assert kernel.on(FINE) is kernel


def test_what_the_network_says_of_the_data_depends_on_the_noise_not_on_the_count_of_steps() -> None:
    # the law of x_0 itself is the kernel's one step from level t to the data
    kernel, x = denoiser(), torch.randn(5, 2)
    for t in (2, 5):
        at_once = GaussianDiffusion(1 - FINE.alpha_bar[t].reshape(1))
        kept = FINE.respaced([t, 8])
        a, b = kernel.on(at_once)(x, 1), kernel.on(kept)(x, 1)
        assert isinstance(a, Gaussian)
        assert isinstance(b, Gaussian)
        torch.testing.assert_close(a.mean, b.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.var, b.var, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("network", [PerStepMLP(2, 4, 8), NormalisedRBF(2, 4, 8), PerStepMLP(2, 4, 8, readout="bumps")])
def test_parameters_for_each_step_serve_that_number_of_steps_only(network: nn.Module) -> None:
    kernel = PaperKernel(FINE, network)
    with pytest.raises(ValueError, match="parameters for n_steps = 8 and cannot serve 4 steps"):
        kernel.on(COARSE)
    other = GaussianDiffusion(geometric(8, 5.0, -5.0))  # other rates, as many steps
    assert kernel.on(other).process is other


def test_a_refusal_reaches_through_the_papers_first_step() -> None:
    kernel = FixedFirstStep(PaperKernel(FINE, PerStepMLP(2, 4, 8)), FINE)
    with pytest.raises(ValueError, match="cannot serve 4 steps"):
        kernel.on(COARSE)


# ------------------------------------------------------------------------------------------------------------ clocks


class Asked(nn.Module):
    """Remembers what it was asked, and answers with zeros."""

    def __init__(self, clock: str, n_out: int = 4) -> None:
        super().__init__()
        self.clock, self.n_out = clock, n_out
        self.weight = nn.Parameter(torch.zeros(()))
        self.x = self.time = torch.empty(0)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.x, self.time = x, time
        return self.weight * x.new_zeros(len(x), self.n_out)


@pytest.mark.parametrize("t", [3, torch.tensor([3, 3, 3])])
def test_networks_are_told_the_time_of_their_clock(t: int | Tensor) -> None:
    for clock in ("step", "log_snr"):
        network = Asked(clock)
        GaussianDenoiser(FINE, network, 2)(torch.zeros(3, 2), t)
        expected = 3.0 if clock == "step" else FINE.log_snr[3].item()
        assert network.time.tolist() == pytest.approx([expected] * 3)


def test_each_row_has_its_own_time() -> None:
    network = Asked("log_snr")
    GaussianDenoiser(FINE, network, 2)(torch.zeros(3, 2), torch.tensor([1, 8, 4]))
    assert network.time.tolist() == pytest.approx(FINE.log_snr[[1, 8, 4]].tolist())


def test_a_network_of_less_precision_stands_in_arithmetic_of_more() -> None:
    network = Asked("log_snr")
    p = GaussianDenoiser(FINE, network, 2)(torch.zeros(3, 2, dtype=torch.float64), 2)
    assert isinstance(p, Gaussian)
    assert (network.x.dtype, network.time.dtype) == (torch.float32, torch.float32)
    assert (p.mean.dtype, p.var.dtype) == (torch.float64, torch.float64)


# -------------------------------------------------------------------------------------------- all families in a list


def families() -> dict[str, tuple[NetworkKernel, Tensor]]:
    """Every kernel with a network, roughened, and states for it."""
    torch.manual_seed(0)
    bits = BernoulliDiffusion(constant_erasure(8), 0.3)
    real, binary = torch.randn(6, 2, dtype=torch.float64), (torch.randn(6, 3) > 0).double()
    out: dict[str, tuple[NetworkKernel, Tensor]] = {}
    for covariance in ("diagonal", "full"):
        for m in (1, 3):
            n_out = GaussianDenoiser.n_outputs(2, covariance, m)
            net = roughen(ResidualMLP(2, n_out, width=8, depth=1))
            out[f"{covariance} {m}"] = GaussianDenoiser(FINE, net, 2, covariance, m), real
    for m in (1, 3):
        net = roughen(ResidualMLP(3, BernoulliDenoiser.n_outputs(3, m), width=8, depth=1))
        out[f"bits {m}"] = BernoulliDenoiser(bits, net, torch.tensor([0.2, 0.5, 0.7]), m), binary
    for mean in ("released", "equation"):
        out[f"paper, {mean}"] = PaperKernel(FINE, roughen(NormalisedRBF(2, 4, 8)), mean), real
    return {name: (kernel.double().requires_grad_(False), x) for name, (kernel, x) in out.items()}


FAMILIES = list(families())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("t", [1, 2, 8])
def test_an_int_and_a_tensor_of_it_mean_the_same(name: str, t: int) -> None:
    kernel, x = families()[name]
    y = (x + 0.3 * torch.randn(x.shape)).round() if "bits" in name else x + 0.1
    y = y.clamp(0, 1) if "bits" in name else y
    a, b = kernel(x, t).log_prob(y), kernel(x, torch.full((6,), t)).log_prob(y)
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_do_not_see_each_other(name: str) -> None:
    kernel, x = families()[name]
    t = torch.tensor([1, 2, 3, 5, 8, 8])
    whole = kernel(x, t).log_prob(x)
    parts = torch.cat([kernel(x[i : i + 1], t[i : i + 1]).log_prob(x[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(whole, parts, rtol=1e-8, atol=1e-8)
    rows = kernel(x, t)[2:5].log_prob(x[2:5])
    torch.testing.assert_close(rows, whole[2:5])


@pytest.mark.parametrize("name", FAMILIES)
def test_asking_and_reading_out_are_the_call(name: str) -> None:
    kernel, x = families()[name]
    together = kernel(x, 3).log_prob(x)
    torch.testing.assert_close(kernel.distribution(kernel.evaluate_network(x, 3), x, 3).log_prob(x), together)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("t", [1, 4])
def test_every_kernel_is_normalised(name: str, t: int) -> None:
    kernel, x = families()[name]
    if "bits" in name:
        states = all_bits(3)
        total = reverse_matrix(kernel, states, t).sum(1)
        torch.testing.assert_close(total, torch.ones(8, dtype=torch.float64))
        return
    # the rectangle rule over a plane, centred on draws of the law, which may be narrow
    one = x[:1]
    draws = kernel(one.expand(3000, 2), t).sample(Generator().manual_seed(0))
    centre, spread = draws.mean(0), draws.std(0)
    line = torch.linspace(-12, 12, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line) * spread + centre
    p = kernel(one.expand(len(grid), 2), t).log_prob(grid).exp()
    assert (p.sum() * 0.01 * spread.prod()).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_network_is_heard(name: str) -> None:
    # another network, another law
    kernel, x = families()[name]
    before = kernel(x, 3).log_prob(x)
    roughen(kernel.network, seed=5)
    assert (kernel(x, 3).log_prob(x) - before).abs().min().item() > 1e-4


# --------------------------------------------------------------------------------------------- the paper's first step


@given(q=diffusions(event=(2,)), seed=seeds)
def test_the_first_step_is_the_forward_one_run_backwards(q: ForwardProcess, seed: int) -> None:
    # p(x_0 | x_1) = q(x_1 | x_0) pi(x_0) / pi(x_1)
    x_0, x_1 = torch.randn(2, 5, 2, generator=Generator().manual_seed(seed), dtype=torch.float64)
    if isinstance(q, BernoulliDiffusion):
        x_0, x_1 = (x_0 > 0).double(), (x_1 > 0).double()
    inner = RandomBits(q, 2) if isinstance(q, BernoulliDiffusion) else denoiser(FINE)
    kernel = FixedFirstStep(inner, q)
    pi = q.stationary(x_0.shape, x_0.dtype)
    expected = q.marginal(x_0, 1).log_prob(x_1) + pi.log_prob(x_0) - pi.log_prob(x_1)
    for t in (1, torch.ones(5, dtype=torch.long)):
        torch.testing.assert_close(kernel(x_1, t).log_prob(x_0), expected, rtol=1e-8, atol=1e-8)


def test_all_other_steps_are_the_kernels_own() -> None:
    inner = denoiser()
    kernel, x = FixedFirstStep(inner, FINE), torch.randn(3, 2)
    for t in (2, 8, torch.tensor([2, 5, 8])):
        assert torch.equal(kernel(x, t).log_prob(x), inner(x, t).log_prob(x))
    assert (kernel.first_step, inner.first_step) == ("fixed", "learned")


def test_the_first_step_follows_the_grid() -> None:
    kernel, x = FixedFirstStep(denoiser(), FINE), torch.randn(3, 2)
    moved = kernel.on(COARSE)
    assert torch.equal(moved(x, 1).log_prob(x), COARSE.step(x, 1).log_prob(x))
    assert torch.equal(moved(x, 3).log_prob(x), denoiser(COARSE)(x, 3).log_prob(x))
    assert moved.first_step == "fixed"
    assert all(a is b for a, b in zip(kernel.parameters(), moved.parameters(), strict=True))


def test_the_first_step_holds_nothing_to_learn() -> None:
    kernel = FixedFirstStep(denoiser(), FINE)
    assert not kernel(torch.zeros(3, 2), 1).log_prob(torch.zeros(3, 2)).requires_grad


def test_first_steps_do_not_mix_with_others_in_a_batch() -> None:
    kernel = FixedFirstStep(denoiser(), FINE)
    with pytest.raises(ValueError, match="must not mix t = 1 with other steps"):
        kernel(torch.zeros(2, 2), torch.tensor([1, 2]))


# --------------------------------------------------------------------------------- zero networks for any schedule


@given(q=gaussian_diffusions())
def test_laws_of_zero_networks_have_the_noises_moments_left(q: GaussianDiffusion) -> None:
    # white data stays white: mean^2 + var of the last step back from unit noise is one
    kernel = GaussianDenoiser(q, ResidualMLP(1, 2, width=4, depth=1), 1)
    one = torch.ones(1, 1, dtype=torch.float64)
    for t in range(1, q.n_steps + 1):
        p = kernel(one, t)
        assert isinstance(p, Gaussian)
        assert (p.mean.square() + p.var).item() == pytest.approx(1.0, abs=1e-9)


def test_a_zero_network_of_bits_is_a_law_of_bits() -> None:
    q = BernoulliDiffusion(constant_erasure(5), 0.5)
    kernel = BernoulliDenoiser(q, ResidualMLP(3, 3, width=4, depth=1), torch.tensor([0.2, 0.5, 0.9]))
    p = kernel(all_bits(3), 2)
    assert isinstance(p, Bernoulli)
    assert ((p.probs > 0) & (p.probs < 1)).all()
