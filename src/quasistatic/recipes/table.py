"""Recipe for a user's own table."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
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
from quasistatic.reporting.text import text_table
from quasistatic.storage.files import digest_of
from quasistatic.tables.coding import (
    coded_columns,
    decode_rows,
    encode_cells,
    hide,
    missing_cells,
    modelled,
    values_of,
)
from quasistatic.tables.columns import Column, describe_columns
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.inference import infer
from quasistatic.tables.kinds import KINDS
from quasistatic.tables.settings import DEFAULTS, TableSettings, plans_by_size
from quasistatic.tables.training import fit_ensemble, untrained_member
from quasistatic.train import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Table", "TableTraining", "hidden_ranks", "negative_conditional_log_prob"]

HIDDEN_SHARE, HIDDEN_DRAWS = 0.2, 39  # entries hidden, and draws of each, that judge the intervals in a report
MOST_HIDDEN_ROWS, MOST_SCORED_ROWS = 200, 500  # in the figures


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
        from quasistatic.plots import column_marginals, pair_plot

        columns = modelled(self.columns())
        names, classes = [column.name for column in columns], [column.labels for column in columns]
        real = splits.test if len(splits.test) else splits.validation
        made = values_of(model.sample(max(500, len(real)), generator=generator), columns)
        seen = values_of(real, columns)
        drawn = {"columns": column_marginals(seen.numpy(), made.numpy(), names, classes)}
        whole = seen[~seen.isnan().any(1)]
        if len(whole) > 1 and len(columns) > 1:
            drawn["pairs"] = pair_plot(whole[:2000].numpy(), made[:2000].numpy(), names, classes)
        return drawn | self._figures_of_ensemble(model, splits, real, generator)

    def _figures_of_ensemble(
        self, model: DiffusionModel, splits: Splits, real: Tensor, generator: Generator
    ) -> dict[str, Figure]:
        """Draw figures of the averaged density."""
        from quasistatic.plots import coverage_curve, extreme_rows

        columns = self.columns()
        one = TableSettings(n_members=1)
        member = copy.deepcopy(model)  # the ensemble turns it to float64
        ensemble = fit_ensemble(columns, splits.train, splits.validation, one, first=member)
        drawn = {}
        u = hidden_ranks(ensemble, real[:MOST_HIDDEN_ROWS], generator)
        if len(u):
            drawn["missing"] = coverage_curve(u, "entries hidden at random in held-out rows and filled again")
        if len(real) > 1:
            real = real[:MOST_SCORED_ROWS]
            scores, lines = ensemble.log_prob(real), self._lines(splits)
            labels = [f"line {line}" for line in lines[: len(real)]]
            cells, names = decode_rows(columns, real).astype(object), [column.name for column in columns]
            drawn["rows"] = extreme_rows(cells, scores, negative_conditional_log_prob(ensemble, real), names, labels)
        return drawn

    def _lines(self, splits: Splits) -> list[int]:
        """Return the lines of the held-out rows that figures show."""
        lines = self._file_cells.lines
        _, validation, test = split_rows(len(lines), self.split_seed, self.validation, self.test)
        return [lines[i] for i in (test if len(splits.test) else validation)]


def hidden_ranks(ensemble: DensityEnsemble, x: Tensor, generator: Generator) -> NDArray[np.float64]:
    """Rank hidden entries among their draws.

    A fifth of the entries is hidden at random.

    Parameters
    ----------
    ensemble : DensityEnsemble
    x : Tensor, shape (n, d)
        Coded rows.
    generator : Generator

    Returns
    -------
    ndarray, shape (m,)
        Ranks from 0 to 1 of the hidden numbers and levels; uniform for a calibrated ensemble.
    """
    from quasistatic.plots import ranks

    columns = ensemble.columns
    missing = missing_cells(x, columns)
    hidden = (torch.rand(missing.shape, generator=generator) < HIDDEN_SHARE) & ~missing
    hidden &= (hidden.sum(1) < (~missing).sum(1))[:, None]  # some entry of the row stays observed
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    own = torch.Generator().manual_seed(int(np.random.RandomState(seed).randint(2**31 - 1)))
    draws = ensemble.draw_missing(hide(x, hidden, columns), HIDDEN_DRAWS, generator=own).draws
    hidden &= torch.tensor([column.is_number for column in modelled(columns)])
    truth, drawn = values_of(x, columns)[hidden], values_of(draws, columns)[:, hidden].T
    if not len(truth):
        return np.empty(0)
    return ranks(truth[:, None], drawn[:, :, None], seed=seed)[:, 0]


def negative_conditional_log_prob(ensemble: DensityEnsemble, x: Tensor) -> NDArray[np.float64]:
    """Score each cell given the rest of its row.

    The score is minus the log density of the mixture, which has it in closed form.

    Parameters
    ----------
    ensemble : DensityEnsemble
    x : Tensor, shape (n, d)
        Coded rows.

    Returns
    -------
    ndarray, shape (n, all columns)
        Nats; zero for constant columns, nan for missing cells.
    """
    whole, found = ensemble.mixture.log_prob(x), []
    at = 0
    for column in ensemble.columns:
        if not column.coded:
            found.append(torch.zeros(len(x), dtype=torch.float64))
            continue
        rest = x.clone()
        rest[:, at : at + len(column.coded)] = np.nan
        found.append(torch.where(x[:, at].isnan(), np.nan, ensemble.mixture.log_prob(rest) - whole))
        at += len(column.coded)
    return torch.stack(found, 1).numpy()
