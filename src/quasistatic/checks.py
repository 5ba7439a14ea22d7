"""Checks of numbers, choices and tensors.

Each returns the value in its plain type, or raises an :class:`~quasistatic.errors.InputError` with the name, the value,
the rule and what to do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quasistatic.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = [
    "LARGEST", "MOST", "MOST_DEPTH", "MOST_STEPS", "MOST_WIDTH", "SMALLEST", "generator_of", "instance_of", "one_of",
    "real_number", "require_event_shape", "require_finite_data", "shown", "tensor_of", "true_or_false", "whole_number",
]  # fmt: skip

MOST_STEPS, MOST_WIDTH, MOST_DEPTH = 10**6, 10**6, 10**4
"""Steps of a chain, units of a layer, and layers."""
MOST = 2**63 - 1
"""The largest whole number that a tensor can hold."""
LARGEST, SMALLEST = 1e150, 1e-100
"""Bounds of magnitudes whose squares and products stay within float64."""


def shown(value: Any) -> str:
    """Return a short ``repr`` without control characters."""
    try:
        text = printable(repr(value))
    except Exception:  # a repr may fail in any way: whole numbers of too many digits, objects of a user
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."


def whole_number(name: str, value: Any, least: int = 0, most: int = MOST, *, otherwise: str = "") -> int:
    """Check a whole number in a range.

    ``otherwise`` names what else is accepted.

    Examples
    --------
    >>> whole_number("n_particles", 100, 1)
    100
    >>> whole_number("n_particles", 1.5, 1)
    Traceback (most recent call last):
    quasistatic.errors.InputError: n_particles must be a whole number of at least 1, got 1.5
    """
    other = f", or {otherwise}" if otherwise else ""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except (TypeError, RuntimeError, ValueError):  # also of tensors with several numbers
        raise InputError(f"{name} must be a whole number of at least {least}{other}, got {shown(value)}") from None
    if number < least:
        raise InputError(f"{name} must be at least {least}{other}, got {shown(number)}")
    if number > most:
        raise InputError(f"{name} must be at most {most}, got {shown(number)}")
    return number


def real_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    infinite: bool = False,
) -> float:
    """Check a number in a range.

    It must be finite unless ``infinite``.

    Examples
    --------
    >>> real_number("dropout", 0.1, least=0.0, below=1.0)
    0.1
    >>> real_number("dropout", 1, least=0.0, below=1.0)
    Traceback (most recent call last):
    quasistatic.errors.InputError: dropout must be at least 0 and below 1, got 1
    """
    rules = [("above", above), ("at least", least), ("below", below), ("at most", most)]
    rule = " and ".join(f"{word} {bound:g}" for word, bound in rules if bound is not None)
    rule = {"above 0": "positive", "at least 0 and at most 1": "between 0 and 1"}.get(rule, rule)
    if not infinite:
        rule = f"{rule} and finite" if rule and below is None and most is None else rule or "finite"
    number = _float(value)
    if number is None:
        raise InputError(f"{name} must be a number, {rule}, got {shown(value)}")
    inside = (
        (above is None or number > above) and (least is None or number >= least)
        and (below is None or number < below) and (most is None or number <= most)
    )  # fmt: skip
    if not inside or math.isnan(number) or (math.isinf(number) and not infinite):
        raise InputError(f"{name} must be {rule}, got {shown(value)}")
    return number


def _float(value: Any) -> float | None:
    """Convert a number to a float, None for anything else."""
    if isinstance(value, bool | str | bytes | complex) or type(value).__name__ in ("bool_", "bool"):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # of the value's own conversion
        return None


def one_of(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Check that a value is one of a few."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        *others, last = (f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in choices)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{name} must be {listed}, got {shown(value)}")
    return value


def true_or_false(name: str, value: Any) -> bool:
    """Check a truth value."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise InputError(f"{name} must be True or False, got {shown(value)}")


def instance_of(name: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Check the class of an object.

    ``what`` describes it in words.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {what}, got {shown(value)}")
    return value


def tensor_of(name: str, value: Any, *, device: Any = None, float64: bool = False) -> Tensor:
    """Convert a value to a tensor of real numbers or booleans.

    The type is kept unless ``float64`` is set.

    Examples
    --------
    >>> tensor_of("x", None)
    Traceback (most recent call last):
    quasistatic.errors.InputError: x must be numbers in an array, tensor or nested list, got None
    """
    import torch

    what = "numbers in an array, tensor or nested list"
    if value is None or isinstance(value, str | bytes):
        raise InputError(f"{name} must be {what}, got {shown(value)}")
    try:
        complex_ = isinstance(value, complex) or (isinstance(value, torch.Tensor) and value.is_complex())
        dtype = torch.float64 if float64 and not complex_ else None
        tensor = torch.as_tensor(value, device=device, dtype=dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{name} must be {what}, got a {type(value).__name__} ({why})") from None
    if tensor.is_complex():
        raise InputError(f"{name} must be real numbers, got complex ones of type {tensor.dtype}")
    if tensor.is_sparse or tensor.is_quantized or tensor.layout != torch.strided:
        raise InputError(f"{name} must be a dense tensor, got one of layout {tensor.layout}")
    return tensor


def generator_of(name: str, value: Any) -> Generator | None:
    """Check a generator of torch, or None."""
    import torch

    if value is not None and not isinstance(value, torch.Generator):
        raise InputError(f"{name} must be a torch.Generator or None, got {shown(value)}")
    return value


def require_event_shape(x: Tensor, event_shape: tuple[int, ...]) -> None:
    """Refuse data of another shape than (n, *event_shape)."""
    if tuple(x.shape[1:]) != event_shape or x.dim() == 0:
        raise InputError(f"data has shape {tuple(x.shape)}, but this model takes (n, {str(event_shape)[1:]}")


def require_finite_data(x: Tensor) -> None:
    """Refuse data with nan, infinite or too large values."""
    import torch

    bad = ~torch.isfinite(x)
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise InputError(f"data holds {x[tuple(where)].item()} at index {where}, but every value must be finite")
    if x.is_floating_point() and x.numel() and x.abs().max() > LARGEST:
        where = (x.abs() > LARGEST).nonzero()[0].tolist()
        raise InputError(
            f"data holds {x[tuple(where)].item()} at index {where}, but no value may be above {LARGEST:g} in size: "
            "rescale the data"
        )
