"""Outputs and proposals of a twisted kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from quasistatic.distributions import Distribution

__all__ = ["KernelOutput", "Proposal"]


class KernelOutput(NamedTuple):
    """Result of one evaluation at x_t.

    Attributes
    ----------
    distribution : Distribution
        Of x_0 given x_t with the look-ahead, else of x_{t-1}.
    step : Distribution or None
        Of x_{t-1}, where it does not follow from that of x_0.
    log_potential : Tensor, shape (batch,)
        Log potential at x_t.
    """

    distribution: Distribution
    step: Distribution | None
    log_potential: Tensor

    def take(self, rows: Tensor) -> KernelOutput:
        """Select rows, in any order."""
        step = None if self.step is None else self.step.take(rows)
        return KernelOutput(self.distribution.take(rows), step, self.log_potential[rows])

    @staticmethod
    def concat(parts: Sequence[KernelOutput]) -> KernelOutput:
        """Concatenate batches."""
        steps = [part.step for part in parts if part.step is not None]
        return KernelOutput(
            Distribution.concat([part.distribution for part in parts]),
            Distribution.concat(steps) if steps else None,
            torch.cat([part.log_potential for part in parts]),
        )


class Proposal(NamedTuple):
    """A proposal distribution of x_{t-1}.

    Attributes
    ----------
    distribution : Distribution
        The proposal m.
    log_weight : callable
        x -> log p(x) - log m(x), (batch,), and log p(x) r(x) - log m(x) at the last step.
    """

    distribution: Distribution
    log_weight: Callable[[Tensor], Tensor]
