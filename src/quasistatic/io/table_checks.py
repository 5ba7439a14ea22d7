"""Checks of tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.splits import MIN_ROWS
from quasistatic.memory import require_memory

__all__ = ["place_of", "require_binary", "require_finite", "require_room", "require_table", "require_two_axes"]


def require_binary(x: NDArray[np.generic], source: str) -> NDArray[np.generic]:
    """Return ``x`` if every entry is 0 or 1.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Of any numeric type, or boolean.
    source : str
        Name of the table in the message.

    Returns
    -------
    ndarray
        ``x`` itself.

    Raises
    ------
    InputError
        With row, column (both from one) and value of the first entry that is neither.

    Examples
    --------
    >>> require_binary(np.array([[0.0, 1.0], [1.0, 0.5]]), "bits.csv")
    Traceback (most recent call last):
    quasistatic.errors.InputError: row 2, column 2 of bits.csv is 0.5, but binary data must be 0 or 1
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise InputError(f"{source} has shape {x.shape}, but a table must be two-dimensional (rows, columns)")
    good = (x == 0) | (x == 1)
    if not good.all():
        row, column = _first_false(good)
        where = f"row {row + 1}, column {column + 1} of {source}"
        raise InputError(f"{where} is {x[row, column].item()}, but binary data must be 0 or 1")
    return x


def require_room(path: Path, times: float) -> None:
    """Refuse a text whose cells need more memory than there is.

    Parameters
    ----------
    path : Path
    times : float
        Memory of the cells in units of the size of the file.
    """
    require_memory(f"{path.name} as a whole", times * path.stat().st_size, "take fewer rows", data=True)


def require_two_axes(shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> None:
    """Refuse an array that is not two-dimensional, or not of numbers.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    source : str
        Name of the table in the message.
    """
    if dtype.kind not in "biuf" or len(shape) != 2:
        raise InputError(f"{source} holds {dtype} of shape {shape}, but a table of numbers is needed")


def require_table(shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> None:
    """Refuse an array that is no table of ten rows of numbers.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    source : str
        Name of the table in the message.
    """
    if dtype.kind not in "biuf":
        raise InputError(f"{source} holds entries of type {dtype}, but real numbers are needed")
    if len(shape) != 2:
        advice = "reshape(-1, 1) makes it one column" if len(shape) == 1 else "give each example one row"
        rule = f"a table must be two-dimensional (rows, columns); {advice}"
        raise InputError(f"{source} has shape {shape}, but {rule}")
    if shape[1] == 0:
        raise InputError(f"{source} has shape {shape}, but a table needs at least one column")
    if shape[0] < MIN_ROWS:
        rows = f"{shape[0]} row{'s' * (shape[0] != 1)}"
        raise InputError(f"{source} has {rows}, but at least {MIN_ROWS} are needed")


def require_finite(x: NDArray[np.float64], names: Sequence[str], source: str) -> None:
    """Refuse nan and infinity.

    Parameters
    ----------
    x : ndarray, shape (n, d)
    names : sequence of str
        Of the columns, or empty.
    source : str
        Name of the table in the message.
    """
    good = np.isfinite(x)
    if not good.all():
        row, column = _first_false(good)
        where = f"row {row + 1}, {place_of(names, column)} of {source}"
        raise InputError(f"{where} is {x[row, column]}, but every number must be finite")


def place_of(names: Sequence[str], index: int) -> str:
    """Name a column in a message.

    Parameters
    ----------
    names : sequence of str
        A column without a name has its number, from one.
    index : int
    """
    name = names[index] if index < len(names) else ""
    return f"column {name!r}" if name else f"column {index + 1}"


def _first_false(good: NDArray[np.bool_]) -> tuple[int, int]:
    row, column = divmod(int(np.argmin(good)), good.shape[1])
    return row, column
