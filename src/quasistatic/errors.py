"""Exceptions for bad input and for SIGTERM, and text made safe to print."""

from __future__ import annotations

import unicodedata

__all__ = ["InputError", "Terminated", "printable"]

_LONGEST = 2000  # characters of a message


class InputError(ValueError):
    """Bad input, described in one sentence that names the value and the rule.

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
    """SIGTERM came. The exit status is 143, as shells have it."""

    def __init__(self) -> None:
        super().__init__(143)


def printable(text: str) -> str:
    r"""Escape what would move the cursor, change the direction of writing, or cannot be encoded.

    Examples
    --------
    >>> printable("width\n\x1b[31m ± 2")
    'width\\n\\x1b[31m ± 2'
    """
    if text.isprintable():
        return text
    return "".join(c if c == " " or not _is_control(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_control(character: str) -> bool:
    """Control, format and surrogate characters, and the separators of lines and paragraphs."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
