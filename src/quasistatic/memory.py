"""Limits of memory, and errors of exhausted memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quasistatic.checks import shown
from quasistatic.errors import InputError

__all__ = ["catching_memory_errors", "free_memory", "out_of_memory", "require_memory", "require_network"]

VARIABLE = "QUASISTATIC_MEMORY"
_AT_MOST = 4.0  # GB of one request, unless the variable is set


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
