"""Tables as they come, arrays, lists or data frames, and the codes that models see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from quasistatic.checks import instance_of
from quasistatic.errors import InputError
from quasistatic.tables.columns import Column

__all__ = ["Coding", "cells_of"]


class Coding(BaseEstimator):
    """What an estimator knows of its columns, ``columns_``, and how rows are coded by them."""

    types: Any
    columns_: list[Column]

    @property
    def _modelled(self) -> list[int]:
        """Numbers of the columns that are not constant."""
        return [i for i, column in enumerate(self.columns_) if column.coded]

    def _cells(self, X: Any, *, reset: bool) -> tuple[list[NDArray[Any]], list[str]]:
        """Columns of cells, and their names."""
        if hasattr(X, "columns") and hasattr(X, "__getitem__"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            names = [str(name) for name in X.columns]
            cells = [np.asarray(X[name]) for name in X.columns]
            if not len(cells) or not len(cells[0]):
                raise InputError("the table is empty")
            return [c if c.dtype.kind in "biuf" else c.astype(object) for c in cells], names
        if _has_text(X):
            array = np.asarray(X, dtype=object)
            validate_data(self, array, reset=reset, dtype=None, ensure_all_finite=False)
        else:
            array = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
        return list(array.T), [f"column {i}" for i in range(array.shape[1])]

    def _kinds(self, names: list[str]) -> dict[str, str]:
        """What was said of the columns, by name."""
        if self.types is None:
            return {}
        if not isinstance(self.types, dict):
            instance_of("types", self.types, (list, tuple), "a dictionary from columns to kinds, or a list of kinds")
            if len(self.types) != len(names):
                raise InputError(f"types must say a kind for each of {len(names)} columns, got {len(self.types)}")
            return dict(zip(names, self.types, strict=True))
        kinds = {}
        for key, kind in self.types.items():
            name = names[key] if isinstance(key, int) and 0 <= key < len(names) else key
            if name not in names:
                raise InputError(f"types names the column {key!r}, but the table has {', '.join(names)}")
            kinds[name] = kind
        return kinds

    def _encoded(self, cells: list[NDArray[Any]]) -> tuple[Tensor, Tensor]:
        """Codes of the columns that are modelled, (n, d), and which rows are impossible."""
        pairs = [column.encode(c) for column, c in zip(self.columns_, cells, strict=True)]
        wrong = np.any([wrong for _, wrong in pairs], axis=0)
        codes = np.concatenate([codes for codes, _ in pairs], 1)
        return torch.as_tensor(codes, dtype=torch.float64), torch.as_tensor(wrong)

    def _rows(self, X: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        return self._encoded(self._cells(X, reset=False)[0])

    def _table(self, x: Tensor) -> NDArray[Any]:
        """Rows of cells of coded rows (n, d)."""
        cells = cells_of(x, self.columns_)
        text = any(c.dtype == object for c in cells)
        return np.stack([c.astype(object) if text else c for c in cells], 1)


def cells_of(x: Tensor, columns: Sequence[Column]) -> list[NDArray[Any]]:
    """Columns of cells, each (n,), of coded rows."""
    codes = x.split([len(column.coded) for column in columns], 1)
    return [column.decode(part.numpy()) for column, part in zip(columns, codes, strict=True)]


def _has_text(X: Any) -> bool:
    """Whether an array or list holds text among its cells."""
    known = X.dtype.kind not in "OUS" if isinstance(X, np.ndarray) else hasattr(X, "toarray")
    if known or (hasattr(X, "__array_namespace__") and not isinstance(X, np.ndarray)):
        return False
    try:
        array = np.asarray(X, dtype=object)
    except (TypeError, ValueError):
        return False
    return array.ndim == 2 and any(isinstance(cell, str) and cell != "" for cell in array.flat)
