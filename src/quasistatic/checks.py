"""Checks of numbers, choices, tensors and memory.

Each returns the value in its plain type, or raises an :class:`~quasistatic.errors.InputError` with the name, the value,
the rule and what to do.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quasistatic.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = [
    "LARGEST", "MOST", "MOST_DEPTH", "MOST_STEPS", "MOST_WIDTH", "SMALLEST", "catching_memory_errors", "free_memory",
    "generator_of", "instance_of", "one_of", "out_of_memory", "real_number", "require_memory", "require_network", "shown",
    "tensor_of", "true_or_false", "whole_number",
]  # fmt: skip

MOST_STEPS, MOST_WIDTH, MOST_DEPTH = 10**6, 10**6, 10**4
"""Steps of a chain, units of a layer, and layers."""
MOST = 2**63 - 1
"""The largest whole number that a tensor can hold."""
LARGEST, SMALLEST = 1e150, 1e-100
"""Bounds of magnitudes whose squares and products stay within float64."""
VARIABLE = "QUASISTATIC_MEMORY"
_AT_MOST = 4.0  # GB of one request, unless the variable is set


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


def require_memory(what: str, n_bytes: float, remedy: str, *, data: bool = False) -> None:
    """Refuse a request that needs too much memory.

    A request may use half of the free memory, and 4 GB at most. Data from files may use all of the half. The
    environment variable ``QUASISTATIC_MEMORY`` sets the limit, in GB.

    Parameters
    ----------
    what : str
        The request in words, such as "10000000 particles of 30 numbers".
    n_bytes : float
        Estimate of its largest extent.
    remedy : str
        What to do, such as "choose fewer".
    data : bool
        Whether it is a file that is read.
    """
    limit = _limit(data)
    if not n_bytes <= limit:
        raise InputError(f"{what} would take {_size(n_bytes)} of memory, but at most {_size(limit)} may be taken: {remedy}")


def require_network(n_parameters: float) -> None:
    """Refuse a network that is too large to train.

    Training holds weights, gradients, two moments and a running mean of each parameter.
    """
    require_memory(f"a network of {n_parameters:.3g} parameters", 20.0 * n_parameters, "make it smaller")


def _limit(data: bool) -> float:
    """Return the bytes that a request may use."""
    if limit := os.environ.get(VARIABLE):
        try:
            number = float(limit)
        except ValueError:
            number = math.nan
        if not number > 0:
            raise InputError(f"the environment variable {VARIABLE} must be a number of GB above 0, got {shown(limit)}")
        return number * 1e9
    half = 0.5 * free_memory()
    return half if data else min(half, _AT_MOST * 1e9)


def free_memory() -> float:
    """Return the free bytes of this process.

    The machine, its control group and the limit of the process are considered.
    """
    free = [_of_machine(), _of_group(), _of_process()]
    return max(2e8, min(free))


def _of_machine() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 8e9  # a system that does not say


def _of_group() -> float:
    free = math.inf
    for most, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, float(Path(most).read_text()) - float(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return free


def _of_process() -> float:
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY:
            return math.inf
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return float(most - pages * resource.getpagesize())
    except (ImportError, OSError, ValueError):
        return math.inf


def _size(n_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            number = n_bytes / size
            return f"{number:.3g} {unit}" if number < 1e6 else f"{number:.1e} {unit}"
    return f"{n_bytes:.0f} bytes"


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is exhausted."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory", "invalid buffer size", "numel: integer multipl",
             "Storage size calculation overflowed", "array is too big")  # fmt: skip
    return isinstance(error, RuntimeError | ValueError) and any(word in str(error) for word in words)


@contextmanager
def catching_memory_errors(what: str, remedy: str) -> Iterator[None]:
    """Re-raise allocation errors from this block as InputError."""
    try:
        yield
    except InputError:
        raise
    except (MemoryError, RuntimeError, ValueError) as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"{what} needs more memory than there is: {remedy}") from None
