"""Particles that walk down the chain together: moved, weighted, resampled and rejuvenated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.posterior.observations import Observation
from quasistatic.posterior.resampling import systematic
from quasistatic.posterior.twisting import Move, Sight, TwistedKernel

__all__ = ["Cloud", "checked"]


class _Parent(NamedTuple):
    """Where the present states were drawn from: the state before, what was seen there, and the step."""

    x: Tensor
    sight: Sight
    t: int


@dataclass
class Cloud:
    """B rows of N particles, walked in chunks.

    ``log_path`` is the log of the product in the weight w_t (see :mod:`quasistatic.posterior.smc`), and ``seen``
    tells which row of
    the evidence a particle looks at: that of its observation, or one of its own where there are versions of it.
    """

    kernel: TwistedKernel
    observation: Observation
    n: int
    chunk: int
    weighted: bool = True
    moves: int = 0
    generator: Generator | None = None

    def __post_init__(self) -> None:
        self.device = self.kernel.process.beta.device
        n_seen, n = self.observation.n_observations, self.n
        if self.observation.versions not in (1, n):
            raise InputError(f"the evidence comes in {self.observation.versions} versions, but there are {n} particles")
        self.n_rows = n_seen // self.observation.versions
        every = torch.arange(self.n_rows * n, device=self.device)
        self.seen = every if self.observation.versions > 1 else every // n
        self.ancestors = (every % n).view(self.n_rows, n)
        self.n_resampled = torch.zeros(self.n_rows, dtype=torch.long, device=self.device)
        self.log_path = torch.zeros(self.n_rows * n, dtype=torch.float64, device=self.device)
        self.parent: _Parent | None = None
        self.x = torch.cat([self._begin(rows) for rows in self._chunks(every)])

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split(self.chunk)

    def _about(self, rows: Tensor) -> Observation:
        """The observation of each of some particles."""
        return self.observation.rows(self.seen[rows])

    def _begin(self, rows: Tensor) -> Tensor:
        move = self._start(rows)
        x = move.law.sample(self.generator)
        if self.weighted:
            self.log_path[rows] = move.score(x)
        return x

    def _start(self, rows: Tensor) -> Move:
        assert self.observation.event is not None
        noise = self.kernel.process.stationary((len(rows), *self.observation.event), torch.float64)
        return self.kernel.start(noise, self._about(rows))

    def step(self, t: int) -> None:
        """Look at x_t, resample and rejuvenate where the weights have become uneven, and draw x_{t-1}."""
        every = torch.arange(len(self.x), device=self.device)
        sight = Sight.joined([self.kernel.look(self.x[rows], t, self._about(rows)) for rows in self._chunks(every)])
        if self.weighted:
            sight = self._resample(sight)
        drawn = []
        for rows in self._chunks(every):
            part = sight if len(rows) == len(every) else sight.take(rows)
            move = self.kernel.move(part, self.x[rows], t, self._about(rows))
            x = move.law.sample(self.generator)
            if self.weighted:
                self.log_path[rows] += move.score(x)
            drawn.append(x)
        if self.moves:
            self.parent = _Parent(self.x, sight, t)
        self.x = torch.cat(drawn)

    def _resample(self, sight: Sight) -> Sight:
        """Resample the rows whose weights have become uneven."""
        log_w = checked(self.log_path + sight.log_psi).view(self.n_rows, self.n)
        total = torch.logsumexp(log_w, 1, keepdim=True)
        ess = 1.0 / torch.softmax(log_w, 1).square().sum(1)
        uneven = (ess < 0.5 * self.n) & torch.isfinite(total[:, 0])
        if not uneven.any():
            return sight
        keep = torch.arange(self.n, device=self.device).repeat(self.n_rows, 1)
        keep[uneven] = systematic(log_w[uneven], self.generator)
        rows = (keep + self.n * torch.arange(self.n_rows, device=self.device).unsqueeze(1)).flatten()
        self.x, self.seen, sight, log_path = self.x[rows], self.seen[rows], sight.take(rows), self.log_path[rows]
        # the weight w_t becomes its mean, so the product in it becomes the mean over psi_t
        level = (total - math.log(self.n)).expand(-1, self.n).flatten()
        touched = uneven.repeat_interleave(self.n)
        self.log_path = torch.where(touched, level - sight.log_psi, log_path)
        self.ancestors = self.ancestors.gather(1, keep)
        self.n_resampled += uneven
        if self.moves:
            if self.parent is not None:
                self.parent = _Parent(self.parent.x[rows], self.parent.sight.take(rows), self.parent.t)
            sight = self._rejuvenate(sight, touched.nonzero().flatten(), level)
        return sight

    def _rejuvenate(self, sight: Sight, rows: Tensor, level: Tensor) -> Sight:
        r"""Draw x_t anew from where it came from, and accept by Metropolis and Hastings.

        Given the state before, the path has the law :math:`p(x_t \mid x_{t+1})\, \psi_t(x_t)`; a fresh draw of the tilted
        kernel is accepted with probability min(1, w' / w), w = p psi / m, which leaves that law as it is.
        """
        for part in self._chunks(rows) * self.moves:
            about, t, move = self._about(part), self.kernel.process.n_steps, self._back_again(part)
            t = t if self.parent is None else self.parent.t - 1
            fresh = move.law.sample(self.generator)
            there = self.kernel.look(fresh, t, about)
            gain = move.score(fresh) + there.log_psi - move.score(self.x[part]) - sight.log_psi[part]
            u = torch.rand(gain.shape, generator=self.generator, dtype=gain.dtype, device=gain.device)
            taken = (u.log() < gain).nonzero().flatten()
            chosen = torch.arange(len(self.x), device=self.device)
            chosen[part[taken]] = len(self.x) + taken
            sight = Sight.joined([sight, there]).take(chosen)
            self.x = self.x.index_copy(0, part[taken], fresh[taken])
        self.log_path[rows] = level[rows] - sight.log_psi[rows]
        return sight

    def _back_again(self, rows: Tensor) -> Move:
        """Law that the present states of some particles were drawn from."""
        if self.parent is None:
            return self._start(rows)
        x, sight, t = self.parent
        return self.kernel.move(sight.take(rows), x[rows], t, self._about(rows))


def checked(log_w: Tensor) -> Tensor:
    """Refuse weights that are no numbers."""
    if log_w.isnan().any() or (log_w == torch.inf).any():
        raise InputError("a weight is nan or infinite: the kernel returned numbers that are no distribution")
    return log_w
