"""A user's table of numbers, read from NumPy or text files and checked cell by cell.

Every complaint names the file, the place and the rule. Rows, columns and lines count from one; rows leave the
header out, lines count it.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import require_memory
from quasistatic.errors import InputError
from quasistatic.io.array_files import open_array
from quasistatic.storage.files import open_regular, regular_file

__all__ = [
    "MIN_ROWS",
    "MISSING",
    "Cells",
    "column_names",
    "read_array",
    "read_cells",
    "read_cells_in_parts",
    "require_binary",
    "split_rows",
]

MIN_ROWS = 10  # so that ten per cent is at least one row
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # a cell that spells one of these, in any case, is missing
_LONGEST = 2**24  # characters of a line
_NUMPY_ENDINGS = (".npy", ".npz")
_TEXT_ENDINGS = (".csv", ".txt", ".tsv")


def read_array(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    r"""Read a table of finite numbers.

    ``.npy`` and ``.npz`` (holding exactly one array) may store floats, integers or booleans. ``.csv``,
    ``.txt`` and ``.tsv`` are UTF-8 text whose cells are separated by semicolons, tabs, commas or white space,
    whichever the first line shows (in this order of preference). A first line without any number in it is a
    header.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    ndarray of float64, shape (n, d), n at least 10

    Raises
    ------
    InputError
        If the file is missing, empty, of unknown ending, pickled, ragged, not two-dimensional, shorter than
        ten rows, or holds a cell that is not a finite number.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "weather.csv"
    >>> _ = file.write_text("hour;warmth" + "".join(f"\n{hour};{20 + hour / 2}" for hour in range(12)))
    >>> read_array(file).shape
    (12, 2)
    >>> column_names(file, 2)
    ['hour', 'warmth']
    >>> _ = file.write_text(file.read_text().replace("21.0", "mild"))
    >>> read_array(file)
    Traceback (most recent call last):
    quasistatic.errors.InputError: line 4, column 'warmth' of weather.csv is 'mild', which is not a number
    >>> folder.cleanup()
    """
    path = _existing(path)
    if path.suffix.lower() in _NUMPY_ENDINGS:
        raw = _load_numpy(path, _require_table)
        layout = None
    else:
        layout = _layout(path)
        _require_room(path, 6.0)
        raw = _load_text(path, layout)
    _require_table(raw.shape, raw.dtype, path.name)
    # Longer floats may overflow here; the infinity is then reported with its place.
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(raw, dtype=np.float64)
    _require_finite(table, layout.names if layout else [], path.name)
    return table


def column_names(path: str | os.PathLike[str], d: int) -> list[str]:
    """Names of the ``d`` columns of a table file: its header, or ``column 1`` to ``column d``.

    Parameters
    ----------
    path : str or path
        A file that :func:`read_array` can read.
    d : int
        Number of columns.

    Returns
    -------
    list of str, length d
        A blank name in the header becomes ``column k``.

    Raises
    ------
    InputError
        If the file cannot be read or its header does not have ``d`` names.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "plain.csv"
    >>> _ = file.write_text("1,2,3")
    >>> column_names(file, 3)
    ['column 1', 'column 2', 'column 3']
    >>> folder.cleanup()
    """
    path = _existing(path)
    header = [] if path.suffix.lower() in _NUMPY_ENDINGS else _layout(path).names
    if header and len(header) != d:
        raise InputError(f"the header of {path.name} has {len(header)} names, but the table has {d} columns")
    return _names(header, d)


@dataclass(frozen=True)
class Cells:
    """Rows of a table of any kind of column, as they were read.

    Attributes
    ----------
    names : list of str
    columns : list of ndarray
        One for each name: floats, or texts with None for what is missing.
    lines : list of int
        The line of the file that each row came from; its number from one, where there are no lines.
    """

    names: list[str]
    columns: list[NDArray[Any]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)


def read_cells(path: str | os.PathLike[str]) -> Cells:
    r"""Read a whole table whose columns may be of any kind and whose cells may be missing.

    Besides the files of :func:`read_array`, ``.parquet`` is read where pyarrow is installed. In text, a cell that is
    empty or spells ``?``, ``NA``, ``nan``, ``null`` or ``none`` is missing.

    Raises
    ------
    InputError
        If the file cannot be read, or a row has another number of cells than the first: the line is named.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "shells.csv"
    >>> _ = file.write_text("sex,length\nM,0.5\nF,?\n")
    >>> [column.tolist() for column in read_cells(file).columns]
    [['M', 'F'], ['0.5', None]]
    >>> folder.cleanup()
    """
    if Path(path).suffix.lower() in _TEXT_ENDINGS:
        _require_room(_existing(path), 12.0)
    parts = list(read_cells_in_parts(path, rows=2**62))
    if not parts:
        raise InputError(f"{Path(path).name} has no rows")
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate(pieces) for pieces in zip(*(part.columns for part in parts), strict=True)]
    return Cells(parts[0].names, columns, [line for part in parts for line in part.lines])


def read_cells_in_parts(path: str | os.PathLike[str], rows: int = 10_000) -> Iterator[Cells]:
    """Read a table as :func:`read_cells` does, some rows at a time, so that it may be larger than memory."""
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path, rows)
        return
    path = _existing(path)
    if path.suffix.lower() in _NUMPY_ENDINGS:
        x = _load_numpy(path, _require_two_axes, mapped=rows < 2**31)
        for start in range(0, len(x), rows):
            part = x[start : start + rows].astype(np.float64)
            yield Cells(_names([], x.shape[1]), list(part.T), list(range(start + 1, start + len(part) + 1)))
        return
    yield from _text_in_parts(path, rows)


def _text_in_parts(path: Path, rows: int) -> Iterator[Cells]:
    layout = _layout(path)
    numbered = ((number, _cells(line, layout.separator)) for number, line in _lines(path, layout.skip))
    names = layout.names
    width, expected_by = len(names), "the header"
    while part := list(itertools.islice(numbered, rows)):
        if not width:
            width, expected_by = len(part[0][1]), f"line {part[0][0]}"
        for number, cells in part:
            if len(cells) != width:
                many = f"{len(cells)} cell{'s' * (len(cells) != 1)}"
                raise InputError(f"line {number} of {path.name} has {many}, but {expected_by} has {width}")
        table = np.array([[None if c.lower() in MISSING else c for c in cells] for _, cells in part], dtype=object)
        yield Cells(_names(names, width), list(table.T), [number for number, _ in part])


def _parquet(path: Path, rows: int) -> Iterator[Cells]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(
            f"{path.name} can be read where pyarrow is installed, and it is not; save the table as .csv"
        ) from None
    regular_file(path, "a Parquet file")
    start = 0
    try:
        with open_regular(path) as raw, parquet.ParquetFile(raw) as file:
            _require_flat(file.schema_arrow, path)
            many = f"{path.name} of {file.metadata.num_rows} rows"
            room = 100.0 * min(rows, file.metadata.num_rows) * len(file.schema_arrow)
            require_memory(many, room, "take fewer rows", data=True)
            for batch in file.iter_batches(batch_size=min(rows, 2**17)):
                columns = [np.array([_as_text(c) for c in column.to_pylist()], dtype=object) for column in batch.columns]
                yield Cells(list(batch.schema.names), columns, list(range(start + 1, start + len(batch) + 1)))
                start += len(batch)
    except InputError:
        raise
    except (ArrowException, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path.name} is no whole Parquet file: {why}") from None


def _require_flat(schema: Any, path: Path) -> None:
    """Refuse columns whose cells hold several values."""
    from pyarrow import types

    for field in schema:
        if types.is_nested(field.type):
            raise InputError(
                f"column {field.name!r} of {path.name} holds {field.type}, but cells must be numbers, truths or text"
            )


def _as_text(cell: Any) -> Any:
    """Truth as it is written in text files, so that a model of the one reads the other."""
    return str(cell) if isinstance(cell, bool) else cell


def _names(header: Sequence[str], d: int) -> list[str]:
    return [name or f"column {k}" for k, name in enumerate(header or [""] * d, start=1)]


def require_binary(x: NDArray[np.generic], source: str) -> NDArray[np.generic]:
    """Pass ``x`` on if every entry is 0 or 1.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Of any numeric type, or boolean.
    source : str
        What to call the table in the complaint.

    Returns
    -------
    ndarray
        ``x`` itself.

    Raises
    ------
    InputError
        Naming row, column (both from one) and value of the first entry that is neither.

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


