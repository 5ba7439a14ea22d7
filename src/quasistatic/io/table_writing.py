"""Tables written in parts, as text or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from quasistatic.errors import InputError
from quasistatic.io.cells import is_missing

__all__ = ["ENDINGS", "writing_table"]

ENDINGS = (".csv", ".parquet")
Rows = Iterable[Sequence[Any]]


@contextmanager
def writing_table(path: Path, names: Sequence[str], types: Sequence[type]) -> Iterator[Callable[[Rows], None]]:
    r"""Open a table for writing.

    The block gets a function that writes some more rows of cells. Missing cells are None or nan.

    Parameters
    ----------
    path : Path
        A .csv or .parquet file.
    names : sequence of str
        Of the columns.
    types : sequence of {int, float, str}
        Of the cells of each column, in a Parquet file.

    Raises
    ------
    InputError
        If the ending is unknown, pyarrow is missing, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with writing_table(Path(folder, "t.csv"), ["sex", "rings"], [str, int]) as write:
    ...         write([["M", 15.0], [None, 7]])
    ...     Path(folder, "t.csv").read_text()
    'sex,rings\nM,15\n,7\n'
    """
    from quasistatic.storage.atomic import whole_file

    if path.suffix not in ENDINGS:
        raise InputError(f"tables are written as .csv or .parquet, got {path.name!r}")
    try:
        with whole_file(path) as file, (_text if path.suffix == ".csv" else _parquet)(file, names, types) as write:
            yield write
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _text(file: BinaryIO, names: Sequence[str], types: Sequence[type]) -> Iterator[Callable[[Rows], None]]:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    yield lambda rows: writer.writerows([_spelled(cell) for cell in row] for row in rows)
    text.detach().flush()  # type: ignore[attr-defined]


@contextmanager
def _parquet(file: BinaryIO, names: Sequence[str], types: Sequence[type]) -> Iterator[Callable[[Rows], None]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("Parquet can be written where pyarrow is installed, and it is not; write .csv") from None
    of = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, of[kind]) for name, kind in zip(names, types, strict=True)])

    def write(rows: Rows) -> None:
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        cells = [[_of_type(cell, kind) for cell in column] for column, kind in zip(columns, types, strict=True)]
        writer.write_table(pyarrow.table(cells, schema=schema))

    with parquet.ParquetWriter(file, schema) as writer:
        yield write


def _of_type(cell: Any, kind: type) -> Any:
    if is_missing(cell):
        return None
    return _spelled(cell) if kind is str else kind(float(cell))


def _spelled(cell: Any) -> str:
    """Write a cell as text that reads back the same."""
    if is_missing(cell):
        return ""
    if isinstance(cell, float | np.floating):
        number = float(cell)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return str(cell)
