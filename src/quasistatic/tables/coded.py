"""Coded rows: what the model sees of a table, and the cells that the codes stand for.

A column gives as many codes as :attr:`Column.coded` has columns: none if it is constant, two if it has atoms, else one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from quasistatic.tables.columns import NUMERIC, Column

__all__ = ["coded_columns", "hide", "missing_cells", "modelled", "values_of"]


def modelled(columns: Sequence[Column]) -> list[Column]:
    """The columns that are not constant."""
    return [column for column in columns if column.coded]


def coded_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns of coded rows, in order."""
    return [part for column in columns for part in column.coded]


def values_of(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Values of the cells of coded rows, (..., columns that are not constant).

    Numbers and levels stand as they are in the table; bits and classes keep their codes.

    Parameters
    ----------
    x : Tensor, shape (..., number of coded columns)
    columns : sequence of Column
    """
    codes = x.split([len(column.coded) for column in columns], -1)
    each = [_value(column, part) for column, part in zip(columns, codes, strict=True) if column.coded]
    return torch.stack(each, -1)


def _value(column: Column, codes: Tensor) -> Tensor:
    """Values (...) of the codes (..., number of coded columns) of one column."""
    if column.kind not in NUMERIC:
        return codes[..., 0]
    cells = column.decode(codes.reshape(-1, codes.shape[-1]).numpy())
    return torch.as_tensor(cells, dtype=codes.dtype).view(codes.shape[:-1])


def missing_cells(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Which cells of coded rows are missing, (..., columns that are not constant).

    Where a column has atoms its first code decides: the value at an atom is not missing, it is the atom.
    """
    first, at = [], 0
    for column in modelled(columns):
        first.append(at)
        at += len(column.coded)
    return x[..., first].isnan()


def hide(x: Tensor, cells: Tensor, columns: Sequence[Column]) -> Tensor:
    """Coded rows with the marked cells, (..., columns that are not constant), made missing."""
    codes = torch.tensor([len(column.coded) for column in modelled(columns)])
    return x.masked_fill(cells.repeat_interleave(codes, -1), math.nan)
