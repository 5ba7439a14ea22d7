"""Ratios that hold on a busy machine: every round runs all cases, and a ratio is taken within the round.

What is left of the noise shows in the quartiles over rounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

__all__ = ["Row", "against", "peak_bytes", "round_robin"]

Case = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ratio: float
    low: float
    """Lower quartile over rounds."""
    high: float
    target: float | None
    """The promise, None where there is none."""
    at_least: bool = False
    """Whether the target is to be passed upwards."""
    base: str = ""
    """What a ratio of one costs."""

    @property
    def promise(self) -> str:
        if self.target is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.target:g}"

    @property
    def met(self) -> str:
        if self.target is None:
            return ""
        return "yes" if (self.ratio >= self.target if self.at_least else self.ratio <= self.target) else "NO"


def round_robin(cases: dict[str, Case], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """CPU seconds of one call of each case, one entry for each round.

    A round runs every case ``repeats`` times in succession, in an order that is turned around from round to round, so
    that no case always follows the same other. CPU time of the process, not wall time: other work on the machine must
    not count (what it does to the caches still does).
    """
    names = list(cases)
    for name in names:  # the first call pays for allocations and caches
        cases[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 else reversed(names):
            case = cases[name]
            start = time.process_time()
            for _ in range(repeats):
                case()
            seconds[name].append((time.process_time() - start) / repeats)
    return seconds


def peak_bytes(case: Case, repeats: int = 1) -> int:
    """Most memory that some calls of a case hold at once, over what is held before them, in a process of their own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = _status("VmRSS")
        for _ in range(repeats):
            case()
        os.write(write, str(_status("VmHWM") - before).encode())
        os._exit(0)
    os.close(write)
    with open(read) as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return int(told)


def _status(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


def against(
    name: str,
    case: Sequence[float],
    base: Sequence[float],
    target: float | None,
    *,
    at_least: bool = False,
    unit: str = "ms",
) -> Row:
    """Ratio of the medians of two cases, with the quartiles of the ratios within each round."""
    paired = [a / b for a, b in zip(case, base, strict=True)]
    low, _, high = quantiles(paired, n=4) if len(paired) > 1 else (paired[0],) * 3
    cost = f"{median(base) * (1e3 if unit == 'ms' else 1.0):.3g} {unit}" if unit else ""
    return Row(name, median(case) / median(base), low, high, target, at_least, cost)
