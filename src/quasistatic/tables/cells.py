"""Values of single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.cells import is_missing, is_text

__all__ = ["all_text", "any_text", "as_type_of", "floats", "missing", "number_of"]

LARGEST_EXACT = 2.0**53  # a float holds every whole number up to here


def any_text(values: Sequence[Any] | NDArray[Any]) -> bool:
    """Return True if some value is text."""
    return any(is_text(value) for value in values)


def all_text(values: Sequence[Any] | NDArray[Any]) -> bool:
    """Return True if every value is text."""
    return all(is_text(value) for value in values)


def missing(cells: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the missing cells."""
    if cells.dtype.kind == "f":
        return np.isnan(cells)
    if cells.dtype.kind in "biu":
        return np.zeros(len(cells), bool)
    return np.array([is_missing(cell) for cell in cells], bool)


def number_of(cell: Any) -> float | None:
    """Return the number of a cell, or None.

    Python's ``1_000`` is no number in a table.
    """
    if is_text(cell) and "_" in cell:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def as_type_of(cell: Any, values: Sequence[Any]) -> Any:
    """Convert a cell to the type of the known values.

    Parameters
    ----------
    cell : object
    values : sequence
        All text or all numbers.
    """
    if not is_text(values[0]):
        return number_of(cell)
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def floats(
    cells: NDArray[Any], name: str, kind: str, lines: Sequence[int] | NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Convert observed cells to finite floats.

    Parameters
    ----------
    cells : ndarray, shape (n,)
    name, kind : str
        Of the column, for messages.
    lines : sequence of int, optional
        Line of the file that each cell came from, for messages.

    Raises
    ------
    InputError
        If a cell is no number, not finite, or a whole number that no float equals.
    """

    def place(i: int) -> str:
        return f"column {name!r}" if lines is None else f"line {lines[i]}, column {name!r}"

    try:
        numbers = cells.astype(np.float64)
    except (TypeError, ValueError):
        wrong = next(i for i, cell in enumerate(cells) if number_of(cell) is None)
        sentence = f"{place(wrong)} is {kind}, but holds {cells[wrong]!r}, which is not a number"
        raise InputError(sentence) from None
    if not np.isfinite(numbers).all():
        wrong = int(np.argmin(np.isfinite(numbers)))
        rule = "every number must be finite; write nan or nothing for a missing entry"
        raise InputError(f"{place(wrong)} holds {numbers[wrong]}, but {rule}")
    inexact = _first_inexact(cells, numbers)
    if inexact is not None:
        raise InputError(
            f"{place(inexact)} holds {cells[inexact]}, but whole numbers above 2**53 are not exact as floats: "
            "leave an identifier out, or turn it into text"
        )
    return numbers


def _first_inexact(cells: NDArray[Any], numbers: NDArray[np.float64]) -> int | None:
    """Return the index of a whole number that is not exact."""
    for i in np.flatnonzero(np.abs(numbers) >= LARGEST_EXACT):
        try:
            exact = int(str(cells[i]))  # a number written as a decimal or power of ten is a measurement
        except ValueError:
            continue
        if exact != int(numbers[i]):
            return int(i)
    return None
