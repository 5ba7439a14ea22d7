"""A system of particles that follows the reverse chain."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.posterior.kernel_output import KernelOutput, Proposal
from quasistatic.posterior.observations import Observation
from quasistatic.posterior.resampling import systematic
from quasistatic.posterior.twisting import TwistedKernel

__all__ = ["ParticleSystem", "checked"]


class _Origin(NamedTuple):
    """The origin of the present states.

    It holds the states before, the kernel's output there, and the step.
    """

    x: Tensor
    output: KernelOutput
    t: int


class ParticleSystem:
    """B rows of N particles, evaluated in chunks.

    ``log_path`` is the log of the product in the weight w_t (see :mod:`quasistatic.posterior.smc`). ``row_of`` is the row
    of the observation that belongs to a particle: its observation, or its own copy where there are copies.

    Parameters
    ----------
    kernel : TwistedKernel
        Proposals and potentials.
    observation : Observation
        Bound to the event shape.
    n : int
        Particles N of each observation.
    chunk : int
        Particles that go through the network at once.
    weighted : bool
        False to keep all weights equal.
    moves : int
        Metropolis-Hastings moves of each particle after resampling.
    generator : Generator, optional
        Of all draws.
    """

    def __init__(
        self,
        kernel: TwistedKernel,
        observation: Observation,
        n: int,
        chunk: int,
        weighted: bool = True,
        moves: int = 0,
        generator: Generator | None = None,
    ) -> None:
        if observation.n_copies not in (1, n):
            raise InputError(f"the observation has {observation.n_copies} copies, but there are {n} particles: make {n}")
        self.kernel, self.observation = kernel, kernel.prepared(observation)
        self.n, self.chunk, self.weighted, self.moves, self.generator = n, chunk, weighted, moves, generator
        self.device = kernel.process.beta.device
        self.n_rows = observation.n_observations // observation.n_copies
        every = torch.arange(self.n_rows * n, device=self.device)
        self.row_of = every if observation.n_copies > 1 else every // n
        self.ancestors = (every % n).view(self.n_rows, n)
        self.n_resampled = torch.zeros(self.n_rows, dtype=torch.long, device=self.device)
        self.log_path = torch.zeros(self.n_rows * n, dtype=torch.float64, device=self.device)
        self.origin: _Origin | None = None
        self.x = torch.cat([self._begin(rows) for rows in self._chunks(every)])

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split(self.chunk)

    def _about(self, rows: Tensor) -> Observation:
        """Return the observation of each of some particles."""
        return self.observation.rows(self.row_of[rows])

    def _begin(self, rows: Tensor) -> Tensor:
        proposal = self._start(rows)
        x = proposal.distribution.sample(self.generator)
        if self.weighted:
            self.log_path[rows] = proposal.log_weight(x)
        return x

    def _start(self, rows: Tensor) -> Proposal:
        assert self.observation.event is not None
        noise = self.kernel.process.stationary((len(rows), *self.observation.event), torch.float64)
        return self.kernel.start(noise, self._about(rows))

    def step(self, t: int) -> None:
        """Draw x_{t-1}.

        Where the weights have become uneven, particles are resampled and moved first.
        """
        every = torch.arange(len(self.x), device=self.device)
        outputs = [self.kernel.evaluate(self.x[rows], t, self._about(rows)) for rows in self._chunks(every)]
        output = KernelOutput.concat(outputs)
        if self.weighted:
            output = self._resample(output)
        drawn = []
        for rows in self._chunks(every):
            part = output if len(rows) == len(every) else output.take(rows)
            proposal = self.kernel.proposal(part, self.x[rows], t, self._about(rows))
            x = proposal.distribution.sample(self.generator)
            if self.weighted:
                self.log_path[rows] += proposal.log_weight(x)
            drawn.append(x)
        if self.moves:
            self.origin = _Origin(self.x, output, t)
        self.x = torch.cat(drawn)

    def _resample(self, output: KernelOutput) -> KernelOutput:
        """Resample the rows whose weights have become uneven."""
        log_w = checked(self.log_path + output.log_potential).view(self.n_rows, self.n)
        total = torch.logsumexp(log_w, 1, keepdim=True)
        ess = 1.0 / torch.softmax(log_w, 1).square().sum(1)
        uneven = (ess < 0.5 * self.n) & torch.isfinite(total[:, 0])
        if not uneven.any():
            return output
        keep = torch.arange(self.n, device=self.device).repeat(self.n_rows, 1)
        keep[uneven] = systematic(log_w[uneven], self.generator)
        rows = (keep + self.n * torch.arange(self.n_rows, device=self.device).unsqueeze(1)).flatten()
        self.x, self.row_of, output, log_path = self.x[rows], self.row_of[rows], output.take(rows), self.log_path[rows]
        # the weight w_t becomes its mean, so the product in it becomes the mean over psi_t
        level = (total - math.log(self.n)).expand(-1, self.n).flatten()
        touched = uneven.repeat_interleave(self.n)
        self.log_path = torch.where(touched, level - output.log_potential, log_path)
        self.ancestors = self.ancestors.gather(1, keep)
        self.n_resampled += uneven
        if self.moves:
            if self.origin is not None:
                self.origin = _Origin(self.origin.x[rows], self.origin.output.take(rows), self.origin.t)
            output = self._rejuvenate(output, touched.nonzero().flatten(), level)
        return output

    def _rejuvenate(self, output: KernelOutput, rows: Tensor, level: Tensor) -> KernelOutput:
        r"""Draw x_t anew from its origin, and accept by Metropolis and Hastings.

        Given the state before, the path has the distribution :math:`p(x_t \mid x_{t+1})\, \psi_t(x_t)`. A fresh draw of
        the twisted kernel is accepted with probability min(1, w' / w), w = p psi / m, which leaves that distribution as
        it is.
        """
        for part in self._chunks(rows) * self.moves:
            about, t, proposal = self._about(part), self.kernel.process.n_steps, self._last_proposal(part)
            t = t if self.origin is None else self.origin.t - 1
            fresh = proposal.distribution.sample(self.generator)
            new = self.kernel.evaluate(fresh, t, about)
            log_ratio = (
                proposal.log_weight(fresh) + new.log_potential
                - proposal.log_weight(self.x[part]) - output.log_potential[part]
            )  # fmt: skip
            u = torch.rand(log_ratio.shape, generator=self.generator, dtype=log_ratio.dtype, device=log_ratio.device)
            taken = (u.log() < log_ratio).nonzero().flatten()
            chosen = torch.arange(len(self.x), device=self.device)
            chosen[part[taken]] = len(self.x) + taken
            output = KernelOutput.concat([output, new]).take(chosen)
            self.x = self.x.index_copy(0, part[taken], fresh[taken])
        self.log_path[rows] = level[rows] - output.log_potential[rows]
        return output

    def _last_proposal(self, rows: Tensor) -> Proposal:
        """Return the proposal of the present states."""
        if self.origin is None:
            return self._start(rows)
        x, output, t = self.origin
        return self.kernel.proposal(output.take(rows), x[rows], t, self._about(rows))


def checked(log_w: Tensor) -> Tensor:
    """Refuse weights that are nan or infinite."""
    if log_w.isnan().any() or (log_w == torch.inf).any():
        raise InputError("particle weights are NaN or infinite: the reverse kernel returned invalid parameters")
    return log_w
