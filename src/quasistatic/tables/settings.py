"""Default settings of the density of a table.

The command and the estimator take their defaults from :class:`TableSettings`, and nowhere else.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

from quasistatic.tables.build import Shape
from quasistatic.train import TrainConfig

__all__ = ["DEFAULTS", "FEW_ROWS", "MANY_COLUMNS", "TablePlan", "TableSettings", "plans_by_size"]

FEW_ROWS, MANY_COLUMNS = 2000, 32  # fewer rows make a small table, more columns a wide one
MOST_COLUMNS_OF_LARGE = 16  # a table of many rows needs no simple kernel up to here
PLANE = 2  # columns whose full covariance costs nothing


@dataclass(frozen=True)
class TablePlan:
    """Settings for one table.

    Attributes
    ----------
    n_members : int
        Number of diffusion models that are trained.
    shape : Shape
        Size of the network and the chain.
    train : TrainConfig
        Settings of the training loop.
    """

    n_members: int
    shape: Shape
    train: TrainConfig


@dataclass(frozen=True)
class TableSettings:
    """Settings of the density of a table.

    None is chosen by the size of the table.

    Attributes
    ----------
    marginals : {"auto", "none", "power", "ratio"}
        Transform of numeric columns (:func:`quasistatic.tables.preconditioner.fit_preconditioner`).
    n_members : int or None
        Number of diffusion models that are trained.
    average : bool
        Average the diffusion models with the closed-form baselines.
    n_steps, n_components : int or None
        Steps T of the chain, and components of its kernels.
    width, depth : int
        Size of the network.
    dropout : float or None
        Dropout rate of the network.
    log_snr_max, log_snr_min : float
        Logarithm of the signal-to-noise ratio after the first step and after the last.
    max_updates : int or None
        Most updates of the optimiser.
    batch_size : int
        Rows of one update.
    learning_rate, weight_decay : float
        Of AdamW.
    evaluate_every : int or None
        Updates between two evaluations of the validation rows.
    validation_fraction : float
        Share of the rows that choose when to stop, and the weights of the average.
    validation_pairs : int
        Pairs of a row and a step that one evaluation draws.
    patience : int
        Evaluations without improvement beyond noise after which training stops; 0 for never.
    n_trajectories : int
        Forward trajectories that a score averages over.
    loop : TrainConfig
        Settings of the training loop that have no name here.
    """

    marginals: str = "auto"
    n_members: int | None = None
    average: bool = True
    n_steps: int | None = None
    n_components: int | None = None
    width: int = 128
    depth: int = 3
    dropout: float | None = None
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0
    max_updates: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    evaluate_every: int | None = None
    validation_fraction: float = 0.15
    validation_pairs: int = 20_000
    patience: int = 5
    n_trajectories: int = 8
    loop: TrainConfig = field(default_factory=TrainConfig)

    def plan(self, n_rows: int, n_columns: int) -> TablePlan:
        """Choose what is None by the size.

        Parameters
        ----------
        n_rows : int
            Number of training rows.
        n_columns : int
            Number of coded columns (:mod:`quasistatic.tables.coding`).

        Examples
        --------
        >>> plan = TableSettings().plan(240, 41)
        >>> plan.n_members, plan.train.n_updates, plan.train.evaluate_every
        (2, 6000, 150)
        """
        few, wide = n_rows < FEW_ROWS, n_columns > MANY_COLUMNS
        n_members = ((2 if wide else 4) if few else 1) if self.n_members is None else self.n_members
        return TablePlan(n_members, self._shape(n_rows, n_columns), self.training(n_rows, n_columns))

    def training(self, n_rows: int, n_columns: int) -> TrainConfig:
        """Return the settings of the training loop.

        Parameters
        ----------
        n_rows, n_columns : int
            Size of the training table.
        """
        few, wide = n_rows < FEW_ROWS, n_columns > MANY_COLUMNS
        n_updates = (6000 if wide else 1500 if few else 5000) if self.max_updates is None else self.max_updates
        # a correction of many columns is worse than none for its first few hundred updates
        every = ((150 if wide else 50) if few else 250) if self.evaluate_every is None else self.evaluate_every
        return dataclasses.replace(
            self.loop, n_updates=n_updates, batch_size=self.batch_size, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, evaluate_every=min(every, n_updates), validation_pairs=self.validation_pairs,
            patience=self.patience,
        )  # fmt: skip

    def _shape(self, n_rows: int, n_columns: int) -> Shape:
        """Return the size of the network.

        Few rows, or many columns, need simple kernels.
        """
        large, plane = n_rows >= FEW_ROWS and n_columns <= MOST_COLUMNS_OF_LARGE, n_columns <= PLANE
        m = ((16 if plane else 4) if large else 1) if self.n_components is None else self.n_components
        # a kernel of several components needs fewer steps
        few_steps = 10 if plane and m > 4 else 30
        n_steps = (
            ((200 if n_columns > MANY_COLUMNS else 100) if m == 1 else few_steps) if self.n_steps is None else self.n_steps
        )
        dropout = ((0.0 if plane else 0.1) if large else 0.3) if self.dropout is None else self.dropout
        # the covariance of two columns has a closed form, and their curves are worth fine features
        extra: dict[str, Any] = {"covariance": "full", "n_fourier": 3} if plane else {}
        return Shape(
            n_steps=n_steps, n_components=m, width=self.width, depth=self.depth, dropout=dropout,
            log_snr_max=self.log_snr_max, log_snr_min=self.log_snr_min, **extra,
        )  # fmt: skip


DEFAULTS = TableSettings()


def plans_by_size() -> list[dict[str, Any]]:
    """List the defaults for tables of each size."""
    rows = {f"below {FEW_ROWS}": FEW_ROWS - 1, f"{FEW_ROWS} or more": FEW_ROWS}
    edges = (1, PLANE + 1, MOST_COLUMNS_OF_LARGE + 1, MANY_COLUMNS + 1)
    columns = {f"{low} to {high - 1}": low for low, high in itertools.pairwise(edges)} | {f"above {MANY_COLUMNS}": edges[-1]}
    records = []
    for (n_name, n), (d_name, d) in itertools.product(rows.items(), columns.items()):
        plan = DEFAULTS.plan(n, d)
        records.append({
            "rows": n_name, "columns": d_name, "members": plan.n_members, "train.n_updates": plan.train.n_updates,
            "train.evaluate_every": plan.train.evaluate_every, "n_steps": plan.shape.n_steps,
            "n_components": plan.shape.n_components, "dropout": plan.shape.dropout,
        })  # fmt: skip
    return records
