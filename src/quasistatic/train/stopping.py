"""Handling of SIGTERM during training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quasistatic.errors import Terminated

__all__ = ["termination"]


@contextmanager
def termination() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM in this block.

    It yields a function that returns whether the signal was received. A second signal raises
    :class:`~quasistatic.errors.Terminated` at once. Batch systems send SIGTERM some seconds before they kill a process.
    Outside the main thread, and where SIGTERM is ignored, nothing changes.
    """
    came = False

    def take(number: int, frame: Any) -> None:
        nonlocal came
        if came:
            raise Terminated
        came = True

    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if here else None
    if not here or before in (None, signal.SIG_IGN):
        yield lambda: False
        return
    signal.signal(signal.SIGTERM, take)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, before)