def split_rows(
    n: int, seed: int, validation: float = 0.1, test: float = 0.1
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Part the rows 0 to n-1 at random into train, validation and test.

    The order is ``numpy.random.default_rng(seed).permutation(n)``: train first, then validation, then test.

    Parameters
    ----------
    n : int
        Number of rows.
    seed : int
        The same seed gives the same split, 0 or more.
    validation, test : float
        Fractions of the rows, rounded, but at least one row where the fraction is above 0.

    Returns
    -------
    train, validation, test : ndarray of int
        Disjoint, and together every row once.

    Raises
    ------
    InputError
        If a fraction is outside [0, 1) or no row is left to train on.

    Examples
    --------
    >>> train, validation, test = split_rows(20, seed=0)
    >>> len(train), len(validation), len(test)
    (16, 2, 2)
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0.0 <= fraction < 1.0:
            raise InputError(f"the {name} fraction must be at least 0 and below 1, got {fraction}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed must be an integer of at least 0, got {seed!r}")
    n_validation, n_test = (max(1, round(n * f)) if f > 0.0 else 0 for f in (validation, test))
    n_train = n - n_validation - n_test
    if n_train < 1:
        raise InputError(f"{n} rows with fractions {validation} and {test} held out leave no row to train on")
    order = np.random.default_rng(seed).permutation(n)
    return order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]


