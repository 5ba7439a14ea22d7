"""What the columns of a table are, and their values as numbers.

===============  =========================================================  ==================================
kind             values                                                     its share of a row's log likelihood
===============  =========================================================  ==================================
``numeric``      real numbers                                               density, per unit of the column
``integer``      whole numbers of a wide range, dequantised                 probability
``ordinal``      whole numbers of a few levels, dequantised by frequency    probability
``binary``       two values                                                 probability
``categorical``  a few values without order                                 probability
``constant``     one value                                                  none, or minus infinity
===============  =========================================================  ==================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import LARGEST, SMALLEST, shown
from quasistatic.errors import InputError, printable

__all__ = ["KINDS", "NUMERIC", "Column", "infer", "parsed", "told"]

KINDS = ("numeric", "integer", "ordinal", "binary", "categorical", "constant")
NUMERIC = ("numeric", "integer", "ordinal")  # kinds whose values can be averaged
MOST_LEVELS = 20  # of an ordinal column
MOST_CLASSES = 64
MOST_INTEGERS = 2**20
_SEVERAL = (list, tuple, dict, set, frozenset, np.ndarray)  # types of cells that hold several values


@dataclass(frozen=True)
class Column:
    """One column: its name, its kind, and the values that the kinds with levels may take."""

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    """Numbers or texts, in the order of their codes; of integers, the first and the last."""

    @property
    def n_levels(self) -> int:
        """Number of codes of a column of levels."""
        return int(self.values[1] - self.values[0]) + 1 if self.kind == "integer" else len(self.values)

    def encode(
        self, cells: NDArray[Any], lines: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Codes of cells, nan where missing, and which cells are impossible, holding what was never possible.

        A cell that should be a number and is none is told with its line, where lines are given.
        """
        missing = _missing(cells)
        there = (cells[~missing], None if lines is None else np.asarray(lines)[~missing])
        codes = np.full(len(cells), np.nan)
        if self.kind == "numeric":
            codes[~missing] = self._floats(*there)
            with np.errstate(invalid="ignore"):
                wrong = np.abs(codes) > LARGEST  # their squares are no numbers any more
            codes[wrong] = np.nan
            return codes, wrong
        if self.kind == "integer":
            codes[~missing] = self._floats(*there) - self.values[0]
            with np.errstate(invalid="ignore"):
                wrong = ~missing & (codes != np.round(codes))  # one beyond those seen is no impossibility
        else:
            at = {value: code for code, value in enumerate(self.values)}
            found = [at.get(_plain(cell, self.values), -1) for cell in cells[~missing]]
            codes[~missing] = found
            wrong = codes == -1
        codes[wrong] = np.nan
        if self.kind == "constant":
            codes[~wrong] = 0.0  # what is missing there is known
        return codes, wrong

    def decode(self, codes: NDArray[np.float64]) -> NDArray[Any]:
        """Cells of codes; nan stays missing."""
        if self.kind == "numeric":
            return codes
        if self.kind == "integer":
            return codes + self.values[0]
        text = any(isinstance(value, str) for value in self.values)
        cells = np.full(len(codes), None if text else np.nan, dtype=object if text else np.float64)
        there = ~np.isnan(codes)
        cells[there] = np.array(self.values, dtype=cells.dtype)[codes[there].astype(int)]
        return cells

    def _floats(self, cells: NDArray[Any], lines: Sequence[int] | NDArray[Any] | None = None) -> NDArray[np.float64]:
        def place(i: int) -> str:
            return f"column {self.name!r}" if lines is None else f"line {lines[i]}, column {self.name!r}"

        try:
            numbers = cells.astype(np.float64)
        except (TypeError, ValueError):
            wrong = next(i for i, cell in enumerate(cells) if _number(cell) is None)
            sentence = f"{place(wrong)} is {self.kind}, but holds {cells[wrong]!r}, which is not a number"
            raise InputError(sentence) from None
        if not np.isfinite(numbers).all():
            wrong = int(np.argmin(np.isfinite(numbers)))
            sentence = f"{place(wrong)} holds {numbers[wrong]}, but every number must be finite; nan is for what is missing"
            raise InputError(sentence)
        return numbers

    @classmethod
    def from_plain(cls, told: dict[str, Any]) -> Column:
        """Read what :meth:`plain` told."""
        name, kind, values = told["name"], told["kind"], tuple(told["values"])
        few = {"numeric": 0, "integer": 2}.get(kind, 1)
        right = len(values) == few if kind in ("numeric", "integer") else 1 <= len(values) <= MOST_INTEGERS
        if kind not in KINDS or not right or not all(isinstance(value, str | int | float) for value in values):
            raise InputError(f"column {name!r} is damaged: it is {kind!r} with the values {shown(values)}")
        return cls(name, kind, values)

    def plain(self) -> dict[str, Any]:
        """Say it in JSON."""
        return asdict(self) | {"values": list(self.values)}


