"""How a command ends when its streams break or the system asks it to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from quasistatic.errors import Terminated
from quasistatic.streams import say

__all__ = ["answering", "ending_well"]


@contextmanager
def ending_well() -> Iterator[None]:
    """Let SIGTERM end the block as an exception, so that half-written files are removed.

    A training within the block takes the signal over, to write a checkpoint first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def answering(fail: Callable[[str], Any]) -> Iterator[None]:
    """Print an answer within the block: a reader that has gone is no error, a full disk is one sentence."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _forget_output()
        if error.filename is not None:
            raise
        fail(f"the answer could not be written to standard output: {error.strerror or error}")
    except ValueError as error:
        if "closed file" not in str(error):
            raise
        say("the answer could not be written: standard output is closed")


def _forget_output() -> None:
    """Point standard output to the null device, or Python would complain once more at its end."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
