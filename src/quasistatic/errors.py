"""The one exception for input that a user can mend."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input, said in one sentence that names the value and the rule.

    The command prints the sentence and exits with status 2; nothing is written.

    Examples
    --------
    >>> raise InputError("column 3 of row 7 is nan, but numbers must be finite")
    Traceback (most recent call last):
    quasistatic.errors.InputError: column 3 of row 7 is nan, but numbers must be finite
    """
