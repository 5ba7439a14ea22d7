"""Tables in text files.

Lines are counted from one, the header included.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.cells import Cells
from quasistatic.io.table_checks import place_of

__all__ = ["MISSING", "Layout", "layout_of", "read_numbers", "text_in_parts", "with_default_names"]

MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # a cell that spells one of these, in any case, is missing
_LONGEST = 2**24  # characters of a line


@dataclass(frozen=True)
class Layout:
    """Separator and header of a text table.

    Attributes
    ----------
    separator : str or None
        None is white space.
    names : list of str
        Of the header; empty without one.
    skip : int
        Lines before the data.
    """

    separator: str | None
    names: list[str]
    skip: int


def layout_of(path: Path) -> Layout:
    """Read the layout from the first two lines that are not blank."""
    (number, first), *rest = itertools.islice(_lines(path), 2)
    separator = next((mark for mark in ";\t," if mark in _unquoted(first)), None)
    cells = _cells(first, separator)
    if any(_number(cell) is not None for cell in cells):
        return Layout(separator, [], number - 1)
    if separator is None and rest and len(_cells(rest[0][1], None)) == 1:
        cells = [first.strip().strip('"')]  # one column whose name has several words
    return Layout(separator, cells, number)


def with_default_names(header: Sequence[str], d: int) -> list[str]:
    """Return the names of all columns.

    Parameters
    ----------
    header : sequence of str
        An empty name becomes ``column k``.
    d : int
        Number of columns.
    """
    return [name or f"column {k}" for k, name in enumerate(header or [""] * d, start=1)]


def text_in_parts(path: Path, rows: int) -> Iterator[Cells]:
    """Yield the rows of a text table, some at a time.

    Parameters
    ----------
    path : Path
    rows : int
        Most rows of one part.

    Raises
    ------
    InputError
        If a line has another number of cells than the first.
    """
    layout = layout_of(path)
    numbered = ((number, _cells(line, layout.separator)) for number, line in _lines(path, layout.skip))
    width, expected_by = len(layout.names), "the header"
    while part := list(itertools.islice(numbered, rows)):
        if not width:
            width, expected_by = len(part[0][1]), f"line {part[0][0]}"
        for number, cells in part:
            _require_width(path, number, len(cells), width, expected_by)
        table = np.array([[None if c.lower() in MISSING else c for c in cells] for _, cells in part], dtype=object)
        yield Cells(with_default_names(layout.names, width), list(table.T), [number for number, _ in part])


def read_numbers(path: Path, layout: Layout) -> NDArray[np.float64]:
    """Read a text table of numbers.

    Parameters
    ----------
    path : Path
    layout : Layout

    Raises
    ------
    InputError
        With the line of the first cell that is no number, or of the first row of another length.
    """
    if next(itertools.islice(_lines(path, layout.skip), 1), None) is None:
        return np.empty((0, len(layout.names)))
    try:
        # no comment mark: a '#' in the data is a bad cell, not the end of the line
        table = np.loadtxt(
            path,
            delimiter=layout.separator,
            skiprows=layout.skip,
            ndmin=2,
            comments=None,
            quotechar='"',
            encoding="utf-8-sig",
        )
    except ValueError:
        return _scan(path, layout)
    return table if not layout.names or table.shape[1] == len(layout.names) else _scan(path, layout)


def _scan(path: Path, layout: Layout) -> NDArray[np.float64]:
    """Read line by line, to name the line of a bad cell."""
    width, expected_by = len(layout.names), "the header"
    rows: list[list[float]] = []
    for number, line in _lines(path, layout.skip):
        cells = _cells(line, layout.separator)
        if not width:
            width, expected_by = len(cells), f"line {number}"
        _require_width(path, number, len(cells), width, expected_by)
        row: list[float] = []
        for index, cell in enumerate(cells):
            value = _number(cell)
            if value is None:
                where = f"line {number}, {place_of(layout.names, index)} of {path.name}"
                what = f"{cell!r}, which is not a number" if cell else "empty, but every cell needs a number"
                raise InputError(f"{where} is {what}")
            row.append(value)
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _require_width(path: Path, number: int, n_cells: int, width: int, expected_by: str) -> None:
    if n_cells != width:
        many = f"{n_cells} cell{'s' * (n_cells != 1)}"
        raise InputError(f"line {number} of {path.name} has {many}, but {expected_by} has {width}")


def _lines(path: Path, skip: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that are not blank."""
    found = False
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST + 1), ""), start=1):
                if len(line) > _LONGEST:
                    raise InputError(f"line {number} of {path.name} has more than {_LONGEST} characters: is it a table?")
                if line.strip():
                    found = True
                    if number > skip:
                        yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not text in UTF-8; save it as UTF-8 and try again") from error
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    if not found:
        raise InputError(f"{path.name} is empty")


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [cell.strip('"') for cell in line.split()]
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error:  # a cell of absurd length is then reported as no number
        cells = line.split(separator)
    return [cell.strip() for cell in cells]


def _unquoted(line: str) -> str:
    return "".join(line.split('"')[::2])


def _number(cell: str) -> float | None:
    """Return the number of a cell, or None.

    Python's ``1_000`` is no number.
    """
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
