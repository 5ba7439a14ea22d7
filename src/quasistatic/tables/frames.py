"""Columns and types of pandas data frames.

Samples and filled rows have them too. pandas is imported only if a table came as a data frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.io.cells import is_text
from quasistatic.tables.cells import all_text, any_text, missing
from quasistatic.tables.kinds import MOST_CLASSES

__all__ = ["ColumnType", "Frame", "frame_of"]


@dataclass(frozen=True)
class ColumnType:
    """Type of one column of a data frame.

    Attributes
    ----------
    name : object
    dtype : str
    categories : tuple
        Values of a categorical column.
    ordered : bool
        True if the categories are ordered.
    truths : bool
        True for a column of objects that are True, False or missing.
    labels : bool
        True for text of whole numbers, few enough to be classes.
    digits : bool
        True for a column of text. Numbers drawn for it are written as text.
    width : int
        Number of digits that they are padded to with zeros.
    """

    name: Any
    dtype: str
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    truths: bool = False
    labels: bool = False
    digits: bool = False
    width: int = 0

    @classmethod
    def of(cls, column: Any, name: Any) -> ColumnType:
        """Read the type of a column.

        Parameters
        ----------
        column : Series
        name : object
        """
        dtype = str(column.dtype)
        if dtype == "category":
            levels = column.cat.categories
            return cls(name, dtype, tuple(levels.tolist()), bool(column.cat.ordered))
        if not _holds_objects(dtype):
            return cls(name, dtype)
        observed = [cell for cell in column.dropna() if not (is_text(cell) and cell == "")]
        if observed and all(type(cell) in (bool, np.bool_) for cell in observed):
            return cls(name, dtype, truths=True)
        if not observed or not all_text(observed):
            return cls(name, dtype)
        lengths = {len(cell) for cell in observed}
        padded = len(lengths) == 1 and any(cell.startswith("0") for cell in observed)
        # whole numbers written as text and repeated are labels; others are numbers that came as text
        few = len(set(observed)) <= min(MOST_CLASSES, len(observed) // 2) and all(cell.isdecimal() for cell in observed)
        return cls(name, dtype, labels=few, digits=True, width=lengths.pop() if padded else 0)

    def series(self, cells: NDArray[Any], drawn: bool) -> Any:
        """Return cells as a Series of this type.

        Parameters
        ----------
        cells : ndarray, shape (n,)
        drawn : bool
            Round drawn numbers for an integer type. Means are not rounded.
        """
        import pandas

        if self.dtype == "category":
            known = _as_known(cells, self.categories)
            if None in known:  # the column was given as one of numbers, and they are no categories
                return pandas.Series(cells).astype(np.float64)
            return pandas.Series(pandas.Categorical(known, categories=list(self.categories), ordered=self.ordered))
        if self.truths:
            return pandas.Series(_as_known(cells, (False, True)), dtype=object)
        if self.digits:
            cells = np.array([_digits(cell, self.width) for cell in cells], dtype=object)
        if self.dtype == "object" or any_text(cells):
            return pandas.Series(cells, dtype=object).astype(self.dtype)
        numbers = pandas.Series(cells).astype(np.float64)
        if not pandas.api.types.is_integer_dtype(self.dtype):
            return numbers.astype(self.dtype)
        if drawn:
            bounds = np.iinfo(self.dtype.lower())
            numbers = numbers.round().clip(bounds.min, bounds.max)
        return numbers.astype(self.dtype) if (numbers == numbers.round()).all() else numbers


@dataclass(frozen=True)
class Frame:
    """Names and types of the columns of a data frame."""

    types: tuple[ColumnType, ...]

    def plain(self) -> list[dict[str, Any]] | None:
        """Return records for JSON, or None if there are none."""
        values = [value for kind in self.types for value in (kind.name, *kind.categories)]
        return [asdict(kind) for kind in self.types] if all(isinstance(v, str | int | float) for v in values) else None

    @classmethod
    def from_plain(cls, records: list[dict[str, Any]] | None) -> Frame | None:
        """Read the records that :meth:`plain` returns."""
        if records is None:
            return None
        return cls(tuple(ColumnType(**{**record, "categories": tuple(record["categories"])}) for record in records))

    def kinds(self) -> dict[str, str]:
        """Return the kinds of columns of categories and labels."""
        few = [c for c in self.types if c.labels or (c.dtype == "category" and len(c.categories) <= MOST_CLASSES)]
        return {str(kind.name): "categorical" for kind in few}

    def table(self, cells: NDArray[Any], index: Any = None, *, drawn: bool = True, observed: Any = None) -> Any:
        """Put cells into a data frame of these columns and types.

        Parameters
        ----------
        cells : ndarray, shape (n, d)
        index : optional
            Index of the data frame.
        drawn : bool
            Round drawn numbers in columns of integers. A mean is not rounded, and makes the column one of floats.
        observed : DataFrame, optional
            Its cells that are not missing replace those of ``cells``.

        Returns
        -------
        DataFrame
        """
        import pandas

        columns = [kind.series(cells[:, j], drawn) for j, kind in enumerate(self.types)]
        if observed is not None:
            columns = [_restored(c, observed.iloc[:, j]) for j, c in enumerate(columns)]
        frame = pandas.concat(columns, axis=1) if columns else pandas.DataFrame()
        frame.columns = pandas.Index([kind.name for kind in self.types])
        return frame if index is None else frame.set_axis(index, axis=0)

    def numbers(self, cells: NDArray[np.float64], index: Any = None) -> Any:
        """Put numbers into a data frame of floats.

        Parameters
        ----------
        cells : ndarray, shape (n, d)
        index : optional
            Index of the data frame.
        """
        import pandas

        return pandas.DataFrame(cells, columns=[kind.name for kind in self.types], index=index)


def frame_of(X: Any) -> Frame | None:
    """Return the types of a pandas data frame, or None."""
    if type(X).__module__.split(".")[0] != "pandas" or not hasattr(X, "dtypes"):
        return None
    return Frame(tuple(ColumnType.of(X.iloc[:, j], name) for j, name in enumerate(X.columns)))


def _holds_objects(dtype: Any) -> bool:
    return str(dtype) == "object" or str(dtype).startswith(("str", "large_str"))


def _restored(filled: Any, observed: Any) -> Any:
    """Put observed objects back into a filled column."""
    if not _holds_objects(filled.dtype):
        return filled
    cells = observed.to_numpy(dtype=object)
    known = ~missing(cells)
    restored = filled.copy()
    restored[known] = cells[known]
    return restored


def _digits(cell: Any, width: int) -> Any:
    """Write a number as text, padded with zeros."""
    if not isinstance(cell, float) or np.isnan(cell):
        return cell
    return str(int(cell)).zfill(width) if cell.is_integer() else repr(float(cell))


def _as_known(cells: NDArray[Any], values: Sequence[Any]) -> list[Any]:
    """Return the original values of decoded cells, or None.

    True and 1 are returned for 1.0, and objects for their text.
    """
    known = {value: value for value in values} | {str(value): value for value in values}
    return [known.get(cell) for cell in cells]
