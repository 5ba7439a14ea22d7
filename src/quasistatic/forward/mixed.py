"""Forward process of tables with columns of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from quasistatic.distributions import Distribution, Joint
from quasistatic.errors import InputError
from quasistatic.forward.base import ForwardProcess
from quasistatic.storage.modules import saveable

__all__ = ["MixedDiffusion"]


@saveable
class MixedDiffusion(ForwardProcess):
    r"""Product of processes over blocks of columns.

    .. math:: q(x_t \mid x_{t-1}) = \prod_b q_b(x_{t,b} \mid x_{t-1,b})

    Every distribution it returns is a :class:`~quasistatic.distributions.Joint`. Columns keep the order of the data.

    Parameters
    ----------
    parts : sequence of ForwardProcess
        One process for each block, over vectors; all with the same number of steps. The network's time is the log-SNR
        of the first one.
    columns : sequence of sequences of int
        The columns of each block; together 0 to d - 1, each once.

    Examples
    --------
    A number and a bit, after three quarters of the signal's variance is lost:

    >>> from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
    >>> beta = torch.tensor([0.75, 0.9])
    >>> q = MixedDiffusion([GaussianDiffusion(beta), BernoulliDiffusion(beta, 0.5)], [[0], [1]])
    >>> number, bit = q.marginal(torch.tensor([[2.0, 1.0]]), t=1).parts
    >>> number.mean.item(), bit.probs.item()
    (1.0, 0.625)
    """

    _groups: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, parts: Sequence[ForwardProcess], columns: Sequence[Sequence[int]]) -> None:
        if not parts or len(parts) != len(columns):
            raise InputError(f"there must be a process for each block, got {len(parts)} for {len(columns)} blocks")
        steps = {part.n_steps for part in parts}
        if len(steps) > 1:
            raise InputError(f"all blocks must have the same number of steps, got {sorted(steps)}")
        super().__init__(parts[0].beta[1:], total_erasure=True)
        flat = [c for block in columns for c in block]
        if sorted(flat) != list(range(len(flat))) or any(not block for block in columns):
            raise InputError(f"the blocks must hold the columns 0 to d - 1, each once, got {[list(b) for b in columns]}")
        self.parts = nn.ModuleList(parts)
        for b, block in enumerate(columns):
            self.register_buffer(f"columns_{b}", torch.tensor(list(block)), persistent=False)

    @property
    def columns(self) -> list[Tensor]:
        """The columns of each block."""
        return [getattr(self, f"columns_{b}") for b in range(len(self.parts))]

    @property
    def processes(self) -> Sequence[ForwardProcess]:
        """The process of each block."""
        return cast("Sequence[ForwardProcess]", self.parts)

    @property
    def n_columns(self) -> int:
        """Number d of columns."""
        return sum(len(block) for block in self.columns)

    def blocks(self, x: Tensor) -> list[tuple[ForwardProcess, Tensor]]:
        """Pair each process with its columns of ``x``, (batch, d_b)."""
        return [(part, x.index_select(1, c)) for part, c in zip(self.processes, self.columns, strict=True)]

    def with_beta(self, beta: Tensor) -> MixedDiffusion:
        """Build the same blocks with other rates (T,).

        An absorbing block still masks all entries at the last step.
        """
        parts = [part.with_beta(part.rates_as_block(beta)) for part in self.processes]
        return MixedDiffusion(parts, [c.tolist() for c in self.columns])

    def coefficients(self, t: int | Tensor, like: Tensor | None = None) -> dict[str, Tensor]:
        """Return no coefficients.

        Each block's process has its own.

        Parameters
        ----------
        t : int or Tensor, shape (batch,)
            Ignored.
        like : Tensor, optional
            Ignored.
        """
        return {}

    def _joint(self, parts: Sequence[Distribution]) -> Joint:
        return Joint(parts, self.columns)

    def _shapes(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        if len(shape) != 2 or shape[1] != self.n_columns:
            raise InputError(f"rows of this process have {self.n_columns} columns, got the shape {tuple(shape)}")
        return [(shape[0], len(c)) for c in self.columns]

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Joint:
        return self._joint([p.stationary(s, dtype) for p, s in zip(self.processes, self._shapes(shape), strict=True)])

    def null(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Joint:
        return self._joint([p.null(s, dtype) for p, s in zip(self.processes, self._shapes(shape), strict=True)])

    def step(self, x_prev: Tensor, t: int | Tensor) -> Joint:
        return self._joint([part.step(x, t) for part, x in self.blocks(x_prev)])

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Joint:
        return self._joint([part.marginal(x, t) for part, x in self.blocks(x_0)])

    def posterior(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Joint:
        pairs = zip(self.blocks(x_0), self.blocks(x_t), strict=True)
        return self._joint([part.posterior(x, x_now, t) for (part, x), (_, x_now) in pairs])

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Joint:
        return self._each_block(given, x_t, lambda process, p, x: process.posterior_over(p, x, t))

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Joint:
        return self._each_block(step, x_t, lambda process, p, x: process.data_given_step(p, x, t, least))

    def _each_block(
        self, given: Distribution, x_t: Tensor, f: Callable[[ForwardProcess, Distribution, Tensor], Distribution]
    ) -> Joint:
        """Apply ``f`` to each process, with its distribution and columns."""
        if not isinstance(given, Joint):
            raise InputError(f"a mixed table needs a Joint distribution, got a {type(given).__name__}")
        pairs = zip(given.parts, self.blocks(x_t), strict=True)
        return Joint([f(process, p, x) for p, (process, x) in pairs], given.columns)

    def check(self, x: Tensor) -> None:
        for (part, block), columns in zip(self.blocks(x), self.columns, strict=True):
            try:
                part.check(block)
            except InputError:
                self._name_the_column(part, block, columns.tolist())
                raise

    def _name_the_column(self, part: ForwardProcess, block: Tensor, columns: list[int]) -> None:
        """Check one column at a time, to name the bad one."""
        for place, column in enumerate(columns):
            alone = torch.zeros_like(block)  # zero is valid data of every process
            alone[:, place] = block[:, place]
            try:
                part.check(alone)
            except InputError as error:
                raise InputError(f"column {column} (of 0 to {self.n_columns - 1}): {error}") from None
