r"""Which steps to visit when not all can be: unbiased estimates of the sum over t.

The sum :math:`\sum_{t=2}^T L_t` is estimated from draws of t by :math:`L_t / p(t)`. Draws are stratified (one in each
of n equal slices of the distribution) and p follows the running root mean square of the losses, which is the choice
of least variance: 1.6 times less than uniform t on a geometric schedule, tens of times less on a linear one. The
t = 1 term is another kind of number (a log likelihood, not a KL) and is always visited on its own.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.bound import Bound, elbo, stacked_rows, step_log_ratio
from quasistatic.random import uniform
from quasistatic.reverse import ReverseKernel

__all__ = ["TimestepSampler", "estimate_elbo", "learned_sampler"]


class TimestepSampler:
    """Stratified draws of t = 2..T, by importance once losses have been seen.

    Steps are pooled into at most ``n_bins`` neighbouring groups that share a probability, so that a chain of thousands
    of steps is learned as fast as one of tens.

    Parameters
    ----------
    n_steps : int
        T, at least 2.
    importance : bool
        False keeps the draws uniform (and stratified).
    uniform_share : float
        Part of the probability that stays uniform, which bounds every weight.
    """

    def __init__(
        self,
        n_steps: int,
        *,
        importance: bool = True,
        n_bins: int = 64,
        uniform_share: float = 0.1,
        memory: float = 0.95,
    ) -> None:
        if n_steps < 2:
            raise ValueError(f"there are no transitions to draw with n_steps = {n_steps}; it must be at least 2")
        self.n_steps, self.importance, self.uniform_share, self.memory = n_steps, importance, uniform_share, memory
        n_bins = min(n_bins, n_steps - 1)
        steps = torch.arange(n_steps - 1, dtype=torch.float64)
        self.bin_of = (steps * n_bins / (n_steps - 1)).long()  # by t - 2
        self.bin_size = torch.bincount(self.bin_of, minlength=n_bins).double()
        self.square = torch.zeros(n_bins, dtype=torch.float64)  # running mean square loss, 0 = not yet seen
        self._sums = torch.zeros(2, n_bins, dtype=torch.float64)
        self._recorded: list[tuple[Tensor, Tensor]] = []  # not yet in the sums: one large sum costs less than many
        self._ranks = torch.zeros(0, dtype=torch.float64)
        self._refresh()

    def _refresh(self) -> None:
        rms = self.square.sqrt()
        seen = self.square > 0
        if self.importance and seen.all():
            learned = rms / (rms * self.bin_size).sum()
            p = self.uniform_share / (self.n_steps - 1) + (1.0 - self.uniform_share) * learned
        else:
            p = torch.full_like(rms, 1.0 / (self.n_steps - 1))
        self.p = p[self.bin_of]  # probability of each t, at t - 2
        self._weight = 1.0 / self.p
        self._cdf = self.p.cumsum(0)
        self._cdf /= self._cdf[-1].clone()  # so that it ends at 1 exactly

    def draw(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n steps, sorted, and their weights 1 / p(t): ((n,) int64, (n,) float64)."""
        if len(self._ranks) != n:
            self._ranks = torch.arange(n, dtype=torch.float64)
        u = uniform((n,), generator, like=self._ranks).add_(self._ranks).div_(n)
        at = torch.searchsorted(self._cdf, u)
        return at + 2, self._weight.index_select(0, at)

    def record(self, t: Tensor, loss: Tensor, *, refresh: bool = True) -> None:
        """Learn from losses seen at steps t (both (n,))."""
        self._recorded.append((t, loss.detach()))
        if refresh:
            self.refresh()

    def refresh(self) -> None:
        """Take what was recorded into the probabilities."""
        self._sum_up()
        total, count = self._sums
        fresh = total / count.clamp_min(1.0)
        mixed = torch.where(self.square > 0, torch.lerp(fresh, self.square, self.memory), fresh)
        self.square = torch.where(count > 0, mixed, self.square)
        self._sums.zero_()
        self._refresh()

    def _sum_up(self) -> None:
        if self._recorded:
            t, loss = (torch.cat(each).cpu() for each in zip(*self._recorded, strict=True))
            place, loss = self.bin_of[t - 2], loss.double()
            self._sums[0].index_add_(0, place, loss.square())
            self._sums[1].index_add_(0, place, torch.ones_like(loss))
            self._recorded.clear()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        self._sum_up()
        return {"square": self.square.clone(), "sums": self._sums.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        self.square, self._sums = state["square"].clone(), state["sums"].clone()
        self._recorded.clear()
        self._refresh()


def estimate_elbo(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_timesteps: int,
    sampler: TimestepSampler | None = None,
    generator: Generator | None = None,
) -> Bound:
    """Unbiased estimate of the bound of each example from ``n_timesteps`` of its transitions.

    The terminal and the t = 1 term are always there; ``transitions`` has one column, the estimate of their sum. Steps
    are stratified over all examples together and drawn with the probabilities of ``sampler``, uniform without one.
    Where the budget covers the whole chain, the whole chain is evaluated.
    """
    n = len(x_0)
    if n_timesteps >= process.n_steps - 1:
        # what is scored at draws varies far less along whole paths
        method = "trajectory" if getattr(kernel, "n_components", 1) > 1 else "marginal"
        return elbo(process, kernel, x_0, generator=generator, method=method)
    kernel = kernel.on(process) if isinstance(kernel, ReverseKernel) else kernel
    sampler = sampler or TimestepSampler(process.n_steps, importance=False)
    terminal = -process.marginal(x_0, process.n_steps).kl(process.stationary(x_0.shape, x_0.dtype))
    chunks = [slice(start, start + stacked_rows(x_0)) for start in range(0, n, stacked_rows(x_0))]
    x_1 = process.marginal(x_0, 1).sample(generator)
    one = torch.ones(n, dtype=torch.long, device=x_0.device)
    data = torch.cat([kernel(x_1[rows], one[rows]).log_prob(x_0[rows]) for rows in chunks])
    total = torch.zeros_like(data)
    for _ in range(max(1, n_timesteps)):
        t, weight = sampler.draw(n, generator)
        mixed = torch.randperm(n, generator=generator, device=generator.device if generator else None).cpu()
        t, weight = t[mixed].to(x_0.device), weight[mixed].to(x_0)
        x_t = process.marginal(x_0, t).sample(generator)
        ratio = torch.cat([
            step_log_ratio(process.posterior(x_0[rows], x_t[rows], t[rows]), kernel(x_t[rows], t[rows]), generator)
            for rows in chunks
        ])  # fmt: skip
        total = total + weight * ratio / max(1, n_timesteps)
    return Bound(terminal, total.unsqueeze(1), data, tuple(x_0.shape[1:]), getattr(kernel, "first_step", "learned"))


def learned_sampler(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, *, n_timesteps: int = 8, generator: Generator | None = None
) -> TimestepSampler:
    """Steps by the rms loss of a trained kernel on rows other than those to be measured."""
    kernel = kernel.on(process)
    sampler = TimestepSampler(process.n_steps)
    if process.n_steps < 3:
        return sampler
    for _ in range(n_timesteps):
        t = sampler.draw(len(x_0), generator)[0].to(x_0.device)
        x_t = process.marginal(x_0, t).sample(generator)
        for rows in torch.arange(len(x_0)).split(stacked_rows(x_0)):
            back = process.posterior(x_0[rows], x_t[rows], t[rows])
            sampler.record(t[rows], step_log_ratio(back, kernel(x_t[rows], t[rows]), generator), refresh=False)
    sampler.refresh()
    return sampler
