"""Broken output streams and SIGTERM."""

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

__all__ = ["output", "raising_on_sigterm"]


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Raise Terminated on SIGTERM in this block."""
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
def output(fail: Callable[[str], Any]) -> Iterator[None]:
    """Print a result in this block.

    A closed pipe is not an error. Other errors of the stream end in one sentence.

    Parameters
    ----------
    fail : callable
        Function of the sentence that ends the process.
    """
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
        fail(f"the result could not be written to standard output: {error.strerror or error}")
    except ValueError as error:
        if "closed file" not in str(error):
            raise
        say("the result could not be written: standard output is closed")


def _forget_output() -> None:
    """Redirect standard output to the null device.

    Otherwise Python reports the broken stream once more when it exits.
    """
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
