r"""Columns of a table and their codes.

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

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.checks import shown
from quasistatic.errors import InputError, printable
from quasistatic.io.cells import is_text
from quasistatic.tables.cells import any_text
from quasistatic.tables.codecs import CODECS, Codec
from quasistatic.tables.kinds import KINDS, NUMERIC

__all__ = ["Column", "column_name", "describe_columns"]


@dataclass(frozen=True)
class Column:
    """Name, kind and values of one column.

    Attributes
    ----------
    name : str
    kind : str
        One of the kinds in the table above.
    values : tuple
        Numbers or texts in the order of their codes. Of integers, the least and the greatest.
    atoms : tuple of float
        Values of a numeric or integer column with a probability of their own, in increasing order.
    """

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    atoms: tuple[float, ...] = ()

    @property
    def _codec(self) -> Codec:
        return CODECS[self.kind](self.name, self.kind, self.values, self.atoms)

    @property
    def is_number(self) -> bool:
        """True if values can be averaged."""
        return self.kind in NUMERIC

    @property
    def is_whole(self) -> bool:
        """True if values are whole numbers on a scale."""
        return self.kind in ("integer", "ordinal")

    @property
    def is_text(self) -> bool:
        """True if some values are text."""
        return any_text(self.values)

    @property
    def cell_type(self) -> type:
        """Type of the cells in a typed file."""
        if self.is_text:
            return str
        return float if self.kind == "numeric" or any(value != round(value) for value in self.values) else int

    @property
    def labels(self) -> list[str] | None:
        """Text of each class, or None for numbers."""
        if self.is_number:
            return None
        return [value if is_text(value) else f"{value:g}" for value in self.values]

    @property
    def coded(self) -> tuple[Column, ...]:
        """Columns of the codes, none of a constant column."""
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
        """Number of codes of a column with levels."""
        return self._codec.n_levels

    def encode(
        self, cells: NDArray[Any], lines: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Turn cells into codes.

        Parameters
        ----------
        cells : ndarray, shape (n,)
        lines : sequence of int, optional
            Line of the file that each cell came from, for messages.

        Returns
        -------
        codes : ndarray, shape (n, number of coded columns)
            nan where missing.
        impossible : ndarray of bool, shape (n,)
            True where a cell holds a value that the column cannot have.

        Raises
        ------
        InputError
            If a cell should be a number and is not.
        """
        return self._codec.encode(cells, lines)

    def decode(self, codes: NDArray[np.float64]) -> NDArray[Any]:
        """Turn codes back into cells.

        Parameters
        ----------
        codes : ndarray, shape (n, number of coded columns)

        Returns
        -------
        ndarray, shape (n,)
            nan or None where missing.
        """
        return self._codec.decode(codes)

    def values_of(self, codes: Tensor) -> Tensor:
        """Return the numbers of codes (..., c), (...).

        Classes keep their codes.
        """
        if not self.is_number:
            return codes[..., 0]
        cells = self.decode(codes.reshape(-1, codes.shape[-1]).numpy())
        return torch.as_tensor(cells, dtype=codes.dtype).view(codes.shape[:-1])

    def best_guess(self, mean: Any, draws: NDArray[Any]) -> Any:
        """Return the value to write into a missing cell.

        Parameters
        ----------
        mean : float or object
            Conditional mean of a number, or the most frequent class.
        draws : ndarray, shape (n_draws,)

        Returns
        -------
        float, int or object
            An atom if more than half of the draws equal it, else the mean, rounded for whole numbers.
        """
        value = next((atom for atom in self.atoms if (draws == atom).mean() > 0.5), mean)
        return round(float(value)) if self.is_whole else value

    def why_impossible(self, value: Any) -> str:
        """Return why a cell cannot have a value, for messages."""
        plain = value.item() if hasattr(value, "item") else value  # of NumPy
        return f"{self.name}={shown(plain)}: {self._codec.rule}"

    @classmethod
    def from_plain(cls, record: dict[str, Any]) -> Column:
        """Read a column from the record that :meth:`plain` returns.

        Raises
        ------
        InputError
            If the record is no column.
        """
        name, kind = record["name"], record["kind"]
        values, atoms = tuple(record["values"]), tuple(record.get("atoms", ()))
        known = CODECS.get(kind)
        if known is None or not known.accepts(values) or not all(isinstance(value, str | int | float) for value in values):
            raise InputError(f"column {name!r} is damaged: it is {kind!r} with the values {shown(values)}")
        if not all(isinstance(atom, int | float) for atom in atoms) or (atoms and not known.takes_atoms):
            raise InputError(f"column {name!r} is damaged: it is {kind!r} with the atoms {shown(atoms)}")
        return cls(name, kind, values, atoms)

    def plain(self) -> dict[str, Any]:
        """Return the column as a record for JSON."""
        return asdict(self) | {"values": list(self.values), "atoms": list(self.atoms)}


def column_name(key: Any, names: Sequence[str]) -> Any:
    """Return the name of a column given by name or number.

    Parameters
    ----------
    key : str or int
        Any other key is returned as it is.
    names : sequence of str
        Of all columns.
    """
    return names[key] if isinstance(key, int) and 0 <= key < len(names) else key


def describe_columns(columns: Sequence[Column]) -> str:
    """List the columns of each kind."""
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
