"""The interface of every distribution: what a row of a batch can be asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from quasistatic.printing import Described
from quasistatic.random import Rng

__all__ = ["Distribution"]

LOG_2PI = math.log(2.0 * math.pi)


def _sum(x: Tensor) -> Tensor:
    """Sum over the event: (batch, *event) -> (batch,)."""
    return x.sum(-1) if x.dim() == 2 else x.flatten(1).sum(1)


class Distribution(Described, ABC):
    """One law per row of a batch; see the module's table for the families."""

    has_kl: bool = True

    @abstractmethod
    def sample(self, generator: Rng | None = None) -> Tensor:
        """Draw one event per row, shape (batch, *event)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log density or log mass of each row of ``x`` in nats, shape (batch,)."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy of each row in nats, shape (batch,)."""

    @abstractmethod
    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other) of each row in nats, shape (batch,)."""

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        """Nats that each row loses when ``other`` is taken for it, (batch,).

        KL(self || other), but -log other(mean) for the first ``n_points`` rows, which are points at their mean: what
        a training batch loses, whose first rows are at t = 1.
        """
        parts = []
        if n_points:
            parts.append(-other[:n_points].log_prob(self.mean[:n_points]))  # type: ignore[attr-defined]
        if n_points < len(self.mean):  # type: ignore[attr-defined]
            parts.append(self[n_points:].kl(other[n_points:]))
        return torch.cat(parts)

    @abstractmethod
    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        """Renormalised product with ``other`` and the log of its normaliser, (batch,)."""

    @abstractmethod
    def __getitem__(self, rows: slice) -> Distribution:
        """The laws of some of the rows."""

    def _unsupported(self, what: str, other: Distribution | None = None) -> NotImplementedError:
        with_ = f" with {type(other).__name__}" if other is not None else ""
        return NotImplementedError(f"{what} of {type(self).__name__}{with_} has no closed form")
