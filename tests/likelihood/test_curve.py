"""The learned log-SNR curve: it falls, it leaves the bound of many steps alone, and it evens out what draws of t see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.estimate import paired_difference
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.curve import even_steps, learn_curve
from quasistatic.likelihood.estimators import TimestepSampler, learned_sampler
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.likelihood.scores import step_log_ratio
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import GaussianDenoiser, ReverseKernel
from quasistatic.schedules import beta_from_log_snr, geometric, linear

# two narrow peaks on a line: known exactly, and no Gaussian
ATOMS, VAR = torch.tensor([[-1.0], [1.0]], dtype=torch.float64), 0.01


def draw(n: int, seed: int) -> Tensor:
    g = Generator().manual_seed(seed)
    at = ATOMS[torch.randint(2, (n,), generator=g)]
    return at + math.sqrt(VAR) * torch.randn(n, 1, generator=g, dtype=torch.float64)


def exact(process: GaussianDiffusion) -> ReverseKernel:
    """The best Gaussian kernel for it, at any number of steps."""
    return ExactGaussianMixtureKernel(process, ATOMS, VAR, family="diagonal")


def evened(process: GaussianDiffusion) -> GaussianDiffusion:
    generator = Generator().manual_seed(0)
    return even_steps(process, learned_sampler(process, exact(process), draw(2000, 1), generator=generator))


@given(n_steps=st.integers(2, 100), n_bins=st.integers(1, 64), seed=st.integers(0, 2**20), spread=st.floats(0.0, 6.0))
def test_whatever_was_lost_the_curve_falls_strictly_between_the_same_ends(n_steps, n_bins, seed, spread):
    g = Generator().manual_seed(seed)
    levels = torch.cumsum(-0.01 - torch.rand(n_steps, generator=g, dtype=torch.float64), 0) + 5.0
    q, sampler = GaussianDiffusion(beta_from_log_snr(levels)), TimestepSampler(n_steps, n_bins=n_bins)
    t = torch.arange(2, n_steps + 1)
    sampler.record(t, torch.exp(spread * torch.randn(n_steps - 1, generator=g)))
    curve = even_steps(q, sampler).log_snr[1:]
    assert (curve.diff() < 0).all()
    torch.testing.assert_close(curve[[0, -1]], levels[[0, -1]], rtol=1e-9, atol=1e-9)
    # what the sampler gives to the steps above a level is what the new curve's steps above it are of all
    reached = torch.cat([torch.zeros(1, dtype=torch.float64), sampler.p.cumsum(0)]).numpy()
    share = np.interp(-curve.numpy(), -levels.numpy(), reached)
    np.testing.assert_allclose(share, np.linspace(0, 1, n_steps), atol=1e-6)


def test_in_the_limit_of_many_steps_the_shape_does_not_change_the_bound_but_at_few_it_does():
    gaps = {}
    for n_steps, n in ((20, 12_000), (1000, 200)):
        start, x = GaussianDiffusion(geometric(n_steps, 14.0, -10.0)), draw(n, 2)
        bounds = [
            elbo(q, exact(q), x, generator=Generator().manual_seed(3), method="trajectory").total
            for q in (start, evened(start))
        ]
        gaps[n_steps] = paired_difference(bounds[1], bounds[0])
    # Whole paths under the best kernels: all that is lost is that they are Gaussian, which falls as 1 / T. Two-sided at
    # 4.5 standard errors around a hundredth of a nat, false alarm 7e-6.
    assert abs(gaps[1000].value) < 0.01 + 4.5 * gaps[1000].standard_error
    assert gaps[1000].standard_error < 0.005
    assert gaps[20].value > 4.5 * gaps[20].standard_error


def losses(q: GaussianDiffusion, n: int, generator: Generator) -> Tensor:
    """KL of each step under the exact kernel at fresh draws, (T - 1, n)."""
    each = []
    for t in range(2, q.n_steps + 1):
        x_0 = draw(n, 100 + t)
        x_t = q.marginal(x_0, t).sample(generator)
        each.append(-step_log_ratio(q.posterior(x_0, x_t, t), exact(q)(x_t, t)))
    return torch.stack(each)


def square_of_a_draw(loss: Tensor, p: Tensor) -> float:
    """Mean square of L_t / p(t), t drawn by p; its mean is the same for all p."""
    return (loss.square().mean(1) / p).sum().item()


def test_uniform_draws_on_the_evened_curve_vary_as_draws_by_importance_do_and_far_less_than_on_the_start():
    generator = Generator().manual_seed(4)
    start = GaussianDiffusion(linear(400, geometric(400, 8.0)[0].item(), 0.05))
    sampler = learned_sampler(start, exact(start), draw(2000, 1), generator=generator)
    uniform = torch.full((399,), 1.0 / 399, dtype=torch.float64)
    before, after = losses(start, 400, generator), losses(even_steps(start, sampler), 400, generator)
    by_chance, by_importance = square_of_a_draw(before, uniform), square_of_a_draw(before, sampler.p)
    on_even = square_of_a_draw(after, uniform)
    rms = after.square().mean(1).sqrt()
    # Seen: 281, 34 and 36, of which 6 is the square of the mean, and 24 for the best draws that there can be on the new
    # curve. Each is a mean over 160,000 losses; the factors leave no room for chance.
    assert by_chance > 5 * by_importance
    assert 0.7 < on_even / by_importance < 1.3
    assert on_even < 2 * square_of_a_draw(after, rms / rms.sum())


def test_learned_ends_lose_what_wrong_ends_cost_and_the_kernel_stays_as_it_was():
    torch.manual_seed(0)
    x, test = draw(2000, 5).float(), draw(2000, 6)
    # a start that leaves half of the noise to the first step, which cannot tell: the deviation is 0.1
    start = GaussianDiffusion(geometric(60, 2.0, -1.0))
    kernel = GaussianDenoiser(start, ResidualMLP(1, 2, 32, 1), 1)
    _fit(kernel, x)
    weights = [p.clone() for p in kernel.parameters()]
    curve = learn_curve(start, kernel, x, n_iterations=60, generator=Generator().manual_seed(7))
    assert all(torch.equal(a, b) for a, b in zip(weights, kernel.parameters(), strict=True))
    assert all(p.requires_grad and p.grad is None for p in kernel.parameters())
    assert curve.n_steps == 60
    assert not curve.beta.requires_grad
    assert curve.log_snr[-1] < start.log_snr[-1] - 0.5
    with torch.no_grad():
        bounds = [elbo(q, kernel, test, generator=Generator().manual_seed(8)).total for q in (start, curve)]
    gain = paired_difference(bounds[1], bounds[0])
    assert gain.value > 0.02 + 4.5 * gain.standard_error  # false alarm 3e-6


def _fit(kernel: GaussianDenoiser, x: Tensor) -> None:
    """Train the kernel over a far wider range of levels than that of its chain."""
    wide = GaussianDiffusion(geometric(60, 9.0, -6.0))
    optimiser = torch.optim.Adam(kernel.parameters(), lr=3e-3)
    generator, other = Generator().manual_seed(0), kernel.on(wide)
    for _ in range(200):
        rows = x[torch.randint(len(x), (128,), generator=generator)]
        t = torch.randint(2, 61, (128,), generator=generator)
        x_t = wide.marginal(rows, t).sample(generator)
        loss = wide.posterior(rows, x_t, t).kl(other(x_t, t)).mean() * 59
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    optimiser.zero_grad()


def test_a_sampler_of_another_chain_is_refused():
    with pytest.raises(InputError, match="the sampler has 7 steps, but the process has 8: they must be equal"):
        even_steps(GaussianDiffusion(geometric(8)), TimestepSampler(7))
