"""Codes of the cells of one column.

A codec turns cells (n,) into codes (n, c) and back. c is 0 for a constant column, 2 for a column with atoms, else 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import LARGEST
from quasistatic.io.cells import is_text
from quasistatic.tables.cells import any_text, as_type_of, floats, missing
from quasistatic.tables.kinds import MOST_INTEGERS

__all__ = ["CODECS", "Codec"]

MOST_NAMED = 20  # categories that a message lists
Codes = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Codec(ABC):
    """Codes of one column."""

    name: str
    kind: str
    values: tuple[Any, ...]
    atoms: tuple[float, ...]

    takes_atoms: ClassVar[bool] = False

    @classmethod
    def accepts(cls, values: tuple[Any, ...]) -> bool:
        """Return True for possible values of this kind."""
        return 1 <= len(values) <= MOST_INTEGERS

    @property
    @abstractmethod
    def n_levels(self) -> int:
        """Number of different codes."""

    @property
    @abstractmethod
    def rule(self) -> str:
        """Why a cell is impossible, for messages."""

    @abstractmethod
    def encode(self, cells: NDArray[Any], lines: Sequence[int] | None = None) -> tuple[Codes, Mask]:
        """Encode cells as in :meth:`Column.encode`."""

    @abstractmethod
    def decode(self, codes: Codes) -> NDArray[Any]:
        """Decode codes as in :meth:`Column.decode`."""


class Numbers(Codec):
    """Values of numbers, beside the number of their atom."""

    takes_atoms = True

    @property
    def offset(self) -> float:
        """Value of code 0."""
        return 0.0

    @classmethod
    def accepts(cls, values: tuple[Any, ...]) -> bool:
        return not values

    @property
    def n_levels(self) -> int:
        return 0

    @property
    def rule(self) -> str:
        return f"no number may be above {LARGEST:g} in size"

    def encode(self, cells: NDArray[Any], lines: Sequence[int] | None = None) -> tuple[Codes, Mask]:
        gone = missing(cells)
        codes, atom = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
        where = None if lines is None else np.asarray(lines)[~gone]
        codes[~gone] = floats(cells[~gone], self.name, self.kind, where)
        atom[~gone] = self._atom_of(codes[~gone])
        codes[atom > 0] = np.nan
        with np.errstate(invalid="ignore"):
            wrong = np.abs(codes) > LARGEST  # the squares of larger numbers overflow
        codes = codes - self.offset
        wrong |= self._impossible(codes)
        codes[wrong] = np.nan
        return np.stack([atom, codes] if self.atoms else [codes], 1), wrong

    def decode(self, codes: Codes) -> NDArray[Any]:
        cells = codes[:, -1] + self.offset
        if not self.atoms:
            return cells
        atom = codes[:, 0]
        known = np.array([np.nan, *self.atoms])[np.nan_to_num(atom).astype(int)]
        return np.where(np.isnan(atom), np.nan, np.where(atom > 0, known, cells))

    def _impossible(self, codes: Codes) -> Mask:
        """Mark codes that no cell of the column can have."""
        return np.zeros(len(codes), bool)

    def _atom_of(self, x: Codes) -> Codes:
        """Return the number of each value's atom, 0 for none."""
        return (x[:, None] == np.array(self.atoms)[None]) @ np.arange(1.0, len(self.atoms) + 1.0)


class Integers(Numbers):
    """Distances of whole numbers from the least one seen."""

    @classmethod
    def accepts(cls, values: tuple[Any, ...]) -> bool:
        return len(values) == 2

    @property
    def n_levels(self) -> int:
        return int(self.values[1] - self.values[0]) + 1

    @property
    def rule(self) -> str:
        return f"not a whole number of a size up to {LARGEST:g}"

    @property
    def offset(self) -> float:
        return self.values[0]

    def _impossible(self, codes: Codes) -> Mask:
        with np.errstate(invalid="ignore"):  # a whole number beyond those seen is possible
            return ~np.isnan(codes) & (codes != np.round(codes))


class Levels(Codec):
    """Places of levels and classes among the known values."""

    @property
    def n_levels(self) -> int:
        return len(self.values)

    @property
    def rule(self) -> str:
        known = [value if is_text(value) else f"{value:g}" for value in self.values[:MOST_NAMED]]
        more = ", ..." if len(self.values) > MOST_NAMED else ""
        return f"not a category seen in training ({', '.join(known)}{more})"

    def encode(self, cells: NDArray[Any], lines: Sequence[int] | None = None) -> tuple[Codes, Mask]:
        gone = missing(cells)
        codes = np.full(len(cells), np.nan)
        place = {value: code for code, value in enumerate(self.values)}
        codes[~gone] = [place.get(as_type_of(cell, self.values), -1) for cell in cells[~gone]]
        wrong = codes == -1
        codes[wrong] = np.nan
        return codes[:, None], wrong

    def decode(self, codes: Codes) -> NDArray[Any]:
        text = any_text(self.values)
        cells = np.full(len(codes), None if text else np.nan, dtype=object if text else np.float64)
        level = codes[:, 0]
        observed = ~np.isnan(level)
        cells[observed] = np.array(self.values, dtype=cells.dtype)[level[observed].astype(int)]
        return cells


class Constant(Levels):
    """No codes at all, as every cell is the same."""

    def encode(self, cells: NDArray[Any], lines: Sequence[int] | None = None) -> tuple[Codes, Mask]:
        _, wrong = super().encode(cells, lines)
        return np.empty((len(cells), 0)), wrong

    def decode(self, codes: Codes) -> NDArray[Any]:
        return super().decode(np.zeros((len(codes), 1)))


CODECS: dict[str, type[Codec]] = {
    "numeric": Numbers, "integer": Integers, "ordinal": Levels, "binary": Levels, "categorical": Levels,
    "constant": Constant,
}  # fmt: skip