def infer(cells: NDArray[Any], name: str, kind: str | None = None, lines: Sequence[int] | None = None) -> Column:
    """Say what a column is by its values, or make it what it is said to be.

    Two values make it binary, text makes it categorical, whole numbers of at most 20 levels that recur are ordinal, other
    whole numbers integer, all other numbers numeric. "ordinal:0..16" and "integer:0..150" also say what values there can be,
    where not all were seen.

    Raises
    ------
    InputError
        If nothing of it was observed, it is not of the kind it is said to be, or has too many classes.

    Examples
    --------
    >>> infer(np.array([3.0, 5.0, 4.0] * 10), "quality")
    Column(name='quality', kind='ordinal', values=(3.0, 4.0, 5.0))
    >>> infer(np.array([3.0, 5.0, 4.0] * 10), "quality", "ordinal:3..6").n_levels
    4
    >>> infer(np.array(["M", "F", None], dtype=object), "sex").kind
    'binary'
    """
    kind, span = parsed(kind, name)
    missing = _missing(cells)
    there = cells[~missing]
    if not len(there):
        raise InputError(f"column {name!r} has no observed entry: leave it out")
    if (several := next((cell for cell in there if isinstance(cell, _SEVERAL)), None)) is not None:
        rule = "but cells must be numbers, truths or text"
        raise InputError(f"column {name!r} holds {shown(several)} of type {type(several).__name__}, {rule}")
    if cells.dtype.kind == "b":
        there = there.astype(np.float64)
    numbers = [_number(cell) for cell in there]
    if any(number is None for number in numbers):
        return _of_text(there, name, kind)
    at = None if lines is None else np.asarray(lines)[~missing]
    x = Column(name, kind or "numeric")._floats(np.array(numbers, dtype=object), at)
    if (far := np.abs(x).max()) > LARGEST:
        raise InputError(f"column {name!r} holds a number of size {far:g}, but {LARGEST:g} is the most: rescale it")
    distinct = np.unique(x)
    whole = bool((distinct == np.round(distinct)).all())
    if kind is None:
        kind = _kind_of_numbers(distinct, whole, len(x))
    if span is not None:
        if not whole or distinct[0] < span[0] or distinct[-1] > span[1]:
            wrong = next(value for value in x if value != round(value) or not span[0] <= value <= span[1])
            raise InputError(f"column {name!r} is said to hold {span[0]} to {span[1]}, but holds {wrong:g}")
        distinct = np.arange(float(span[0]), span[1] + 1.0)
    if kind == "constant" or (kind in ("binary", "categorical", "ordinal") and len(distinct) == 1):
        return _with_levels(name, "constant", distinct.tolist())
    if kind == "numeric":
        if 0.0 < (spread := distinct[-1] - distinct[0]) < SMALLEST:
            raise InputError(f"column {name!r} varies by {spread:g} in all, but {SMALLEST:g} is the least: rescale it")
        return Column(name, kind)
    if kind in ("integer", "ordinal") and not whole:
        wrong = x[x != np.round(x)][0]
        raise InputError(f"column {name!r} cannot be {kind}: it holds {wrong:g}, which is not a whole number")
    if kind == "integer":
        if distinct[-1] - distinct[0] >= MOST_INTEGERS:
            raise InputError(f"column {name!r} spans {distinct[-1] - distinct[0]:.0f} integers: make it numeric")
        return Column(name, kind, (float(distinct[0]), float(distinct[-1])))
    if kind == "ordinal" and distinct[-1] - distinct[0] < 2 * MOST_LEVELS:
        distinct = np.arange(distinct[0], distinct[-1] + 1)  # a level between others may come yet
    return _with_levels(name, kind, distinct.tolist())


