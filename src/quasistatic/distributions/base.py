"""The interface of all distributions over batches of events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from quasistatic.distributions.factors import EntryFactor
from quasistatic.errors import InputError
from quasistatic.printing import Described
from quasistatic.random import Rng

__all__ = ["Distribution"]


D = TypeVar("D", bound="Distribution")


def _sum(x: Tensor) -> Tensor:
    """Sum over the event: (batch, *event) -> (batch,)."""
    return x.sum(-1) if x.dim() == 2 else x.flatten(1).sum(1)


class Distribution(Described, ABC):
    r"""One probability distribution for each row of a batch.

    Parameters are batch first. Results that are one number for each row have shape ``(batch,)`` and are in nats.
    Methods that condition return the renormalised product and the log of its normaliser, (batch,). Where that
    normaliser is zero, the distribution is returned as it was.
    """

    has_kl: bool = True
    """Whether entropy and KL have a closed form."""

    @abstractmethod
    def sample(self, generator: Rng | None = None) -> Tensor:
        """Draw one event per row, shape (batch, *event)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density or log mass, (batch,)."""

    def entropy(self) -> Tensor:
        """Return the entropy of each row, (batch,), nats."""
        raise self._no_closed_form("entropy")

    def kl(self, other: Distribution) -> Tensor:
        """Return KL(self || other) of each row in nats, (batch,)."""
        raise self._no_closed_form("kl", other)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        """Return the loss of each row, (batch,), nats.

        It is KL(self || other), but -log other(mean) for the first ``n_points`` rows, which are points at their mean.
        These are the rows of a training batch that are at t = 1.

        Parameters
        ----------
        other : Distribution
            The model's distribution, of the same shape.
        n_points : int
            Number of leading rows that are points.
        """
        parts = []
        if n_points:
            parts.append(-other[:n_points].log_prob(self.mean[:n_points]))
        if n_points < len(self.mean):
            parts.append(self[n_points:].kl(other[n_points:]))
        return torch.cat(parts)

    # ---- rows of the batch

    @abstractmethod
    def _parameters(self) -> tuple[Tensor, ...]:
        """Return the tensors whose first axis is the batch."""

    @abstractmethod
    def _with(self: D, *parameters: Tensor) -> D:
        """Build the same family of other :meth:`_parameters`."""

    def __len__(self) -> int:
        return len(self._parameters()[0])

    def __getitem__(self: D, rows: slice) -> D:
        return self._with(*(value[rows] for value in self._parameters()))

    def take(self: D, rows: Tensor) -> D:
        """Select rows by index, in any order and with repeats."""
        return self._with(*(value[rows] for value in self._parameters()))

    def repeat(self: D, m: int) -> D:
        """Repeat each row m times in succession."""
        return self._with(*(value.repeat_interleave(m, 0) for value in self._parameters()))

    @staticmethod
    def concat(parts: Sequence[Distribution]) -> Distribution:
        """Concatenate the batches of distributions of one family.

        Parameters
        ----------
        parts : sequence of Distribution
            At least one, all of the family of the first.
        """
        first = parts[0]
        return first if len(parts) == 1 else first._concat([first._like(part, "concat") for part in parts])

    def _concat(self: D, parts: Sequence[D]) -> D:
        return self._with(*(torch.cat(values) for values in zip(*(part._parameters() for part in parts), strict=True)))

    # ---- moments and values

    if TYPE_CHECKING:  # an attribute of some families and a property of others

        @property
        def mean(self) -> Tensor:
            r"""Mean of each row, (batch, \*event)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        r"""Variance of each entry, (batch, \*event)."""

    def covariance_times(self, v: Tensor) -> Tensor:
        r"""Multiply the covariance of each row by a vector, (batch, \*event)."""
        return self.variance * v

    @property
    def support(self) -> tuple[float, float] | None:
        """Lowest and highest value of an entry, None for a density."""
        return None

    def step_inside(self, x: Tensor, step: Tensor) -> Tensor:
        r"""Shorten a step where it leaves the support.

        Parameters
        ----------
        x : Tensor, shape (batch, \*event)
            Start of the step.
        step : Tensor, shape (batch, \*event)
            The step, which is added to ``x``.
        """
        return step if self.support is None else (x + step).clamp(*self.support) - x

    def centre(self) -> Tensor:
        r"""Return the mean, rounded for bits and classes."""
        return self.mean

    def states(self, most: int) -> Tensor | None:
        r"""List all events, if there are few.

        They have shape (n, \*event). The result is None for densities, and for more than ``most`` events.
        """
        return None

    def point_masses(self, x: Tensor) -> Distribution:
        """Return point masses at the events ``x``."""
        raise self._refusal("no point masses")

    # ---- masks of absorbing processes

    def masked(self, x: Tensor) -> Tensor | None:
        """Return which entries are masked, None without masks."""
        return None

    def unmasked(self) -> Distribution:
        """Return the distribution given that nothing is masked."""
        return self

    def dense(self) -> Distribution:
        """Return the mask as one more class."""
        return self

    def offset(self, x: Tensor, at: Tensor) -> Tensor:
        r"""Return x - at, zero for masked entries.

        Parameters
        ----------
        x : Tensor, shape (batch, \*event)
            Events.
        at : Tensor, shape (batch, \*event)
            Points that are subtracted.
        """
        return x - at

    # ---- products

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        """Multiply by another distribution and renormalise."""
        raise self._no_closed_form("product", other)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        """Multiply by a factor of each entry and renormalise.

        Parameters
        ----------
        factor : EntryFactor
            Entries that are known, measured or reweighted.
        """
        raise self._refusal(f"no exact product with {factor.description}")

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        r"""Condition on measurements y of the entries in ``mask``.

        Parameters
        ----------
        mask : Tensor of bool, shape (batch or 1, \*event)
        y : Tensor, shape (batch or 1, \*event)
        noise : Tensor, shape (batch or 1, \*event)
            Variance of each measurement's error; zero is exact.
        """
        raise self._refusal("no exact product with Gaussian measurements of entries")

    def observe_cells(self, mask: Tensor, y: Tensor, below: Tensor, above: Tensor) -> tuple[Distribution, Tensor]:
        r"""Condition entries on lying between two edges.

        Parameters
        ----------
        mask : Tensor of bool, shape (batch or 1, \*event)
            Entries that are observed.
        y : Tensor, shape (batch or 1, \*event)
            Value that represents the cell in families without cells.
        below, above : Tensor, shape (batch or 1, \*event)
            Edges of the cells, which may be infinite.
        """
        return self.observe_entries(mask, y, torch.zeros_like(y))

    def has_linear_product(self, matrix: Tensor) -> bool:
        """Return whether :meth:`observe_linear` is exact."""
        return False

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        r"""Condition on linear measurements.

        They are :math:`y = A x + e` with independent Gaussian errors e.

        Parameters
        ----------
        matrix : Tensor, shape (m, d) or (batch or 1, m, d)
            A, for the flattened event.
        y, noise : Tensor, shape (batch or 1, m)
            Measurements, and variances of their errors; zero is exact. A row of zeros in A needs noise one and y = 0,
            and still counts as a density.
        """
        raise self._refusal("no exact product with linear measurements")

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        r"""Multiply the probabilities of values, and renormalise.

        Parameters
        ----------
        log_r : Tensor, shape (batch or 1, \*event, K)
            Log of the factor of each of the K values.
        """
        raise self._refusal("no table of values to reweight")

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        r"""Multiply by :math:`e^{g \cdot (x - a)}` and renormalise.

        Parameters
        ----------
        g, at : Tensor, shape (batch, \*event)
            Slope g and origin a of the exponent.
        """
        raise self._refusal("no exact product with an exponential")

    # ---- linear maps with noise, and mixtures of them

    def each_component(self, f: Callable[[Distribution, Tensor], Distribution], x: Tensor) -> Distribution:
        r"""Apply a function to each component and its row of x.

        Parameters
        ----------
        f : callable
            (components (batch * M), rows (batch * M, \*event)) -> distribution.
        x : Tensor, shape (batch, \*event)
            Rows, which are repeated for the M components.
        """
        return f(self, x)

    def rescaled(self, mean: Tensor, share: Tensor, noise: Tensor) -> Distribution:
        r"""Return the distribution of share x + noise.

        Parameters
        ----------
        mean : Tensor, shape (batch, \*event)
            Mean of the result.
        share, noise : Tensor
            Factor of x and variance of the independent noise, broadcastable to the mean.
        """
        raise self._refusal("no sum with Gaussian noise")

    def unscaled(self, mean: Tensor, share: Tensor, noise: Tensor, least: Tensor) -> Distribution:
        r"""Invert :meth:`rescaled`.

        Parameters
        ----------
        mean : Tensor, shape (batch, \*event)
            Mean of the result.
        share, noise : Tensor
            Factor of x and variance of the independent noise, broadcastable to the mean.
        least : Tensor
            Smallest variance of the result.
        """
        raise self._refusal("no way to remove Gaussian noise")

    # ---- refusals

    def _like(self: D, other: Distribution, what: str) -> D:
        """Refuse a distribution of another family."""
        if not isinstance(other, type(self)):
            raise self._no_closed_form(what, other)
        return other

    def _kl_from_gaussian(self, q: Distribution) -> Tensor:
        """Return KL(q || self) for a Gaussian q."""
        raise q._no_closed_form("kl", self)

    def as_multivariate(self) -> Distribution:
        """Return the same distribution with a full covariance."""
        raise self._refusal("no covariance matrix")

    def _no_closed_form(self, what: str, other: Distribution | None = None) -> NotImplementedError:
        with_ = f" with {type(other).__name__}" if other is not None else ""
        return NotImplementedError(f"{what} of {type(self).__name__}{with_} has no closed form")

    def _refusal(self, what: str) -> InputError:
        return InputError(f"a {type(self).__name__} distribution has {what}: use a kernel that returns another family")
