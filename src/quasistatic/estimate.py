"""A number with its standard error and its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quasistatic.report.tables import format_estimate

__all__ = ["UNITS", "Estimate", "paired_difference", "unit_divisor"]

UNITS = ("nats", "bits", "nats_per_dim", "bits_per_dim", "bits_per_pixel", "bits_per_sequence", "bits_per_point")


def unit_divisor(unit: str, event_shape: tuple[int, ...] = ()) -> float:
    """How many nats of one event make one ``unit``.

    ``bits``, ``bits_per_point`` and ``bits_per_sequence`` are bits of the whole event; ``_per_dim`` divides by all its
    entries; ``bits_per_pixel`` by the last two axes, or by all entries of a flat event.

    Examples
    --------
    >>> round(unit_divisor("bits_per_pixel", (3, 32, 32)) / math.log(2))
    1024
    """
    if not isinstance(unit, str) or unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    dims = math.prod(event_shape)
    pixels = math.prod(event_shape[-2:]) if len(event_shape) >= 2 else dims
    count = dims if unit.endswith("_per_dim") else pixels if unit == "bits_per_pixel" else 1
    return count * (1.0 if unit.startswith("nats") else math.log(2.0))


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` independent examples.

    Examples
    --------
    >>> print(Estimate(2.351, 0.0123, 10000, "bits"))
    2.351 ± 0.012 bits (n = 10000)
    """

    value: float
    standard_error: float
    n: int
    unit: str = "nats"

    @classmethod
    def of(cls, values: Tensor, unit: str = "nats", event_shape: tuple[int, ...] = ()) -> Estimate:
        """Mean of per-example values in nats, (n,), told in ``unit``."""
        values = values.detach().double() / unit_divisor(unit, event_shape)
        n = len(values)
        spread = values.std().item() / math.sqrt(n) if n > 1 else math.nan
        return cls(values.mean().item(), spread, n, unit)

    def plus(self, constant: float) -> Estimate:
        """Shift by a number known exactly, in the same unit."""
        return Estimate(self.value + constant, self.standard_error, self.n, self.unit)

    def __str__(self) -> str:
        return format_estimate(self.value, self.standard_error, self.unit, self.n)


def paired_difference(a: Tensor, b: Tensor, unit: str = "nats", event_shape: tuple[int, ...] = ()) -> Estimate:
    """Mean of a - b over the same examples: far better determined than the two means apart."""
    if a.shape != b.shape:
        raise ValueError(f"paired values need one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return Estimate.of(torch.as_tensor(a) - b, unit, event_shape)
