"""Kinds of columns and their limits."""

from __future__ import annotations

import re

from quasistatic.checks import shown
from quasistatic.errors import InputError
from quasistatic.io.cells import is_text

__all__ = ["KINDS", "MOST_CLASSES", "MOST_INTEGERS", "MOST_LEVELS", "NUMERIC", "parse_kind"]

KINDS = ("numeric", "integer", "ordinal", "binary", "categorical", "constant", "atoms")
NUMERIC = ("numeric", "integer", "ordinal")  # kinds whose values can be averaged
MOST_LEVELS = 20  # of a column that is inferred to be ordinal
MOST_CLASSES = 64
MOST_INTEGERS = 2**20


def parse_kind(kind: str | None, name: str) -> tuple[str | None, tuple[int, int] | None]:
    """Parse a kind such as "ordinal:0..16".

    Parameters
    ----------
    kind : str or None
        One of :data:`KINDS`; "ordinal" and "integer" may be followed by a range. None leaves the kind to inference.
    name : str
        Name of the column, for messages.

    Returns
    -------
    kind : str or None
    span : tuple of int or None
        Least and greatest value of the range.

    Raises
    ------
    InputError
        If the kind is unknown, or the range is malformed or too long.

    Examples
    --------
    >>> parse_kind("ordinal:0..16", "rings")
    ('ordinal', (0, 16))
    """
    if kind is None:
        return None, None
    if not is_text(kind):
        raise InputError(f"the type of column {name!r} must be text, one of {', '.join(KINDS)}, got {shown(kind)}")
    word, colon, span = kind.partition(":")
    if word not in KINDS:
        raise InputError(f"the type of column {name!r} must be one of {', '.join(KINDS)}, got {word!r}")
    if not colon:
        return word, None
    match = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", span)
    ends = () if match is None or len(span) > 40 else (int(match[1]), int(match[2]))
    if word not in ("ordinal", "integer") or not ends or ends[0] >= ends[1]:
        rule = "may have a range as in ordinal:0..16 or integer:0..150"
        raise InputError(f"the type of column {name!r} {rule}, got {kind!r}")
    most = MOST_CLASSES if word == "ordinal" else MOST_INTEGERS
    if ends[1] - ends[0] >= most:
        n_levels = ends[1] - ends[0] + 1
        raise InputError(f"the type {kind!r} of column {name!r} has {n_levels} levels, but the most is {most}")
    return word, (ends[0], ends[1])
