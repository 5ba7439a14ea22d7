r"""What the columns of a table are, and their values as numbers.

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

A numeric or integer column may have **atoms**: single values that repeat far more often than their neighbours, such as a
detection limit, or the zeros of an amount. An atom has a probability of its own, and the other values share the rest,

.. math:: P(x = a_k) = \pi_k, \qquad p(x) = (1 - \textstyle\sum_k \pi_k)\, f(x) \text{ elsewhere.}

Such a column is coded by two numbers: which atom it is (0 for none), and its value, which is missing at an atom.
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

__all__ = ["KINDS", "NUMERIC", "Column", "infer", "missing", "parsed", "told"]

KINDS = ("numeric", "integer", "ordinal", "binary", "categorical", "constant", "atoms")
NUMERIC = ("numeric", "integer", "ordinal")  # kinds whose values can be averaged
MOST_LEVELS = 20  # of an ordinal column
MOST_CLASSES = 64
MOST_INTEGERS = 2**20
LARGEST_EXACT = 2.0**53  # a float holds every whole number up to here
MOST_ATOMS = 20
LEAST_ATOM, ATOM_SHARE, ATOM_RATIO = 10, 0.05, 10.0  # rows, share of the rows, ratio to the counts of neighbouring values
_SEVERAL = (list, tuple, dict, set, frozenset, np.ndarray)  # types of cells that hold several values


@dataclass(frozen=True)
class Column:
    """One column: its name, its kind, and the values that the kinds with levels may take."""

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    """Numbers or texts, in the order of their codes; of integers, the first and the last."""
    atoms: tuple[float, ...] = ()
    """Values of a numeric or integer column that have a probability of their own, in increasing order."""

    @property
    def coded(self) -> tuple[Column, ...]:
        """The columns that the model sees: none of a constant one, two where there are atoms."""
        if self.kind == "constant":
            return ()
        if not self.atoms:
            return (self,)
        names = ("other", *(f"{atom:.12g}" for atom in self.atoms))
        return (
            Column(f"{self.name} (repeated value)", "binary" if len(names) == 2 else "categorical", names),
            Column(self.name, self.kind, self.values),
        )

    @property
    def n_levels(self) -> int:
        """Number of codes of a column of levels."""
        return int(self.values[1] - self.values[0]) + 1 if self.kind == "integer" else len(self.values)

    def encode(
        self, cells: NDArray[Any], lines: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Codes of cells, and which cells hold a value that the column cannot have.

        Parameters
        ----------
        cells : ndarray, shape (n,)
        lines : sequence of int, optional
            Line of the file that each cell came from, for messages.

        Returns
        -------
        codes : ndarray, shape (n, number of coded columns)
            nan where missing.
        wrong : ndarray of bool, shape (n,)

        Raises
        ------
        InputError
            If a cell should be a number and is not.
        """
        gone = missing(cells)
        there = (cells[~gone], None if lines is None else np.asarray(lines)[~gone])
        codes = np.full(len(cells), np.nan)
        if self.kind in ("numeric", "integer"):
            codes[~gone] = self._floats(*there)
            atom = np.full(len(cells), np.nan)
            atom[~gone] = self._atom_of(codes[~gone])
            codes[atom > 0] = np.nan
            with np.errstate(invalid="ignore"):
                wrong = np.abs(codes) > LARGEST  # their squares are no numbers any more
            if self.kind == "integer":
                codes = codes - self.values[0]
                with np.errstate(invalid="ignore"):  # a whole number beyond those seen is possible
                    wrong |= ~np.isnan(codes) & (codes != np.round(codes))
            codes[wrong] = np.nan
            return np.stack([atom, codes] if self.atoms else [codes], 1), wrong
        at = {value: code for code, value in enumerate(self.values)}
        found = [at.get(_plain(cell, self.values), -1) for cell in cells[~gone]]
        codes[~gone] = found
        wrong = codes == -1
        codes[wrong] = np.nan
        return codes[:, None] if self.kind != "constant" else np.empty((len(cells), 0)), wrong

    def decode(self, codes: NDArray[np.float64]) -> NDArray[Any]:
        """Cells (n,) of codes (n, number of coded columns); nan stays missing."""
        if self.kind in ("numeric", "integer"):
            cells = codes[:, -1] + (self.values[0] if self.kind == "integer" else 0.0)
            return self._with_atoms(codes[:, 0], cells) if self.atoms else cells
        text = any(isinstance(value, str) for value in self.values)
        cells = np.full(len(codes), None if text else np.nan, dtype=object if text else np.float64)
        level = codes[:, 0] if self.kind != "constant" else np.zeros(len(codes))
        there = ~np.isnan(level)
        cells[there] = np.array(self.values, dtype=cells.dtype)[level[there].astype(int)]
        return cells

    def _atom_of(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Number of the atom that each value is, from 1; 0 for none."""
        return (x[:, None] == np.array(self.atoms)[None]) @ np.arange(1.0, len(self.atoms) + 1.0)

    def _with_atoms(self, atom: NDArray[np.float64], cells: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.array([np.nan, *self.atoms])[np.nan_to_num(atom).astype(int)]
        return np.where(np.isnan(atom), np.nan, np.where(atom > 0, known, cells))

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
        inexact = _inexact(cells, numbers, np.abs(numbers) >= LARGEST_EXACT)
        if inexact is not None:
            raise InputError(
                f"{place(inexact)} holds {cells[inexact]}, but whole numbers above 2**53 cannot be told apart as numbers: "
                "leave an identifier out, or turn it into text"
            )
        return numbers

    @classmethod
    def from_plain(cls, told: dict[str, Any]) -> Column:
        """Read what :meth:`plain` told."""
        name, kind, values, atoms = told["name"], told["kind"], tuple(told["values"]), tuple(told.get("atoms", ()))
        few = {"numeric": 0, "integer": 2}.get(kind, 1)
        right = len(values) == few if kind in ("numeric", "integer") else 1 <= len(values) <= MOST_INTEGERS
        if kind not in KINDS or not right or not all(isinstance(value, str | int | float) for value in values):
            raise InputError(f"column {name!r} is damaged: it is {kind!r} with the values {shown(values)}")
        if not all(isinstance(atom, int | float) for atom in atoms) or (atoms and kind not in ("numeric", "integer")):
            raise InputError(f"column {name!r} is damaged: it is {kind!r} with the atoms {shown(atoms)}")
        return cls(name, kind, values, atoms)

    def plain(self) -> dict[str, Any]:
        """Say it in JSON."""
        return asdict(self) | {"values": list(self.values), "atoms": list(self.atoms)}


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
    Column(name='quality', kind='ordinal', values=(3.0, 4.0, 5.0), atoms=())
    >>> infer(np.array([3.0, 5.0, 4.0] * 10), "quality", "ordinal:3..6").n_levels
    4
    >>> infer(np.array(["M", "F", None], dtype=object), "sex").kind
    'binary'
    """
    kind, span = parsed(kind, name)
    gone = missing(cells)
    there = cells[~gone]
    if not len(there):
        raise InputError(f"column {name!r} has no observed entry: leave it out")
    if (several := next((cell for cell in there if isinstance(cell, _SEVERAL)), None)) is not None:
        rule = "but cells must be numbers, truths or text"
        raise InputError(f"column {name!r} holds {shown(several)} of type {type(several).__name__}, {rule}")
    if cells.dtype.kind == "b":
        there = there.astype(np.float64)
    if any(_number(cell) is None for cell in there) or _is_label(there, kind):
        return _of_text(there, name, kind)
    at = None if lines is None else np.asarray(lines)[~gone]
    x = Column(name, kind or "numeric")._floats(there, at)
    if (far := np.abs(x).max()) > LARGEST:
        raise InputError(f"column {name!r} holds a number of size {far:g}, but {LARGEST:g} is the most: rescale it")
    distinct = np.unique(x)
    whole = bool((distinct == np.round(distinct)).all())
    wanted = kind
    if kind in (None, "atoms"):
        kind = _kind_of_numbers(distinct, whole, len(x))
        if wanted == "atoms" and kind != "constant":
            kind = "integer" if whole and distinct[-1] - distinct[0] < MOST_INTEGERS else "numeric"
    if span is not None:
        if not whole or distinct[0] < span[0] or distinct[-1] > span[1]:
            wrong = next(value for value in x if value != round(value) or not span[0] <= value <= span[1])
            raise InputError(f"column {name!r} is said to hold {span[0]} to {span[1]}, but holds {wrong:g}")
        distinct = np.arange(float(span[0]), span[1] + 1.0)
    if kind == "constant" or (kind in ("binary", "categorical", "ordinal") and len(distinct) == 1):
        return _with_levels(name, "constant", distinct.tolist())
    atoms = _atoms(x, at_least_one=wanted == "atoms") if wanted in (None, "atoms") and kind in ("numeric", "integer") else ()
    if atoms:
        distinct = np.setdiff1d(distinct, atoms)
    if kind == "numeric":
        if 0.0 < (spread := distinct[-1] - distinct[0]) < SMALLEST:
            raise InputError(f"column {name!r} varies by {spread:g} in all, but {SMALLEST:g} is the least: rescale it")
        return Column(name, kind, (), atoms)
    if kind in ("integer", "ordinal") and not whole:
        wrong = x[x != np.round(x)][0]
        raise InputError(f"column {name!r} cannot be {kind}: it holds {wrong:g}, which is not a whole number")
    if kind == "integer":
        if distinct[-1] - distinct[0] >= MOST_INTEGERS:
            raise InputError(f"column {name!r} spans {distinct[-1] - distinct[0]:.0f} integers: make it numeric")
        return Column(name, kind, (float(distinct[0]), float(distinct[-1])), atoms)
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


def _atoms(x: NDArray[np.float64], at_least_one: bool = False) -> tuple[float, ...]:
    """Values that repeat far more often than the values next to them, in increasing order.

    Each makes up at least 10 rows and 5 % of them, and is 10 times as frequent as the median of its two neighbours on either
    side; rounded numbers repeat, but so do their neighbours. At least two other values must remain.
    """
    distinct, counts = np.unique(x, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = counts >= max(LEAST_ATOM, ATOM_SHARE * len(x))
    found: list[int] = []
    for i in order[:MOST_ATOMS]:
        rest = np.delete(np.arange(len(distinct)), [*found, i])
        if len(rest) < 2:
            break
        near = rest[np.argsort(np.abs(rest - i), kind="stable")[:4]]
        if frequent[i] and counts[i] >= ATOM_RATIO * np.median(counts[near]):
            found.append(i)
    if not found and at_least_one and len(distinct) > 2:
        found = [order[0]]
    return tuple(float(distinct[i]) for i in sorted(found))


def _inexact(cells: NDArray[Any], numbers: NDArray[np.float64], far: NDArray[np.bool_]) -> int | None:
    """Index of the first whole number that its float does not equal; None if there is none."""
    for i in np.flatnonzero(far):
        try:
            exact = int(str(cells[i]))  # what is written as a decimal or power of ten is a measurement
        except ValueError:
            continue
        if exact != int(numbers[i]):
            return int(i)
    return None


def _is_label(there: NDArray[np.generic], kind: str | None) -> bool:
    """Whether text of digits is a label: it is said to be a class, or starts with a zero, like a postal code."""
    if there.dtype.kind != "O" or not all(isinstance(cell, str) for cell in there):
        return False
    if kind in ("binary", "categorical"):
        return True
    padded = any(re.fullmatch(r"0\d+", cell) for cell in there)
    return kind is None and padded and len(set(there)) <= MOST_CLASSES


def _of_text(there: NDArray[Any], name: str, kind: str | None) -> Column:
    if kind in ("numeric", "integer", "ordinal", "atoms"):
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
        names = [printable(column.name) for column in columns if column.kind == kind and not column.atoms]
        if names:
            lines.append(f"{kind}: {', '.join(names)}")
    for column in columns:
        if column.atoms:
            atoms = ", ".join(f"{atom:.12g}" for atom in column.atoms)
            lines.append(f"{column.kind} with atoms: {printable(column.name)} (often exactly {atoms})")
    return "\n".join(lines)


def missing(cells: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cells are missing."""
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
    if not isinstance(values[0], str):
        return _number(cell)
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
