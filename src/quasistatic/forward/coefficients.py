"""Coefficients of the steps of a process, kept in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from quasistatic.errors import InputError

__all__ = ["CoefficientTable", "expand_right", "shifted"]

ALL = "all"


def expand_right(values: Tensor, like: Tensor) -> Tensor:
    """Append axes of length one to (batch,) values.

    They then broadcast against ``like`` (batch, *event).
    """
    return values.view(values.shape + (1,) * (like.dim() - values.dim()))


def shifted(values: Tensor, first: float) -> Tensor:
    """Put one number before the values."""
    return torch.cat([values.new_full((1, *values.shape[1:]), first), values])


class CoefficientTable:
    """Named coefficients of the steps t = 0..T, read in any precision.

    The coefficients that a formula needs together form a group. A group is kept as one tensor, so that a batch reads it
    with one indexing operation. Casts, and the rows of steps given as ``int``, are kept too: a chain reads the same ones
    at every call, and reading them costs as much as a small layer of a network. Nothing is kept while the coefficients
    are being learned (they require a gradient).

    Parameters
    ----------
    columns : dict of str to Tensor, each of shape (T + 1, *event)
        One coefficient of every step, float64.
    groups : dict of str to tuple of str
        Names of the coefficients that are read together, in the order in which they are returned.

    Examples
    --------
    >>> table = CoefficientTable({"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([2.0, 3.0])}, {"both": ("a", "b")})
    >>> table.read("both", 1, torch.zeros(4, 2))
    (tensor(1.), tensor(3.))
    >>> [part.shape for part in table.read("both", torch.tensor([1, 1, 0, 1]), torch.zeros(4, 2))]
    [torch.Size([4, 1]), torch.Size([4, 1])]
    """

    def __init__(self, columns: Mapping[str, Tensor], groups: Mapping[str, tuple[str, ...]]) -> None:
        self.columns = dict(columns)
        self.groups = {**groups, ALL: tuple(self.columns)}
        self._learned = any(column.requires_grad for column in self.columns.values())
        self._stacked: dict[tuple[str, torch.dtype], Tensor] = {}
        self._rows: dict[tuple[str, torch.dtype, int], tuple[Tensor, ...]] = {}

    def to(self, device: torch.device) -> CoefficientTable:
        """Copy the table to another device."""
        return CoefficientTable({name: column.to(device) for name, column in self.columns.items()}, self.groups)

    def read(self, group: str, t: int | Tensor, like: Tensor) -> Sequence[Tensor]:
        """Read a group at step t.

        Parameters
        ----------
        group : str
            A name from ``groups``.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.
        like : Tensor, shape (batch, *event)
            State whose precision and number of dimensions the result takes.

        Returns
        -------
        sequence of Tensor
            Each of shape () for an ``int``, and (batch, 1, ..) for a tensor of steps.
        """
        if isinstance(t, int):
            row = self._rows.get((group, like.dtype, t))
            return self._row(group, t, like.dtype) if row is None else row
        rows = self._stack(group, like.dtype).index_select(0, t)
        return rows.view(rows.shape[:2] + (1,) * (like.dim() + 1 - rows.dim()) + rows.shape[2:]).unbind(1)

    def named(self, t: int | Tensor, like: Tensor) -> dict[str, Tensor]:
        """Read every coefficient at step t by its name."""
        return dict(zip(self.groups[ALL], self.read(ALL, t, like), strict=True))

    def _row(self, group: str, t: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        n_steps = len(next(iter(self.columns.values()))) - 1
        if not 0 <= t <= n_steps:
            raise InputError(f"t must lie between 0 and n_steps = {n_steps}, got {t}")
        with torch.inference_mode(False):  # a row kept from a sampling run is used in training too
            row = self._stack(group, dtype)[t].unbind(0)
        if not self._learned:
            self._rows[group, dtype, t] = row
        return row

    def _stack(self, group: str, dtype: torch.dtype) -> Tensor:
        stack = self._stacked.get((group, dtype))
        if stack is None:
            columns = [self.columns[name] for name in self.groups[group]]
            if self._learned:
                return torch.stack(columns, 1).to(dtype)
            with torch.inference_mode(False):
                stack = self._stacked[group, dtype] = torch.stack(columns, 1).to(dtype).contiguous()
        return stack
