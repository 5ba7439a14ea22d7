"""Tables in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Generator, Tensor

from quasistatic.checks import instance_of
from quasistatic.errors import InputError
from quasistatic.io.cells import is_text
from quasistatic.model import DiffusionModel
from quasistatic.storage.files import path_of
from quasistatic.tables.coding import encode, first_impossible
from quasistatic.tables.columns import Column, column_name
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.estimator_files import read_estimator, save_estimator
from quasistatic.tables.frames import Frame

__all__ = ["TableEstimator", "generator_from", "kinds_by_name"]


class TableEstimator(BaseEstimator):
    """Base of an estimator of tables."""

    ensemble_: DensityEnsemble
    random_state: Any
    _frame: Frame | None = None  # types of the data frame it was fitted to

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    @property
    def columns_(self) -> list[Column]:
        """Name, kind and values of each column."""
        return self.ensemble_.columns

    @property
    def members_(self) -> list[DiffusionModel]:
        """Trained diffusion models of coded rows."""
        return self.ensemble_.models

    @property
    def weights_(self) -> NDArray[np.float64]:
        """Weights of the members, then of the baselines."""
        return self.ensemble_.weights.numpy()

    @property
    def validation_score_(self) -> float:
        """Mean log density of the validation rows, nats."""
        return self.ensemble_.validation_score

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON."""
        check_is_fitted(self)
        save_estimator(path, self, self.ensemble_)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a folder that :meth:`save` wrote.

        Raises
        ------
        InputError
            If the folder holds no estimator, is damaged, or has another format.
        """
        return read_estimator(cls, path_of("path", path))

    def _cells(self, X: Any, *, reset: bool) -> tuple[list[NDArray[Any]], list[str]]:
        """Return the columns of a table and their names."""
        if hasattr(X, "columns") and hasattr(X, "__getitem__"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            names = [str(name) for name in X.columns]
            cells = [np.asarray(X[name]) for name in X.columns]
            if not len(cells) or not len(cells[0]):
                raise InputError("the table is empty: give at least one row and one column")
            return [c if c.dtype.kind in "biuf" else c.astype(object) for c in cells], names
        if _has_text(X):
            array = np.asarray(X, dtype=object)
            validate_data(self, array, reset=reset, dtype=None, ensure_all_finite=False)
        else:
            array = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
        return list(array.T), [f"column {i}" for i in range(array.shape[1])]

    def _rows(self, X: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        return encode(self.columns_, self._cells(X, reset=False)[0])

    def _possible_rows(self, X: Any, consequence: str) -> tuple[Tensor, list[NDArray[Any]]]:
        """Return coded rows and cells, if all are possible."""
        check_is_fitted(self)
        cells, _ = self._cells(X, reset=False)
        x, impossible = encode(self.columns_, cells)
        if impossible.any() and (found := first_impossible(self.columns_, cells)) is not None:
            raise InputError(f"row {found[0]} {consequence}: it holds {found[1]}")
        return x, cells

    def _generator(self, random_state: Any) -> Generator:
        return generator_from(self.random_state if random_state is None else random_state)


def kinds_by_name(types: Any, names: Sequence[str]) -> dict[str, str]:
    """Return the given kinds of columns by name.

    Parameters
    ----------
    types : mapping, sequence or None
        From names or numbers of columns to kinds; or a kind for each column.
    names : sequence of str
        Of all columns.

    Raises
    ------
    InputError
        If a column does not exist, or a sequence has another length.
    """
    if types is None:
        return {}
    if not hasattr(types, "items"):
        instance_of("types", types, (list, tuple), "a dictionary from columns to kinds, or a list of kinds")
        if len(types) != len(names):
            raise InputError(f"types must have a kind for each of {len(names)} columns, got {len(types)}")
        return dict(zip(names, types, strict=True))
    kinds = {}
    for key, kind in types.items():
        name = column_name(key, names)
        if name not in names:
            raise InputError(f"types names the column {key!r}, but the table has {', '.join(names)}")
        kinds[name] = kind
    return kinds


def generator_from(random_state: Any) -> Generator:
    """Return a generator seeded by a random state."""
    return Generator().manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))


def _has_text(X: Any) -> bool:
    """Return True if some cell holds text."""
    if isinstance(X, np.ndarray):
        if X.dtype.kind not in "OUS":
            return False
    elif hasattr(X, "toarray") or hasattr(X, "__array_namespace__"):
        return False
    try:
        array = np.asarray(X, dtype=object)
    except (TypeError, ValueError):
        return False
    return array.ndim == 2 and any(is_text(cell) and cell != "" for cell in array.flat)
