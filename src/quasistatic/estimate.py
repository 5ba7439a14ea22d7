"""Estimates: means with a standard error and a unit."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.reporting.text import format_estimate

__all__ = ["UNITS", "Estimate", "paired_difference", "unit_divisor"]

UNITS = ("nats", "bits", "nats_per_dim", "bits_per_dim", "bits_per_pixel", "bits_per_sequence", "bits_per_point")


def unit_divisor(unit: str, event_shape: tuple[int, ...] = ()) -> float:
    """Return how many nats of one example make one ``unit``.

    Parameters
    ----------
    unit : str
        ``bits``, ``bits_per_point`` and ``bits_per_sequence`` are bits of the whole example. ``_per_dim`` divides by all its
        entries, ``bits_per_pixel`` by the last two axes, or by all entries of a vector.
    event_shape : tuple of int
        Shape of one example.

    Raises
    ------
    InputError
        If the unit is unknown.

    Examples
    --------
    >>> round(unit_divisor("bits_per_pixel", (3, 32, 32)) / math.log(2))
    1024
    """
    if not isinstance(unit, str) or unit not in UNITS:
        raise InputError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    dims = math.prod(event_shape)
    pixels = math.prod(event_shape[-2:]) if len(event_shape) >= 2 else dims
    count = dims if unit.endswith("_per_dim") else pixels if unit == "bits_per_pixel" else 1
    return count * (1.0 if unit.startswith("nats") else math.log(2.0))


@dataclass(frozen=True)
class Estimate:
    """Mean over independent examples, with its standard error.

    Parameters
    ----------
    value : float
        The mean.
    standard_error : float
        Its standard error; nan for one example.
    n : int
        Number of examples.
    unit : str
        Unit of both.

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
        """Average values of examples.

        Parameters
        ----------
        values : Tensor, shape (n,)
            One for each example, in nats.
        unit : str
            Unit of the result.
        event_shape : tuple of int
            Shape of one example, for units per entry or pixel.
        """
        values = values.detach().double() / unit_divisor(unit, event_shape)
        n = len(values)
        error = values.std().item() / math.sqrt(n) if n > 1 else math.nan
        return cls(values.mean().item(), error, n, unit)

    def plus(self, constant: float) -> Estimate:
        """Add a number without error, in the same unit."""
        return Estimate(self.value + constant, self.standard_error, self.n, self.unit)

    def __str__(self) -> str:
        return format_estimate(self.value, self.standard_error, self.unit, self.n)


def paired_difference(
    a: Any, b: Any, unit: str = "nats", event_shape: tuple[int, ...] = (), *, x: Any = None, seed: int = 0
) -> Estimate:
    r"""Return the mean of a - b over the same examples.

    Its standard error is usually far smaller than that of the two means.

    Parameters
    ----------
    a, b : Tensor (n,), Bound, or model
        Values in nats of the same examples, bounds of them, or two models whose bounds of ``x`` are computed.
    unit : str
        Unit of the result.
    event_shape : tuple of int
        Shape of one example, for units per entry or pixel; that of bounds and models is known.
    x : Tensor, shape (n, \*event), optional
        Data, needed where a and b are models.
    seed : int
        Of the draws in the bounds of models, the same for both.

    Returns
    -------
    Estimate
        With the standard error of the mean difference.

    Raises
    ------
    InputError
        If a and b are not of one kind and length, or models come without data.

    Examples
    --------
    >>> print(paired_difference(torch.tensor([2.0, 3.0, 7.0]), torch.tensor([1.0, 2.0, 5.0])))
    1.33 ± 0.33 nats (n = 3)
    """
    values, shapes = zip(*(_per_example(name, value, x, seed) for name, value in (("a", a), ("b", b))), strict=True)
    if values[0].shape != values[1].shape or shapes[0] != shapes[1]:
        got = " and ".join(str((*value.shape, *(shape or ()))) for value, shape in zip(values, shapes, strict=True))
        raise InputError(f"paired values need one shape, got {got}: measure both on the same examples")
    return Estimate.of(values[0] - values[1], unit, event_shape if shapes[0] is None else shapes[0])


def _per_example(name: str, value: Any, x: Any, seed: int) -> tuple[Tensor, tuple[int, ...] | None]:
    """Return the nats of each example, (n,).

    The shape of an example is returned as well, if it is known.
    """
    if hasattr(value, "elbo") and not isinstance(value, Tensor):
        if x is None:
            raise InputError(f"{name} is a model, so paired_difference needs data: give x=")
        draws = "generator" in inspect.signature(value.elbo).parameters  # the noise of an estimator belongs to its rows
        value = value.elbo(x, **({"generator": torch.Generator().manual_seed(seed)} if draws else {}))
    if hasattr(value, "total") and hasattr(value, "event_shape"):
        return value.total, tuple(value.event_shape)
    try:
        return torch.as_tensor(value), None
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be values (n,), a Bound or a model, got {type(value).__name__}") from None
