"""Cells of a table file before they are coded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Cells", "is_missing", "is_text"]


@dataclass(frozen=True)
class Cells:
    """Rows of a table with columns of any kind.

    Attributes
    ----------
    names : list of str
        Names of the columns.
    columns : list of ndarray
        One array for each name: floats, or text with None where the cell is missing.
    lines : list of int
        Line of the file that each row came from. Rows of a file without lines are counted from one.
    """

    names: list[str]
    columns: list[NDArray[Any]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)


def is_text(cell: Any) -> bool:
    """Return True for text."""
    return isinstance(cell, str)


def is_missing(cell: Any) -> bool:
    """Return True for None, nan, empty text and pandas.NA."""
    if cell is None or is_text(cell):
        return cell is None or cell == ""
    # pandas.NA and pandas.NaT refuse to be compared
    return (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")