def parsed(kind: str | None, name: str) -> tuple[str | None, tuple[int, int] | None]:
    """Read what is said of a column: its kind, and after a colon the least and the greatest level or whole number."""
    if kind is None:
        return None, None
    if not isinstance(kind, str):
        raise InputError(f"the type of column {name!r} must be text, one of {', '.join(KINDS)}, got {shown(kind)}")
    word, colon, span = kind.partition(":")
    if word not in KINDS:
        raise InputError(f"the type of column {name!r} must be one of {', '.join(KINDS)}, got {word!r}")
    if not colon:
        return word, None
    match = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", span)
    ends = () if match is None or len(span) > 40 else (int(match[1]), int(match[2]))
    if word not in ("ordinal", "integer") or not ends or ends[0] >= ends[1]:
        raise InputError(f"the type of column {name!r} may say a range as in ordinal:0..16 or integer:0..150, got {kind!r}")
    most = MOST_CLASSES if word == "ordinal" else MOST_INTEGERS
    if ends[1] - ends[0] >= most:
        raise InputError(f"the type {kind!r} of column {name!r} has {ends[1] - ends[0] + 1} levels, but may have {most}")
    return word, (ends[0], ends[1])


def _kind_of_numbers(distinct: NDArray[np.float64], whole: bool, n: int) -> str:
    if len(distinct) == 1:
        return "constant"
    if not whole or distinct[-1] - distinct[0] >= MOST_INTEGERS:
        return "numeric"
    if len(distinct) == 2 and n > 2:
        return "binary"
    if len(distinct) <= MOST_LEVELS and distinct[-1] - distinct[0] < 2 * MOST_LEVELS and n >= 2 * len(distinct):
        return "ordinal"
    return "integer"


def _of_text(there: NDArray[Any], name: str, kind: str | None) -> Column:
    if kind in ("numeric", "integer", "ordinal"):
        wrong = next(cell for cell in there if _number(cell) is None)
        raise InputError(f"column {name!r} cannot be {kind}: it holds {wrong!r}, which is not a number")
    values = sorted({str(cell) for cell in there})
    return _with_levels(name, "constant" if len(values) == 1 else kind or "categorical", values)


def _with_levels(name: str, kind: str, values: Sequence[Any]) -> Column:
    if kind == "categorical" and len(values) == 2:
        kind = "binary"
    if kind == "binary" and len(values) > 2:
        raise InputError(f"column {name!r} cannot be binary: it holds {len(values)} different values")
    if kind in ("categorical", "ordinal") and len(values) > MOST_CLASSES:
        raise InputError(
            f"column {name!r} holds {len(values)} different values, but a column of classes may hold {MOST_CLASSES}: "
            "leave it out, or make it numeric"
        )
    return Column(name, kind, tuple(values))


def told(columns: Sequence[Column]) -> str:
    """Say in lines which columns are of which kind."""
    lines = []
    for kind in KINDS:
        names = [printable(column.name) for column in columns if column.kind == kind]
        if names:
            lines.append(f"{kind}: {', '.join(names)}")
    return "\n".join(lines)


def _missing(cells: NDArray[Any]) -> NDArray[np.bool_]:
    if cells.dtype.kind == "f":
        return np.isnan(cells)
    if cells.dtype.kind in "biu":
        return np.zeros(len(cells), bool)
    return np.array([_is_missing(cell) for cell in cells], bool)


def _is_missing(cell: Any) -> bool:
    if cell is None or isinstance(cell, str):
        return cell is None or cell == ""
    # nan, and the marks of data frames, which refuse to be compared
    return (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")


def _number(cell: Any) -> float | None:
    """The number a cell is or spells."""
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _plain(cell: Any, values: Sequence[Any]) -> Any:
    """A cell in the type of the known values."""
    return str(cell) if isinstance(values[0], str) else _number(cell)
