"""Coded rows of a table.

A column gives as many codes as :attr:`Column.coded` has columns: none if it is constant, two if it has atoms, else one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.io.cells import Cells
from quasistatic.tables.columns import Column, column_name

__all__ = [
    "coded_columns",
    "decode",
    "decode_rows",
    "encode",
    "encode_cells",
    "encode_known",
    "first_impossible",
    "hide",
    "missing_cells",
    "modelled",
    "values_of",
]


def modelled(columns: Sequence[Column]) -> list[Column]:
    """List the columns that are not constant."""
    return [column for column in columns if column.coded]


def coded_columns(columns: Sequence[Column]) -> list[Column]:
    """List the columns of the codes."""
    return [part for column in columns for part in column.coded]


def encode(
    columns: Sequence[Column], cells: Sequence[NDArray[Any]], lines: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Turn columns of cells into coded rows.

    Parameters
    ----------
    columns : sequence of Column
    cells : sequence of ndarray, each of shape (n,)
    lines : sequence of int, optional
        Line of the file that each row came from, for messages.

    Returns
    -------
    x : Tensor, shape (n, number of coded columns)
        nan where missing.
    impossible : Tensor of bool, shape (n,)
        True where a row holds a value that its column cannot have.
    """
    pairs = [column.encode(c, lines) for column, c in zip(columns, cells, strict=True)]
    impossible = np.any([pair[1] for pair in pairs], axis=0)
    codes = np.concatenate([codes for codes, _ in pairs], 1)
    return torch.as_tensor(codes, dtype=torch.float64), torch.as_tensor(impossible)


def encode_cells(columns: Sequence[Column], cells: Cells) -> tuple[Tensor, Tensor]:
    """Turn the cells of a file into coded rows.

    Parameters
    ----------
    columns : sequence of Column
    cells : Cells
        Of a file whose columns have the same names.

    Returns
    -------
    x, impossible
        As of :func:`encode`.
    """
    expected = [column.name for column in columns]
    if expected != cells.names:
        found = ", ".join(cells.names)
        raise InputError(f"the table has the columns {found}, but the model takes {', '.join(expected)}")
    return encode(columns, cells.columns, cells.lines)


def decode(columns: Sequence[Column], x: Tensor) -> list[NDArray[Any]]:
    """Turn coded rows into columns of cells.

    Parameters
    ----------
    columns : sequence of Column
    x : Tensor, shape (n, d)

    Returns
    -------
    list of ndarray, each of shape (n,)
    """
    codes = x.split([len(column.coded) for column in columns], 1)
    return [column.decode(part.numpy()) for column, part in zip(columns, codes, strict=True)]


def decode_rows(columns: Sequence[Column], x: Tensor) -> NDArray[Any]:
    """Turn coded rows into rows of cells.

    Parameters
    ----------
    columns : sequence of Column
    x : Tensor, shape (n, d)

    Returns
    -------
    ndarray, shape (n, all columns)
        Floats, or objects if some column holds text.
    """
    cells = decode(columns, x)
    text = any(c.dtype == object for c in cells)
    return np.stack([c.astype(object) if text else c for c in cells], 1)


def encode_known(columns: Sequence[Column], known: Mapping[Any, Any]) -> Tensor:
    """Encode the values of some columns as one row.

    The other columns are missing.

    Parameters
    ----------
    columns : sequence of Column
        All columns of the table.
    known : mapping
        From the name or number of a column to its value.

    Returns
    -------
    Tensor, shape (1, d)

    Raises
    ------
    InputError
        If there is no such column, or it cannot have that value.
    """
    names = [column.name for column in columns]
    cells = [np.full(1, None, dtype=object) for _ in names]
    for key, value in known.items():
        if (name := column_name(key, names)) not in names:
            raise InputError(f"there is no column {key!r}; there are {', '.join(names)}")
        cells[names.index(name)][0] = value
    x, impossible = encode(columns, cells)
    if impossible.any() and (found := first_impossible(columns, cells)) is not None:
        raise InputError(f"cannot condition on {found[1]}")
    return x


def first_impossible(columns: Sequence[Column], cells: Sequence[NDArray[Any]]) -> tuple[int, str] | None:
    """Find the first row with a value that its column cannot have.

    Parameters
    ----------
    columns : sequence of Column
    cells : sequence of ndarray, each of shape (n,)

    Returns
    -------
    tuple of int and str, or None
        The row and what is wrong with it; None if every value is possible.
    """
    masks = np.stack([column.encode(c)[1] for column, c in zip(columns, cells, strict=True)], 1)
    if not masks.any():
        return None
    row = int(masks.any(1).argmax())
    j = int(masks[row].argmax())
    return row, columns[j].why_impossible(cells[j][row])


def values_of(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Return the values of coded rows.

    Numbers and levels are those of the table; bits and classes keep their codes.

    Parameters
    ----------
    x : Tensor, shape (..., number of coded columns)
    columns : sequence of Column

    Returns
    -------
    Tensor, shape (..., columns that are not constant)
    """
    codes = x.split([len(column.coded) for column in columns], -1)
    each = [column.values_of(part) for column, part in zip(columns, codes, strict=True) if column.coded]
    return torch.stack(each, -1)


def missing_cells(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Mark the missing cells of coded rows.

    The first code of a column with atoms decides. The second is missing at an atom, where the cell is observed.

    Parameters
    ----------
    x : Tensor, shape (..., number of coded columns)
    columns : sequence of Column

    Returns
    -------
    Tensor of bool, shape (..., columns that are not constant)
    """
    first, at = [], 0
    for column in modelled(columns):
        first.append(at)
        at += len(column.coded)
    return x[..., first].isnan()


def hide(x: Tensor, cells: Tensor, columns: Sequence[Column]) -> Tensor:
    """Make marked cells of coded rows missing.

    Parameters
    ----------
    x : Tensor, shape (..., number of coded columns)
    cells : Tensor of bool, shape (..., columns that are not constant)
    columns : sequence of Column
    """
    codes = torch.tensor([len(column.coded) for column in modelled(columns)])
    return x.masked_fill(cells.repeat_interleave(codes, -1), math.nan)
