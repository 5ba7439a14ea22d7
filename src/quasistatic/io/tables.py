"""Tables in NumPy, text and Parquet files.

Every message names the file, the place and the rule. Rows, columns and lines count from one; rows leave the header out,
lines count it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.array_files import open_array
from quasistatic.io.cells import Cells
from quasistatic.io.parquet_tables import parquet_in_parts
from quasistatic.io.table_checks import require_finite, require_room, require_table, require_two_axes
from quasistatic.io.text_tables import layout_of, read_numbers, text_in_parts, with_default_names
from quasistatic.storage.files import regular_file

__all__ = ["column_names", "read_array", "read_cells", "read_cells_in_parts"]

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
        raw = _load_numpy(path, require_table)
        layout = None
    else:
        layout = layout_of(path)
        require_room(path, 6.0)
        raw = read_numbers(path, layout)
    require_table(raw.shape, raw.dtype, path.name)
    # longer floats may overflow here; the infinity is then reported with its place
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(raw, dtype=np.float64)
    require_finite(table, layout.names if layout else [], path.name)
    return table


def column_names(path: str | os.PathLike[str], d: int) -> list[str]:
    """Return the names of the columns of a table file.

    Without a header they are ``column 1`` to ``column d``.

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
    header = [] if path.suffix.lower() in _NUMPY_ENDINGS else layout_of(path).names
    if header and len(header) != d:
        raise InputError(f"the header of {path.name} has {len(header)} names, but the table has {d} columns")
    return with_default_names(header, d)


def read_cells(path: str | os.PathLike[str]) -> Cells:
    r"""Read a whole table with columns of any kind and missing cells.

    Besides the files of :func:`read_array`, ``.parquet`` is read where pyarrow is installed. In text, a cell that is
    empty or spells ``?``, ``NA``, ``nan``, ``null`` or ``none`` is missing.

    Parameters
    ----------
    path : str or path

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
        require_room(_existing(path), 12.0)
    parts = list(read_cells_in_parts(path, rows=2**62))
    if not parts:
        raise InputError(f"{Path(path).name} has no rows")
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate(pieces) for pieces in zip(*(part.columns for part in parts), strict=True)]
    return Cells(parts[0].names, columns, [line for part in parts for line in part.lines])


def read_cells_in_parts(path: str | os.PathLike[str], rows: int = 10_000) -> Iterator[Cells]:
    """Read a table as :func:`read_cells` does, some rows at a time.

    The table may be larger than memory.

    Parameters
    ----------
    path : str or path
    rows : int
        Most rows of one part.

    Yields
    ------
    Cells
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        yield from parquet_in_parts(path, rows)
        return
    path = _existing(path)
    if path.suffix.lower() in _NUMPY_ENDINGS:
        x = _load_numpy(path, require_two_axes, mapped=rows < 2**31)
        for start in range(0, len(x), rows):
            part = x[start : start + rows].astype(np.float64)
            yield Cells(with_default_names([], x.shape[1]), list(part.T), list(range(start + 1, start + len(part) + 1)))
        return
    yield from text_in_parts(path, rows)


def _existing(path: str | os.PathLike[str]) -> Path:
    """Check the existence, size and ending of a file."""
    path = regular_file(path, "a file of numbers")
    endings = _NUMPY_ENDINGS + _TEXT_ENDINGS
    if path.suffix.lower() not in endings:
        ending = repr(path.suffix) if path.suffix else "no dot and letters"
        raise InputError(f"{path.name} ends in {ending}, but must end in one of {', '.join(endings)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty")
    return path


def _load_numpy(
    path: Path, check: Callable[[tuple[int, ...], np.dtype[Any], str], None], *, mapped: bool = False
) -> NDArray[Any]:
    """Read the one array of a file."""
    found = open_array(path)
    check(found.shape, found.dtype, path.name)
    return found.read(mapped=mapped)
