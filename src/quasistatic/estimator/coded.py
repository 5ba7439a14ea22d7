"""Coded rows: what the model sees of a table, and the cells that the codes stand for.

A column gives as many codes as :attr:`Column.coded` has columns: none if it is constant, two if it has atoms, else one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from quasistatic.estimator.columns import Column

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
    values = []
    at = 0
    for column in columns:
        codes = x[..., at : at + len(column.coded)]
        at += len(column.coded)
        if column.kind in ("numeric", "integer"):
            value = codes[..., -1] + (column.values[0] if column.kind == "integer" else 0.0)
            if column.atoms:
                atom = codes[..., 0]
                known = torch.tensor([math.nan, *column.atoms], dtype=x.dtype)[atom.nan_to_num().long()]
                value = torch.where(atom > 0, known, value.masked_fill(atom.isnan(), math.nan))
            values.append(value)
        elif column.kind == "ordinal":
            level = codes[..., 0]
            value = torch.tensor(column.values, dtype=x.dtype)[level.nan_to_num().long()]
            values.append(value.masked_fill(level.isnan(), math.nan))
        elif column.kind != "constant":
            values.append(codes[..., 0])
    return torch.stack(values, -1)


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
