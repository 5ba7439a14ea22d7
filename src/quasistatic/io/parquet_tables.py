"""Tables in Parquet files, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from quasistatic.errors import InputError
from quasistatic.io.cells import Cells
from quasistatic.memory import require_memory
from quasistatic.storage.files import open_regular, regular_file

__all__ = ["parquet_in_parts"]


def parquet_in_parts(path: Path, rows: int) -> Iterator[Cells]:
    """Yield the rows of a Parquet file, some at a time.

    Parameters
    ----------
    path : Path
    rows : int
        Most rows of one part.

    Raises
    ------
    InputError
        If pyarrow is not installed, the file is damaged, or cells hold several values.
    """
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
            n = file.metadata.num_rows
            room = 100.0 * min(rows, n) * len(file.schema_arrow)
            require_memory(f"{path.name} of {n} rows", room, "take fewer rows", data=True)
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
            rule = "cells must be numbers, truth values or text"
            raise InputError(f"column {field.name!r} of {path.name} holds {field.type}, but {rule}")


def _as_text(cell: Any) -> Any:
    """Write a truth value as text files do."""
    return str(cell) if isinstance(cell, bool) else cell
