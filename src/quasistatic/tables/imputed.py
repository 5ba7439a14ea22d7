"""Result of filling missing entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import real_number, whole_number
from quasistatic.errors import InputError
from quasistatic.tables.cells import missing
from quasistatic.tables.columns import Column
from quasistatic.tables.frames import Frame

__all__ = ["Imputed", "restore"]


@dataclass(frozen=True)
class Imputed:
    """Rows whose missing entries are filled by draws.

    The draws are from p(missing | observed) and have equal weight. Methods return arrays, or data frames where the rows
    came in one: with its columns, types and index.

    Attributes
    ----------
    draws : ndarray, shape (n_draws, n, d)
        Cells; observed cells are the same in all draws.
    log_evidence : ndarray, shape (n,)
        Log density of the observed entries in nats; nan for rows without missing entries.
    ess : ndarray, shape (n,)
        Effective number of particles behind the draws. Do not trust draws with a small one.
    columns : sequence of Column
    expected : ndarray, shape (n, d), optional
        Conditional means of numbers, integers and levels over all particles; nan for classes.
    frame : Frame, optional
        Columns of a data frame and their types.
    index : optional
        Index of the data frame.
    observed : DataFrame, optional
        The rows before they were filled.
    """

    draws: NDArray[np.object_] | NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    ess: NDArray[np.float64]
    columns: Sequence[Column]
    expected: NDArray[np.float64] | None = None
    frame: Frame | None = None
    index: Any = None
    observed: Any = None

    @property
    def mean(self) -> Any:
        """Rows filled with means and most frequent classes, (n, d)."""
        filled = self.draws[0].copy()
        for j, column in enumerate(self.columns):
            cells = self.draws[:, :, j]
            if column.is_number:
                filled[:, j] = cells.astype(np.float64).mean(0) if self.expected is None else self.expected[:, j]
            elif column.coded:
                counts = np.stack([(cells == value).sum(0) for value in column.values])
                filled[:, j] = np.array(column.values, dtype=filled.dtype)[counts.argmax(0)]
        return self._in_frame(filled, drawn=False)

    def draw(self, k: int) -> Any:
        """Return the rows filled by draw number k, (n, d)."""
        if whole_number("k", k, 0) >= len(self.draws):
            raise InputError(f"k must be a draw from 0 to {len(self.draws) - 1}, got {k}")
        return self._in_frame(self.draws[k])

    def quantile(self, q: float) -> Any:
        """Return a quantile of each entry over the draws.

        Parameters
        ----------
        q : float
            From 0 to 1.

        Returns
        -------
        ndarray or DataFrame, shape (n, d)
            nan for classes, which have no order.
        """
        real_number("a quantile", q, least=0.0, most=1.0)
        result = np.full(self.draws.shape[1:], np.nan)
        for j, column in enumerate(self.columns):
            if not column.is_text:
                result[:, j] = np.quantile(self.draws[:, :, j].astype(np.float64), q, axis=0)
        return result if self.frame is None else self.frame.numbers(result, self.index)

    def _in_frame(self, cells: NDArray[Any], drawn: bool = True) -> Any:
        if self.frame is None:
            return cells
        return self.frame.table(cells, self.index, drawn=drawn, observed=self.observed)


def restore(draws: NDArray[Any], cells: Sequence[NDArray[Any]]) -> None:
    """Put observed cells back into draws, in place.

    Parameters
    ----------
    draws : ndarray, shape (n_draws, n, d)
        Arrays of floats are left alone.
    cells : sequence of ndarray, each of shape (n,)
        Columns of the original cells.
    """
    if draws.dtype == object:
        for j, column in enumerate(cells):
            known = ~missing(column)
            draws[:, known, j] = column[known]
