"""Time on a device: events round the work, warmed up, the median of many; and the seconds that are left of a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

__all__ = ["Deadline", "milliseconds"]

Case = Callable[[], object]


class Deadline:
    """Seconds left of those given, counted from now.

    Examples
    --------
    >>> Deadline(60.0).left() <= 60.0
    True
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def left(self) -> float:
        """Seconds; negative when it has passed."""
        return self.end - time.perf_counter()


def milliseconds(cases: Case | Sequence[Case], device: torch.device, rounds: int = 15, repeats: int = 1) -> float:
    """Median time of one call: each round times ``repeats`` calls, of one case after another where there are several.

    Several cases on data of their own keep the cache from holding what is to be moved. One round more is run ahead.
    """
    turns = [cases] if callable(cases) else list(cases)
    found = []
    for turn in range(rounds + 1):
        case = turns[turn % len(turns)]
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(repeats):
                case()
            end.record()
            end.synchronize()
            spent = start.elapsed_time(end)
        else:
            began = time.perf_counter()
            for _ in range(repeats):
                case()
            spent = 1e3 * (time.perf_counter() - began)
        if turn:
            found.append(spent / repeats)
    return median(found)
