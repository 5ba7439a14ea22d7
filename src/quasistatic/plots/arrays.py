"""Checks of the arrays of a figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError

__all__ = ["bit_table", "curves", "table"]

Floats = NDArray[np.float64]


def table(values: ArrayLike, name: str, *, columns: int | None = None, missing: bool = False) -> Floats:
    """Check a table of numbers.

    Returns float64 of shape (n, d) with at least one row and column, all finite, or nan where ``missing``.

    Examples
    --------
    >>> table([[1, 2]], "points", columns=3)
    Traceback (most recent call last):
    quasistatic.errors.InputError: points must have 3 columns, got 2
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must have rows and columns, got shape {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise InputError(f"{name} must have {columns} columns, got {array.shape[1]}")
    bad = np.argwhere(np.isinf(array) if missing else ~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{name} must be finite, got {array[row, column]} in row {row}, column {column}")
    return array


def bit_table(values: ArrayLike, name: str) -> Floats:
    """``values`` as a table in which every entry is 0 or 1.

    Examples
    --------
    >>> bit_table([[0, 2]], "samples")
    Traceback (most recent call last):
    quasistatic.errors.InputError: samples must hold only 0 and 1, got 2 in row 0, column 1
    """
    array = table(values, name)
    bad = np.argwhere((array != 0) & (array != 1))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{name} must hold only 0 and 1, got {array[row, column]:g} in row {row}, column {column}")
    return array


def curves(**named: ArrayLike) -> list[Floats]:
    """Check vectors of one common length, without nan.

    Examples
    --------
    >>> curves(cost=[1.0, 2.0], log_snr=[0.0])
    Traceback (most recent call last):
    quasistatic.errors.InputError: log_snr must have the length of cost, 2, got shape (1,)
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    first = next(iter(arrays))
    if arrays[first].ndim != 1 or arrays[first].size == 0:
        raise InputError(f"{first} must be a vector with at least one entry, got shape {arrays[first].shape}")
    for name, array in arrays.items():
        if array.shape != arrays[first].shape:
            raise InputError(f"{name} must have the length of {first}, {len(arrays[first])}, got shape {array.shape}")
        if np.isnan(array).any():
            raise InputError(f"{name} must be a number at every step, got nan at entry {np.isnan(array).argmax()}")
    return list(arrays.values())
