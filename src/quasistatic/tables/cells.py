"""Cells of a file of a table to coded rows, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.io.tables import Cells
from quasistatic.tables.coding import cells_of
from quasistatic.tables.columns import Column

__all__ = ["cell_type", "decoded", "encoded"]


def encoded(columns: list[Column], cells: Cells) -> tuple[Tensor, Tensor]:
    """Codes of rows, (n, coded columns), nan where missing, and which rows are impossible."""
    if [column.name for column in columns] != cells.names:
        there, asked = ", ".join(cells.names), ", ".join(column.name for column in columns)
        raise InputError(f"the table has the columns {there}, but the model takes {asked}")
    pairs = [column.encode(c, cells.lines) for column, c in zip(columns, cells.columns, strict=True)]
    wrong = np.any([pair[1] for pair in pairs], axis=0)
    return torch.as_tensor(np.concatenate([codes for codes, _ in pairs], 1)), torch.as_tensor(wrong)


def decoded(columns: list[Column], x: Tensor) -> NDArray[Any]:
    """Cells of coded rows, (n, all columns), objects."""
    return np.stack([cells.astype(object) for cells in cells_of(x, columns)], 1)


def cell_type(column: Column) -> type:
    """Type of the cells of a column where they are written with types."""
    if any(isinstance(value, str) for value in column.values):
        return str
    return float if column.kind == "numeric" or any(value != round(value) for value in column.values) else int
