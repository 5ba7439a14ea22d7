"""Hypothesis strategies: rates, steps, both families of processes, and states on their paths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Generator, Tensor

from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion

__all__ = ["Walk", "binomial_diffusions", "diffusions", "events", "gaussian_diffusions", "rates", "seeds", "walks"]

seeds = st.integers(0, 2**32 - 1)
# as small as the steps of long chains are, and up to nearly total erasure
_rate = st.floats(1e-4, 0.999)


@st.composite
def rates(draw: st.DrawFn, min_steps: int = 2, max_steps: int = 8, total_erasure: bool = False) -> Tensor:
    """beta_1 .. beta_T, float64; with ``total_erasure`` the last one may be one."""
    beta = draw(st.lists(_rate, min_size=min_steps, max_size=max_steps))
    if total_erasure and draw(st.booleans()):
        beta[-1] = 1.0
    return torch.tensor(beta, dtype=torch.float64)


def events() -> st.SearchStrategy[tuple[int, ...]]:
    """Event shapes: vectors and small pictures."""
    return st.sampled_from([(1,), (3,), (2, 2), (1, 2, 3)])


def gaussian_diffusions(max_steps: int = 8) -> st.SearchStrategy[GaussianDiffusion]:
    """Gaussian processes with any rates."""
    return rates(max_steps=max_steps).map(GaussianDiffusion)


@st.composite
def binomial_diffusions(
    draw: st.DrawFn, max_steps: int = 8, event: tuple[int, ...] | None = None, total_erasure: bool = True
) -> BernoulliDiffusion:
    """Binomial processes with any rates and one rho, or one for each bit where the event is given."""
    beta = draw(rates(max_steps=max_steps, total_erasure=total_erasure))
    rho = draw(st.floats(0.02, 0.98))
    if event is None or draw(st.booleans()):
        return BernoulliDiffusion(beta, rho)
    per_bit = 0.02 + 0.96 * torch.rand(event, generator=Generator().manual_seed(draw(seeds)), dtype=torch.float64)
    return BernoulliDiffusion(beta, per_bit)


@st.composite
def diffusions(draw: st.DrawFn, event: tuple[int, ...] | None = None, max_steps: int = 8) -> ForwardProcess:
    """Either family."""
    family: st.SearchStrategy[ForwardProcess] = st.one_of(
        gaussian_diffusions(max_steps), binomial_diffusions(max_steps, event)
    )
    return draw(family)


class Walk(NamedTuple):
    """Neighbouring states on paths of a process: data, x_{t-1} and x_t, with t."""

    process: ForwardProcess
    x_0: Tensor
    x_prev: Tensor
    x_t: Tensor
    t: int


@st.composite
def walks(draw: st.DrawFn, batch: int = 5, first: int = 2) -> Walk:
    """A process of either family with possible states at t-1 and t, float64, t >= first."""
    event = draw(events())
    process = draw(diffusions(event))
    t = draw(st.integers(first, process.n_steps))
    generator = Generator().manual_seed(draw(seeds))
    x_0 = torch.randn(batch, *event, generator=generator, dtype=torch.float64)
    if isinstance(process, BernoulliDiffusion):
        x_0 = (x_0 > 0).double()
    x_prev = process.marginal(x_0, t - 1).sample(generator)
    return Walk(process, x_0, x_prev, process.step(x_prev, t).sample(generator), t)