# ------------------------------------------------------------------------------------------- whole tables


def _existing(path: str | os.PathLike[str]) -> Path:
    path = regular_file(path, "a file of numbers")
    endings = _NUMPY_ENDINGS + _TEXT_ENDINGS
    if path.suffix.lower() not in endings:
        ending = repr(path.suffix) if path.suffix else "no dot and letters"
        raise InputError(f"{path.name} ends in {ending}, but must end in one of {', '.join(endings)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty")
    return path


def _require_room(path: Path, times: float) -> None:
    """Refuse a text whose cells would take more memory than there is."""
    require_memory(f"{path.name} as a whole", times * path.stat().st_size, "take fewer rows", data=True)


def _require_two_axes(shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> None:
    if dtype.kind not in "biuf" or len(shape) != 2:
        raise InputError(f"{source} holds {dtype} of shape {shape}, but a table of numbers is needed")


def _require_table(shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> None:
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


def _require_finite(x: NDArray[np.float64], names: Sequence[str], source: str) -> None:
    good = np.isfinite(x)
    if not good.all():
        row, column = _first_false(good)
        where = f"row {row + 1}, {_column(names, column)} of {source}"
        raise InputError(f"{where} is {x[row, column]}, but every number must be finite")


def _first_false(good: NDArray[np.bool_]) -> tuple[int, int]:
    row, column = divmod(int(np.argmin(good)), good.shape[1])
    return row, column


def _column(names: Sequence[str], index: int) -> str:
    name = names[index] if index < len(names) else ""
    return f"column {name!r}" if name else f"column {index + 1}"


# --------------------------------------------------------------------------------------------- NumPy files


def _load_numpy(
    path: Path, check: Callable[[tuple[int, ...], np.dtype[Any], str], None], *, mapped: bool = False
) -> NDArray[Any]:
    """The one array of the file, if its shape and type pass a check."""
    found = open_array(path)
    check(found.shape, found.dtype, path.name)
    return found.read(mapped=mapped)


# ---------------------------------------------------------------------------------------------- text files


@dataclass(frozen=True)
class _Layout:
    """How a text table is written: separator (None is white space), header names, lines before the data."""

    separator: str | None
    names: list[str]
    skip: int


def _layout(path: Path) -> _Layout:
    """Read the layout from the first two lines that are not blank."""
    (number, first), *rest = itertools.islice(_lines(path), 2)
    separator = next((mark for mark in ";\t," if mark in _unquoted(first)), None)
    cells = _cells(first, separator)
    if any(_number(cell) is not None for cell in cells):
        return _Layout(separator, [], number - 1)
    if separator is None and rest and len(_cells(rest[0][1], None)) == 1:
        cells = [first.strip().strip('"')]  # one column whose name has several words
    return _Layout(separator, cells, number)


def _load_text(path: Path, layout: _Layout) -> NDArray[np.float64]:
    """The fast reader, and where it stumbles the slow one, which finds the culprit."""
    if next(itertools.islice(_lines(path, layout.skip), 1), None) is None:
        return np.empty((0, len(layout.names)))
    try:
        # No comment mark: a '#' in the data is a bad cell, not the end of the line.
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


def _scan(path: Path, layout: _Layout) -> NDArray[np.float64]:
    """Read line by line; raise at the first row of another length or cell that is not a number."""
    width = len(layout.names)
    expected_by = "the header"
    rows: list[list[float]] = []
    for number, line in _lines(path, layout.skip):
        cells = _cells(line, layout.separator)
        if not width:
            width, expected_by = len(cells), f"line {number}"
        if len(cells) != width:
            raise InputError(
                f"line {number} of {path.name} has {len(cells)} cell{'s' * (len(cells) != 1)}, but {expected_by} has {width}"
            )
        row: list[float] = []
        for index, cell in enumerate(cells):
            value = _number(cell)
            if value is None:
                where = f"line {number}, {_column(layout.names, index)} of {path.name}"
                what = f"{cell!r}, which is not a number" if cell else "empty, but every cell needs a number"
                raise InputError(f"{where} is {what}")
            row.append(value)
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _lines(path: Path, skip: int = 0) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their number; the first ``skip`` lines are left out."""
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
    except csv.Error:  # a cell of absurd length: let it be reported as what it is, no number
        cells = line.split(separator)
    return [cell.strip() for cell in cells]


def _unquoted(line: str) -> str:
    return "".join(line.split('"')[::2])


def _number(cell: str) -> float | None:
    """The number a cell spells, nan and inf included; Python's ``1_000`` is not one."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
