"""Recipe for a user's own table."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.checks import whole_number
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.io.cells import Cells
from quasistatic.io.splits import MIN_ROWS, split_rows
from quasistatic.io.tables import read_cells
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.recipes.table_figures import table_figures
from quasistatic.reporting.text import text_table
from quasistatic.storage.files import digest_of
from quasistatic.tables.coding import coded_columns, decode_rows, encode_cells, modelled
from quasistatic.tables.columns import Column, describe_columns
from quasistatic.tables.inference import infer
from quasistatic.tables.kinds import KINDS
from quasistatic.tables.settings import DEFAULTS, TableSettings, plans_by_size
from quasistatic.tables.training import untrained_member
from quasistatic.train import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Table", "TableTraining"]


@dataclass(frozen=True)
class TableTraining(TrainConfig):
    """Settings of the training of a table."""

    n_updates: int = DEFAULTS.max_updates or 0
    """Most updates of the optimiser; 0 for a number by the size of the table."""
    batch_size: int = DEFAULTS.batch_size
    learning_rate: float = DEFAULTS.learning_rate
    weight_decay: float = DEFAULTS.weight_decay
    evaluate_every: int = DEFAULTS.evaluate_every or 0
    """Updates between validation bounds; 0 for a number by the size of the table."""
    validation_pairs: int = DEFAULTS.validation_pairs
    patience: int = DEFAULTS.patience

    def __post_init__(self) -> None:
        for name in ("n_updates", "evaluate_every"):
            whole_number(name, getattr(self, name), 0)
        self.loop()

    def loop(self) -> TrainConfig:
        """Return checked settings, with 0 replaced by 1."""
        given = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        return TrainConfig(**{**given, "n_updates": self.n_updates or 1, "evaluate_every": self.evaluate_every or 1})


@dataclass(frozen=True)
class Table(Recipe):
    """Diffusion on the rows of a table.

    Columns may be of any kind, and entries may be missing.
    """

    data: str = ""
    """The file; ``--data`` sets it."""
    types: str = ""
    """Kinds of columns that are not inferred, such as ``quality=ordinal,sex=categorical``; ``--types`` sets it."""
    marginals: Literal["auto", "none", "power", "ratio"] = "auto"
    n_steps: int | None = DEFAULTS.n_steps
    """Steps T of the chain; null for a number by the size of the table, as in ``DiffusionDensity``."""
    n_components: int | None = DEFAULTS.n_components
    """Components of each reverse kernel; null as above."""
    width: int = DEFAULTS.width
    depth: int = DEFAULTS.depth
    dropout: float | None = DEFAULTS.dropout
    """Dropout rate of the network; null as above."""
    members: int | None = DEFAULTS.n_members
    """Models whose densities are averaged to score and fill; ``train`` trains the first. null as above."""
    log_snr_max: float = DEFAULTS.log_snr_max
    log_snr_min: float = DEFAULTS.log_snr_min
    validation: float = DEFAULTS.validation_fraction
    test: float = 0.1
    """Shares of the rows held out, at random by ``split_seed``."""
    split_seed: int = 0
    train: TableTraining = field(default_factory=TableTraining)

    n_trajectories: int = 20
    log_prob_rows: int = 500

    has_fixed_first_step: ClassVar[bool] = False

    def settings(self) -> TableSettings:
        """Return the settings of the density."""
        t = self.train
        return TableSettings(
            marginals=self.marginals, n_members=self.members, n_steps=self.n_steps, n_components=self.n_components,
            width=self.width, depth=self.depth, dropout=self.dropout, log_snr_max=self.log_snr_max,
            log_snr_min=self.log_snr_min, max_updates=t.n_updates or None, batch_size=t.batch_size,
            learning_rate=t.learning_rate, weight_decay=t.weight_decay, evaluate_every=t.evaluate_every or None,
            validation_fraction=self.validation, validation_pairs=t.validation_pairs, patience=t.patience, loop=t.loop(),
        )  # fmt: skip

    def training(self, splits: Splits) -> TrainConfig:
        return self.settings().training(*splits.train.shape)

    def estimator(self, names: list[str], seed: int) -> DiffusionDensity:
        """Return an unfitted estimator with these settings.

        Parameters
        ----------
        names : list of str
            Of the columns.
        seed : int
        """
        auto: dict[str, Any] = {
            "n_steps": self.n_steps, "n_components": self.n_components, "dropout": self.dropout, "n_members": self.members,
            "max_updates": self.train.n_updates or None,
        }  # fmt: skip
        settings: dict[str, Any] = {name: "auto" if value is None else value for name, value in auto.items()}
        return DiffusionDensity(
            types=self._kinds(names) or None, marginals=self.marginals, width=self.width, depth=self.depth,
            learning_rate=self.train.learning_rate, batch_size=self.train.batch_size,
            validation_fraction=self.validation, patience=self.train.patience or None, random_state=seed, **settings,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------ file

    def _file(self) -> str:
        if not self.data:
            raise InputError("the table recipe needs a file: give --data PATH (.csv, .npy, .npz or .parquet)")
        return self.data

    @cached_property
    def _file_cells(self) -> Cells:
        """Cells of the file, parsed once."""
        return read_cells(self._file())

    @cached_property
    def _file_columns(self) -> list[Column]:
        cells, name = self._file_cells, Path(self.data).name
        if len(cells) < MIN_ROWS:
            raise InputError(f"{name} has {len(cells)} rows, but at least {MIN_ROWS} are needed")
        kinds = self._kinds(cells.names)
        pairs = zip(cells.columns, cells.names, strict=True)
        columns = [infer(c, name, kinds.get(name), cells.lines) for c, name in pairs]
        if not modelled(columns):
            raise InputError(f"every column of {name} is constant, so there is nothing to model: give one that varies")
        return columns

    def columns(self) -> list[Column]:
        """Return the columns of the file."""
        return self._file_columns

    def settings_note(self) -> str:
        rows = plans_by_size()
        return "null, and 0 in train, is chosen by the size of the training table:\n" + text_table(rows, list(rows[0]))

    def note(self) -> str:
        return describe_columns(self.columns())

    def fingerprint(self) -> str:
        return digest_of(self._file())

    def _kinds(self, names: list[str]) -> dict[str, str]:
        """Return the given kinds of columns by name."""
        kinds: dict[str, str] = {}
        for word in filter(None, (word.strip() for word in self.types.split(","))):
            name, equals, kind = word.rpartition("=")
            if not equals or kind.partition(":")[0] not in KINDS:
                raise InputError(f"--types takes NAME=KIND, with kinds {', '.join(KINDS)}; got {word!r}")
            if name not in names:
                raise InputError(f"--types names the column {name!r}, but the table has {', '.join(names)}")
            kinds[name] = kind
        return kinds

    def splits(self, seed: int) -> Splits:
        columns = self.columns()
        x, _ = encode_cells(columns, self._file_cells)
        rows = split_rows(len(x), self.split_seed, self.validation, self.test)
        train, validation, test = (x[torch.as_tensor(r)] for r in rows)
        names = tuple(column.name for column in coded_columns(columns))
        return Splits(train[~train.isnan().all(1)], validation, test, names)

    def build(self, splits: Splits) -> DiffusionModel:
        return untrained_member(splits.train, self.columns(), self.settings())

    def cells(self, x: Tensor) -> tuple[tuple[str, ...], list[type], NDArray[Any]]:
        columns = self.columns()
        rows = decode_rows(columns, x).astype(object)
        return tuple(column.name for column in columns), [column.cell_type for column in columns], rows

    # --------------------------------------------------------------------------------------------------------- figures

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        return table_figures(model, self.columns(), splits, self._lines(splits), generator)

    def _lines(self, splits: Splits) -> list[int]:
        """Return the lines of the held-out rows that figures show."""
        lines = self._file_cells.lines
        _, validation, test = split_rows(len(lines), self.split_seed, self.validation, self.test)
        return [lines[i] for i in (test if len(splits.test) else validation)]
