"""Inference of the kind of a column from its cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import LARGEST, SMALLEST, shown
from quasistatic.errors import InputError
from quasistatic.tables.cells import all_text, floats, missing, number_of
from quasistatic.tables.columns import Column
from quasistatic.tables.kinds import MOST_CLASSES, MOST_INTEGERS, MOST_LEVELS, parse_kind

__all__ = ["find_atoms", "infer"]

MOST_ATOMS = 20
LEAST_ATOM, ATOM_SHARE, ATOM_RATIO = 10, 0.05, 10.0  # rows, share of the rows, ratio to the counts of neighbouring values
_CONTAINERS = (list, tuple, dict, set, frozenset, np.ndarray)


def infer(cells: NDArray[Any], name: str, kind: str | None = None, lines: Sequence[int] | None = None) -> Column:
    """Infer the kind of a column from its cells.

    Two values make a column binary, and text makes it categorical. Whole numbers of at most 20 levels that recur are
    ordinal, other whole numbers integer, all other numbers numeric.

    Parameters
    ----------
    cells : ndarray, shape (n,)
    name : str
    kind : str, optional
        Kind of the column. "ordinal:0..16" and "integer:0..150" also give the range, where not all values were seen.
    lines : sequence of int, optional
        Line of the file that each cell came from, for messages.

    Returns
    -------
    Column

    Raises
    ------
    InputError
        If no cell is observed, the cells are not of the given kind, or there are too many classes.

    Examples
    --------
    >>> infer(np.array([3.0, 5.0, 4.0] * 10), "quality")
    Column(name='quality', kind='ordinal', values=(3.0, 4.0, 5.0), atoms=())
    >>> infer(np.array([3.0, 5.0, 4.0] * 10), "quality", "ordinal:3..6").n_levels
    4
    >>> infer(np.array(["M", "F", None], dtype=object), "sex").kind
    'binary'
    """
    given, span = parse_kind(kind, name)
    gone = missing(cells)
    observed = cells[~gone]
    if not len(observed):
        raise InputError(f"column {name!r} has no observed entry: leave it out")
    if (container := next((cell for cell in observed if isinstance(cell, _CONTAINERS)), None)) is not None:
        rule = "but cells must be numbers, truth values or text"
        raise InputError(f"column {name!r} holds {shown(container)} of type {type(container).__name__}, {rule}")
    if cells.dtype.kind == "b":
        observed = observed.astype(np.float64)
    if any(number_of(cell) is None for cell in observed) or _is_label(observed, given):
        return _text_column(observed, name, given)
    x = floats(observed, name, given or "numeric", None if lines is None else np.asarray(lines)[~gone])
    if (far := np.abs(x).max()) > LARGEST:
        raise InputError(f"column {name!r} holds a number of size {far:g}, but {LARGEST:g} is the most: rescale it")
    return _number_column(x, name, given, span)


def find_atoms(x: NDArray[np.float64], at_least_one: bool = False) -> tuple[float, ...]:
    """Find values that repeat far more often than their neighbours.

    An atom makes up at least 10 rows and 5 % of them. It is 10 times as frequent as the median of its two neighbours on
    either side: rounded numbers repeat, but so do their neighbours. At least two other values must remain.

    Parameters
    ----------
    x : ndarray, shape (n,)
    at_least_one : bool
        Take the most frequent value if no value qualifies.

    Returns
    -------
    tuple of float
        In increasing order.
    """
    distinct, counts = np.unique(x, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = counts >= max(LEAST_ATOM, ATOM_SHARE * len(x))
    found: list[int] = []
    for i in order[:MOST_ATOMS]:
        rest = np.delete(np.arange(len(distinct)), [*found, i])
        if len(rest) < 2:
            break
        near = rest[np.argsort(np.abs(rest - i), kind="stable")[:4]]
        if frequent[i] and counts[i] >= ATOM_RATIO * np.median(counts[near]):
            found.append(i)
    if not found and at_least_one and len(distinct) > 2:
        found = [order[0]]
    return tuple(float(distinct[i]) for i in sorted(found))


# ---------------------------------------------------------------------------------------------------------- numbers


def _number_column(x: NDArray[np.float64], name: str, given: str | None, span: tuple[int, int] | None) -> Column:
    distinct = np.unique(x)
    kind = _kind_of_numbers(distinct, len(x), given)
    if span is not None:
        _require_span(x, name, span)
        distinct = np.arange(float(span[0]), span[1] + 1.0)
    if kind == "constant" or (kind in ("binary", "categorical", "ordinal") and len(distinct) == 1):
        return _column_of_levels(name, "constant", distinct.tolist())
    atoms: tuple[float, ...] = ()
    if given in (None, "atoms") and kind in ("numeric", "integer"):
        atoms = find_atoms(x, at_least_one=given == "atoms")
        distinct = np.setdiff1d(distinct, atoms) if atoms else distinct
    if kind == "numeric":
        return _numeric_column(name, distinct, atoms)
    if kind in ("integer", "ordinal") and not _whole(x):
        wrong = x[x != np.round(x)][0]
        raise InputError(f"column {name!r} cannot be {kind}: it holds {wrong:g}, which is not a whole number")
    if kind == "integer":
        return _integer_column(name, distinct, atoms)
    if kind == "ordinal" and distinct[-1] - distinct[0] < 2 * MOST_LEVELS:
        distinct = np.arange(distinct[0], distinct[-1] + 1)  # a level between the seen ones may come later
    return _column_of_levels(name, kind, distinct.tolist())


def _whole(x: NDArray[np.float64]) -> bool:
    return bool((x == np.round(x)).all())


def _kind_of_numbers(distinct: NDArray[np.float64], n: int, given: str | None) -> str:
    if given is not None and given != "atoms":
        return given
    span = distinct[-1] - distinct[0]
    if len(distinct) == 1:
        return "constant"
    if not _whole(distinct) or span >= MOST_INTEGERS:
        return "numeric"
    if given == "atoms":
        return "integer"
    if len(distinct) == 2 and n > 2:
        return "binary"
    if len(distinct) <= MOST_LEVELS and span < 2 * MOST_LEVELS and n >= 2 * len(distinct):
        return "ordinal"
    return "integer"


def _require_span(x: NDArray[np.float64], name: str, span: tuple[int, int]) -> None:
    low, high = span
    wrong = x[(x != np.round(x)) | (x < low) | (x > high)]
    if len(wrong):
        raise InputError(f"column {name!r} is given the range {low} to {high}, but holds {wrong[0]:g}")


def _numeric_column(name: str, distinct: NDArray[np.float64], atoms: tuple[float, ...]) -> Column:
    if 0.0 < (span := distinct[-1] - distinct[0]) < SMALLEST:
        raise InputError(f"column {name!r} varies by {span:g} in all, but {SMALLEST:g} is the least: rescale it")
    return Column(name, "numeric", (), atoms)


def _integer_column(name: str, distinct: NDArray[np.float64], atoms: tuple[float, ...]) -> Column:
    if (span := distinct[-1] - distinct[0]) >= MOST_INTEGERS:
        raise InputError(f"column {name!r} spans {span:.0f} integers, but the most is {MOST_INTEGERS}: make it numeric")
    return Column(name, "integer", (float(distinct[0]), float(distinct[-1])), atoms)


# ----------------------------------------------------------------------------------------------- levels and classes


def _is_label(observed: NDArray[Any], given: str | None) -> bool:
    """Return True if text of digits is a label.

    It is one if it is given as a class, or padded with zeros like a postal code.
    """
    if observed.dtype.kind != "O" or not all_text(observed):
        return False
    if given in ("binary", "categorical"):
        return True
    padded = any(re.fullmatch(r"0\d+", cell) for cell in observed)
    return given is None and padded and len(set(observed)) <= MOST_CLASSES


def _text_column(observed: NDArray[Any], name: str, given: str | None) -> Column:
    if given in ("numeric", "integer", "ordinal", "atoms"):
        wrong = next(cell for cell in observed if number_of(cell) is None)
        raise InputError(f"column {name!r} cannot be {given}: it holds {wrong!r}, which is not a number")
    values = sorted({str(cell) for cell in observed})
    return _column_of_levels(name, "constant" if len(values) == 1 else given or "categorical", values)


def _column_of_levels(name: str, kind: str, values: Sequence[Any]) -> Column:
    if kind == "categorical" and len(values) == 2:
        kind = "binary"
    if kind == "binary" and len(values) > 2:
        raise InputError(f"column {name!r} cannot be binary: it holds {len(values)} different values")
    if kind in ("categorical", "ordinal") and len(values) > MOST_CLASSES:
        raise InputError(
            f"column {name!r} holds {len(values)} different values, but a column of classes may hold {MOST_CLASSES}: "
            "leave it out, or make it numeric"
        )
    return Column(name, kind, tuple(values))
