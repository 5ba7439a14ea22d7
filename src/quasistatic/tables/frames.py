"""Data frames of pandas: what a table came as, so that samples and filled rows can go back as the same.

pandas is never imported unless a table came as a data frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.tables.columns import MOST_CLASSES, missing

__all__ = ["Frame", "frame_of"]


@dataclass(frozen=True)
class Cast:
    """Type of one column: its name, and the values of a categorical one."""

    name: Any
    dtype: str
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    truths: bool = False
    """Whether it is a column of objects that are True, False or missing."""
    labels: bool = False
    """Whether it is a column of whole numbers written as text, few enough to be classes."""
    digits: bool = False
    """Whether it is a column of text; numbers that are drawn for it are written as text."""
    width: int = 0
    """Number of digits that they are padded to with zeros."""


@dataclass(frozen=True)
class Frame:
    """Names and types of the columns of a data frame."""

    casts: tuple[Cast, ...]

    def plain(self) -> list[dict[str, Any]] | None:
        """The same for JSON; None where names or categories are more than text and numbers, such as intervals."""
        values = [value for cast in self.casts for value in (cast.name, *cast.categories)]
        return [asdict(cast) for cast in self.casts] if all(isinstance(v, str | int | float) for v in values) else None

    @classmethod
    def from_plain(cls, told: list[dict[str, Any]] | None) -> Frame | None:
        """Read what :meth:`plain` told."""
        if told is None:
            return None
        return cls(tuple(Cast(**{**cast, "categories": tuple(cast["categories"])}) for cast in told))

    def kinds(self) -> dict[str, str]:
        """Kinds of the columns whose type is not a number's: categories and text are classes, digits or not."""
        few = [c for c in self.casts if c.labels or (c.dtype == "category" and len(c.categories) <= MOST_CLASSES)]
        return {str(cast.name): "categorical" for cast in few}

    def table(self, cells: NDArray[Any], index: Any = None, *, drawn: bool = True, observed: Any = None) -> Any:
        """Put cells (n, d) into a data frame of these columns, each in its type.

        What was drawn for a column of integers is rounded, as wide ones are modelled as numbers; a mean is not, and halves
        turn the column into one of floats. Cells of a data frame ``observed`` that are not missing stay the objects that
        they were.
        """
        import pandas

        columns = [_cast(cells[:, j], cast, drawn) for j, cast in enumerate(self.casts)]
        if observed is not None:
            columns = [_restored(c, observed.iloc[:, j]) for j, c in enumerate(columns)]
        frame = pandas.concat(columns, axis=1) if columns else pandas.DataFrame()
        frame.columns = pandas.Index([cast.name for cast in self.casts])
        return frame if index is None else frame.set_axis(index, axis=0)

    def numbers(self, cells: NDArray[np.float64], index: Any = None) -> Any:
        """Put numbers (n, d) into a data frame of floats with these columns."""
        import pandas

        return pandas.DataFrame(cells, columns=[cast.name for cast in self.casts], index=index)


def frame_of(X: Any) -> Frame | None:
    """What a data frame of pandas is; None of any other table."""
    if type(X).__module__.split(".")[0] != "pandas" or not hasattr(X, "dtypes"):
        return None
    return Frame(tuple(_cast_of(X.iloc[:, j], name) for j, name in enumerate(X.columns)))


def _cast_of(column: Any, name: Any) -> Cast:
    dtype = str(column.dtype)
    if dtype == "category":
        levels = column.cat.categories
        return Cast(name, dtype, tuple(levels.tolist()), bool(column.cat.ordered))
    if dtype != "object" and not dtype.startswith(("str", "large_str")):
        return Cast(name, dtype)
    there = [cell for cell in column.dropna() if not (isinstance(cell, str) and cell == "")]
    if there and all(isinstance(cell, bool | np.bool_) for cell in there):
        return Cast(name, dtype, truths=True)
    if not there or not all(isinstance(cell, str) for cell in there):
        return Cast(name, dtype)
    lengths = {len(cell) for cell in there}
    padded = len(lengths) == 1 and any(cell.startswith("0") for cell in there)
    # whole numbers written as text and repeated are labels; others are numbers that came as text
    few = len(set(there)) <= min(MOST_CLASSES, len(there) // 2) and all(cell.isdecimal() for cell in there)
    return Cast(name, dtype, labels=few, digits=True, width=lengths.pop() if padded else 0)


def _cast(cells: NDArray[Any], cast: Cast, drawn: bool) -> Any:
    import pandas

    if cast.dtype == "category":
        told = _like(cells, cast.categories)
        if None in told:  # it was said to be a column of numbers, and they are no categories
            return pandas.Series(cells).astype(np.float64)
        return pandas.Series(pandas.Categorical(told, categories=list(cast.categories), ordered=cast.ordered))
    if cast.truths:
        return pandas.Series(_like(cells, (False, True)), dtype=object)
    if cast.digits:
        cells = np.array([_as_text(cell, cast.width) for cell in cells], dtype=object)
    if cast.dtype == "object" or any(isinstance(cell, str) for cell in cells):
        return pandas.Series(cells, dtype=object).astype(cast.dtype)
    numbers = pandas.Series(cells).astype(np.float64)
    if not pandas.api.types.is_integer_dtype(cast.dtype):
        return numbers.astype(cast.dtype)
    if drawn:
        bounds = np.iinfo(cast.dtype.lower())
        numbers = numbers.round().clip(bounds.min, bounds.max)
    return numbers.astype(cast.dtype) if (numbers == numbers.round()).all() else numbers


def _restored(filled: Any, observed: Any) -> Any:
    """A filled column with the observed objects put back; numbers and categories already are what they were."""
    if filled.dtype != object and not str(filled.dtype).startswith(("str", "large_str")):
        return filled
    cells = observed.to_numpy(dtype=object)
    there = ~missing(cells)
    restored = filled.copy()
    restored[there] = cells[there]
    return restored


def _as_text(cell: Any, width: int) -> Any:
    """A number as the text that reads back as it, padded with zeros; text as it is."""
    if not isinstance(cell, float) or np.isnan(cell):
        return cell
    return str(int(cell)).zfill(width) if cell.is_integer() else repr(float(cell))


def _like(cells: NDArray[Any], values: Sequence[Any]) -> list[Any]:
    """Cells as the values that they were: columns know 1.0 of True and of 1, and the text of all that is no number."""
    known = {value: value for value in values} | {str(value): value for value in values}
    return [known.get(cell) for cell in cells]
