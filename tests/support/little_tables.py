"""Small tables for the tests, and estimators that fit them in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from quasistatic.estimator import DiffusionDensity

QUICK: dict[str, Any] = {
    "n_members": 1,
    "max_updates": 3,
    "n_steps": 4,
    "width": 8,
    "depth": 1,
    "n_trajectories": 2,
    "random_state": 0,
}


def quick(**settings: Any) -> DiffusionDensity:
    return DiffusionDensity(**(QUICK | settings))


def untrained(**settings: Any) -> DiffusionDensity:
    """Its best network is the zero one, and nothing else is averaged in."""
    return quick(max_updates=1, learning_rate=1e-12, average=False, **settings)


def normal_rows(n: int, seed: int = 0) -> np.ndarray:
    root = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.4, 0.5, 0.7]])
    return np.random.default_rng(seed).normal(size=(n, 3)) @ root.T + [1.0, 2.0, 3.0]


def pierced(x: np.ndarray, share: float = 0.3, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x)


def mixed_table(n: int = 120, seed: int = 0) -> np.ndarray:
    """A number, a class in text, a level, a bit, the same everywhere; objects."""
    draw = np.random.default_rng(seed)
    sex = draw.choice(["F", "I", "M"], n)
    length = draw.normal(size=n) + (sex == "I")
    rings = np.clip(np.round(5 + 2 * length + draw.normal(size=n)), 1, 12)
    table = np.empty((n, 5), dtype=object)
    for i, column in enumerate([length, sex, rings, (draw.random(n) < 0.3).astype(float), np.full(n, 7.0)]):
        table[:, i] = column
    return table


class Frame:
    """As much of a data frame as is asked for."""

    def __init__(self, cells: np.ndarray, names: list[str]) -> None:
        self.columns, self.shape = names, cells.shape
        self._cells = cells

    def __getitem__(self, name: str) -> np.ndarray:
        return self._cells[:, self.columns.index(name)]

    def __len__(self) -> int:
        return len(self._cells)


def fitted_normal(model: DiffusionDensity) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the fit, in units of the data, from its layers."""
    preconditioner = model.ensemble_.preconditioner
    scale, complete = preconditioner.marginals.parts[0].parts[0], preconditioner.completion  # type: ignore[union-attr,index]
    s = scale.scale.numpy()  # type: ignore[union-attr]
    return complete.mean.numpy() * s + scale.shift.numpy(), complete.cov.numpy() * np.outer(s, s)  # type: ignore[union-attr]
