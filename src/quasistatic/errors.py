"""Exceptions for bad input and for SIGTERM, and printable text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["InputError", "Terminated", "as_input_error", "printable"]

_LONGEST = 2000  # characters of a message


class InputError(ValueError):
    """Invalid input of the user.

    The message is one sentence with the value, the rule and what to do.

    The command prints the sentence and exits with status 2; nothing is written. Control characters of the sentence, which
    come from names in a user's file, are escaped.

    Examples
    --------
    >>> raise InputError("column 3 of row 7 is nan, but numbers must be finite")
    Traceback (most recent call last):
    quasistatic.errors.InputError: column 3 of row 7 is nan, but numbers must be finite
    """

    def __init__(self, message: object = "", *rest: object) -> None:
        text = printable(str(message))
        super().__init__(text if len(text) <= _LONGEST else text[:_LONGEST] + " ..", *rest)


class Terminated(SystemExit):
    """Termination by SIGTERM, with the exit status 143 of shells."""

    def __init__(self) -> None:
        super().__init__(143)


def printable(text: str) -> str:
    r"""Escape control characters of a text.

    These are the characters that move the cursor, change the direction of writing or cannot be encoded.

    Examples
    --------
    >>> printable("width\n\x1b[31m ± 2")
    'width\\n\\x1b[31m ± 2'
    """
    if text.isprintable():
        return text
    return "".join(c if c == " " or not _is_control(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_control(character: str) -> bool:
    """Return whether a character is a control or separator."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


@contextmanager
def as_input_error() -> Iterator[None]:
    """Re-raise ValueError from this block as InputError."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
