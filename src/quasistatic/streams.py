"""Standard streams whose failures never stop a computation."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from quasistatic.errors import printable

__all__ = ["SafeStream", "bar", "prepared_streams", "safe_stderr", "say", "without_bars"]

DELAY = 2.0  # seconds before a bar is shown

T = TypeVar("T")
_shown = 0  # number of bars shown now
_PLAIN = {"±": "+-", "−": "-", "×": "x", "–": "-", "—": "-", "…": "...", "σ": "sigma", "β": "beta"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Spell characters in ASCII that a stream cannot encode."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    spelled = "".join(_PLAIN.get(c) or c.encode("unicode_escape").decode("ascii") for c in wrong)
    return spelled, error.end


codecs.register_error("quasistatic", _plain)


class SafeStream:
    """A text stream whose failures are ignored.

    Parameters
    ----------
    stream : file, optional
        The stream; the standard error stream of the moment if not given.
    """

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    @property
    def _target(self) -> Any:
        return sys.stderr if self._stream is None else self._stream

    def write(self, text: str) -> int:
        """Write text, or drop it if the stream is broken."""
        stream = self._target
        try:
            return stream.write(text)
        except UnicodeError:
            with contextlib.suppress(Exception):
                encoding = (stream.encoding if hasattr(stream, "encoding") else None) or "ascii"
                return stream.write(text.encode(encoding, "quasistatic").decode(encoding))
        except Exception:  # closed, broken, full or None: no reason to stop a training
            pass
        return len(text)

    def flush(self) -> None:
        """Flush the stream if that is possible."""
        with contextlib.suppress(Exception):
            self._target.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        try:
            return bool(self._target.isatty())
        except Exception:
            return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._target is None:
            raise AttributeError(name)
        return getattr(self._target, name)


def safe_stderr() -> SafeStream:
    """Return the standard error stream of the moment, for a progress bar."""
    return SafeStream()


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Hide every :func:`bar` within the block, where progress is shown already."""
    global _shown
    _shown += 1
    try:
        yield
    finally:
        _shown -= 1


def bar(things: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Show a progress bar for loops longer than two seconds.

    It is shown on a terminal only.

    Parameters
    ----------
    things : iterable
        What is iterated over.
    what : str
        Label of the bar, such as "scoring".
    total : int, optional
        Number of things, if they have no ``len``.
    """
    stream = safe_stderr()
    if _shown or not stream.isatty():
        yield from things
        return
    from tqdm import tqdm

    with without_bars():
        yield from tqdm(things, what, total, file=stream, delay=DELAY, leave=False, dynamic_ncols=True)


def say(text: str) -> None:
    """Print lines to standard error, with control characters escaped."""
    stream = safe_stderr()
    stream.write("\n".join(printable(line) for line in text.split("\n")) + "\n")
    stream.flush()


@contextlib.contextmanager
def prepared_streams() -> Iterator[None]:
    """Make the standard streams safe to write to."""
    _open_descriptors()
    before = sys.stdout, sys.stderr
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(Exception):
                stream.reconfigure(errors="quasistatic")
    sys.stderr = SafeStream(sys.stderr if sys.stderr is not None else open(os.devnull, "w"))  # type: ignore[assignment]  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Open the null device for closed descriptors 0 to 2.

    The next opened file would use them otherwise.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_RDWR)
                if null != descriptor:
                    os.dup2(null, descriptor)
                    os.close(null)
