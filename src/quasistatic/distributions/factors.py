"""Factors of single entries by which distributions are multiplied."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.linalg import LOG_2PI

__all__ = ["EntryFactor", "KnownValues", "MeasuredEntries", "ValueFactor"]

F = TypeVar("F", bound="EntryFactor")


class _Density(Protocol):
    """A distribution of real numbers that can be conditioned on entries."""

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Any, Tensor]: ...

    def observe_cells(self, mask: Tensor, y: Tensor, below: Tensor, above: Tensor) -> tuple[Any, Tensor]: ...


class EntryFactor(ABC):
    r"""Product of a factor of each entry, :math:`\prod_i r_i(x_i)`.

    :meth:`Distribution.condition` multiplies by it. Discrete families use :meth:`logs`, densities use
    :meth:`on_density`. The tensors of a factor have shape (batch or 1, \*event, ...).
    """

    description = "factors of entries"
    _names: tuple[str, ...] = ()

    @abstractmethod
    def logs(self, values: Tensor) -> Tensor:
        r"""Return log r_i(v) at each of K values.

        The result has shape (batch or 1, \*event, K).
        """

    def on_density(self, p: _Density) -> tuple[Any, Tensor]:
        """Multiply a density of real numbers."""
        raise InputError(f"{self.description} need bits or classes: for real numbers use GaussianMeasurement")

    def on_levels(self, p: _Density) -> tuple[Any, Tensor] | None:
        """Multiply a discretised Gaussian without a table.

        None where that is not possible.
        """
        return None

    def _map(self: F, f: Callable[[Tensor], Tensor]) -> F:
        other = copy.copy(self)
        for name in self._names:
            setattr(other, name, f(getattr(self, name)))
        return other

    def take(self: F, rows: Tensor) -> F:
        """Select rows.

        A single one applies to any number of rows.
        """
        return self._map(lambda value: value[rows] if len(value) > 1 else value)

    def repeat(self: F, m: int) -> F:
        """Repeat each row m times in succession.

        A single one stays as it is.
        """
        return self._map(lambda value: value.repeat_interleave(m, 0) if len(value) > 1 else value)

    def columns(self: F, index: Tensor) -> F:
        """Select columns of a vector."""
        return self._map(lambda value: value.index_select(1, index) if value.dim() > 1 else value)


class MeasuredEntries(EntryFactor):
    r"""Gaussian measurements of entries, to a power.

    The factor of an entry is :math:`\mathcal{N}(y_i; x_i, s_i^2)^{share}`.

    Parameters
    ----------
    mask : Tensor of bool, shape (batch or 1, \*event)
        Entries that were measured.
    y, noise : Tensor, shape (batch or 1, \*event)
        Measurements and the variances of their errors.
    share : float
        The power, above 0.
    """

    description = "Gaussian measurements of entries"
    _names = ("mask", "y", "noise")

    def __init__(self, mask: Tensor, y: Tensor, noise: Tensor, share: float = 1.0) -> None:
        self.mask, self.y, self.noise, self.share = mask, y, noise, share

    def logs(self, values: Tensor) -> Tensor:
        noise = self.noise.unsqueeze(-1)
        each = (self.y.unsqueeze(-1) - values).square() / noise + noise.log() + LOG_2PI
        return self.share * (-0.5 * torch.where(self.mask.unsqueeze(-1), each, 0.0))

    def on_density(self, p: _Density) -> tuple[Any, Tensor]:
        # N(y; x, s^2)^share is N(y; x, s^2 / share) up to a constant
        result, log_z = p.observe_entries(self.mask, self.y, self.noise / self.share)
        return result, log_z + self.log_constant()

    def log_constant(self) -> Tensor:
        """Return the log constant of the power.

        It is that of N(y; x, s^2)^share / N(y; x, s^2 / share), summed over the measurements.
        """
        each = (1.0 - self.share) * (self.noise.log() + LOG_2PI) - math.log(self.share)
        return 0.5 * torch.where(self.mask, each, 0.0).flatten(1).sum(1)


class KnownValues(EntryFactor):
    r"""Entries that are known exactly.

    Parameters
    ----------
    mask : Tensor of bool, shape (batch or 1, \*event)
        Entries that are known.
    y : Tensor, shape (batch or 1, \*event)
        Their values.
    grid : tuple of float, optional
        Distance of the levels, first level and last level, where the values are levels. A density then has the mass
        of the cell around a level.
    """

    description = "known entries"
    _names = ("mask", "y")

    def __init__(self, mask: Tensor, y: Tensor, grid: tuple[float, float, float] | None = None) -> None:
        self.mask, self.y, self.grid = mask, y, grid

    def logs(self, values: Tensor) -> Tensor:
        agree = (values - self.y.unsqueeze(-1)).abs() < 0.01 * (values[1] - values[0])
        if not (agree.any(-1) | ~self.mask).all():
            wrong = self.y[self.mask & ~agree.any(-1)][0].item()
            rule = f"must be one of the {len(values)} values from {values[0]:g} to {values[-1]:g}"
            raise InputError(f"a known entry is {wrong:g}, but {rule} that entries of this model can have")
        return torch.where(agree | ~self.mask.unsqueeze(-1), 0.0, -torch.inf).to(values.dtype)

    def on_density(self, p: _Density) -> tuple[Any, Tensor]:
        if self.grid is None:
            return p.observe_entries(self.mask, self.y, torch.zeros_like(self.y))
        step, low, high = self.grid
        lowest, highest = self.y < low + 0.5 * step, self.y > high - 0.5 * step
        below = torch.where(lowest, -torch.inf, self.y - 0.5 * step)
        above = torch.where(highest, torch.inf, self.y + 0.5 * step)
        return p.observe_cells(self.mask, self.y, below, above)

    def on_levels(self, p: _Density) -> tuple[Any, Tensor] | None:
        return p.observe_entries(self.mask, self.y, torch.zeros_like(self.y))


class ValueFactor(EntryFactor):
    r"""Factors of the values of bits or classes.

    Parameters
    ----------
    table : Tensor, shape (batch or 1, \*event, K)
        Log factor of each entry at the values 0 to K - 1.
    description : str
        Name for messages, in the plural.
    """

    _names = ("table",)

    def __init__(self, table: Tensor, description: str = "factors of values") -> None:
        self.table, self.description = table, description

    def logs(self, values: Tensor) -> Tensor:
        if len(values) != self.table.shape[-1]:
            raise InputError(
                f"{self.description} have {self.table.shape[-1]} values, but entries of this model have {len(values)}"
            )
        return self.table
