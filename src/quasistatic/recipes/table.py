"""A user's own table: numbers, levels, bits, classes and holes."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.data.tables import MIN_ROWS, Cells, read_cells, split_rows
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.estimator.build import FEW_ROWS, Shape, build, preconditioned, shape_for
from quasistatic.estimator.coded import coded_columns, hide, missing_cells, modelled, values_of
from quasistatic.estimator.coding import cells_of
from quasistatic.estimator.columns import KINDS, NUMERIC, Column, infer
from quasistatic.files import a_name, digest_of, read_json
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.streams import say
from quasistatic.train import TrainConfig, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quasistatic.recipes.run import Run

__all__ = ["Table", "averaged", "cell_type", "encoded", "table_of"]


HIDDEN, HIDDEN_DRAWS = 0.2, 39  # share of entries, and draws of each, by which intervals are judged in a report
MOST_PIERCED, MOST_SCORED = 200, 500  # rows


@dataclass(frozen=True)
class Table(Recipe):
    """Diffusion on the rows of a table whose columns may be of any kind and whose entries may be missing."""

    data: str = ""
    """The file; ``--data`` sets it."""
    types: str = ""
    """Kinds of columns that are not to be inferred, such as ``quality=ordinal,sex=categorical``; ``--types`` sets it."""
    marginals: Literal["auto", "none", "power", "ratio"] = "auto"
    n_steps: int | None = None
    n_components: int | None = None
    """Steps of the chain and normals of each; null for what rows and columns ask for, as in ``DiffusionDensity``."""
    width: int = 128
    depth: int = 3
    dropout: float | None = None
    members: int | None = None
    """Models whose densities are averaged to score and fill, of which ``train`` trains the first; null as above."""
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0
    validation: float = 0.1
    test: float = 0.1
    """Shares of the rows held out, at random by ``split_seed``."""
    split_seed: int = 0
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=3000, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, evaluate_every=250
        )
    )

    n_trajectories: int = 20
    log_prob_rows: int = 500

    has_edge: ClassVar[bool] = False

    def _file(self) -> str:
        if not self.data:
            raise InputError("the table recipe needs a file: give --data PATH (.csv, .npy, .npz or .parquet)")
        return self.data

    def fingerprint(self) -> str:
        return digest_of(self._file())

    def columns(self, cells: Cells | None = None) -> list[Column]:
        """What the columns of the file are."""
        cells = read_cells(self._file()) if cells is None else cells
        if len(cells) < MIN_ROWS:
            raise InputError(f"{Path(self.data).name} has {len(cells)} rows, but at least {MIN_ROWS} are needed")
        kinds = self._kinds(cells.names)
        pairs = zip(cells.columns, cells.names, strict=True)
        columns = [infer(c, name, kinds.get(name), cells.lines) for c, name in pairs]
        if all(column.kind == "constant" for column in columns):
            raise InputError(f"every column of {Path(self.data).name} is constant, so there is nothing to model")
        return columns

    def _kinds(self, names: list[str]) -> dict[str, str]:
        kinds: dict[str, str] = {}
        for word in filter(None, (word.strip() for word in self.types.split(","))):
            name, equals, kind = word.rpartition("=")
            if not equals or kind.partition(":")[0] not in KINDS:
                raise InputError(f"--types takes NAME=KIND, with kinds {', '.join(KINDS)}; got {word!r}")
            if name not in names:
                raise InputError(f"--types names the column {name!r}, but the table has {', '.join(names)}")
            kinds[name] = kind
        return kinds

    def estimator(self, names: list[str], seed: int) -> DiffusionDensity:
        """An estimator with the settings of this recipe, not fitted."""
        given: dict[str, Any] = {
            "n_steps": self.n_steps, "n_components": self.n_components, "dropout": self.dropout, "n_members": self.members,
        }  # fmt: skip
        return DiffusionDensity(
            types=self._kinds(names) or None, marginals=self.marginals, width=self.width, depth=self.depth,
            max_steps=self.train.steps, learning_rate=self.train.learning_rate, batch_size=self.train.batch_size,
            patience=self.train.patience or None, random_state=seed,
            **{name: "auto" if value is None else value for name, value in given.items()},  # type: ignore[arg-type]
        )  # fmt: skip

    def splits(self, seed: int) -> Splits:
        cells = read_cells(self._file())
        columns = self.columns(cells)
        x, _ = encoded(columns, cells)
        rows = split_rows(len(x), self.split_seed, self.validation, self.test)
        train, validation, test = (x[torch.as_tensor(r)] for r in rows)
        names = tuple(column.name for column in coded_columns(columns))
        return Splits(train[~train.isnan().all(1)], validation, test, names)

    def build(self, splits: Splits) -> DiffusionModel:
        columns = coded_columns(self.columns())
        transform = preconditioned(splits.train, columns, self.marginals)
        names = {f.name for f in dataclasses.fields(Shape)} & {f.name for f in dataclasses.fields(self)}
        given = {name: getattr(self, name) for name in names}
        return build(transform, columns, shape_for(len(splits.train), len(columns), **given))

    def cells(self, x: Tensor) -> tuple[tuple[str, ...], list[type], NDArray[Any]]:
        columns = self.columns()
        return tuple(column.name for column in columns), [cell_type(column) for column in columns], decoded(columns, x)

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.report import column_marginals, pair_plot

        columns = modelled(self.columns())
        names = [column.name for column in columns]
        real = splits.test if len(splits.test) else splits.validation
        made = values_of(model.sample(max(500, len(real)), generator=generator), columns)
        seen = values_of(real, columns)
        classes = [None if c.kind in NUMERIC else [_spelled(value) for value in c.values] for c in columns]
        drawn = {"columns": column_marginals(seen.numpy(), made.numpy(), names, classes)}
        whole = seen[~seen.isnan().any(1)]
        if len(whole) > 1 and len(columns) > 1:
            drawn["pairs"] = pair_plot(whole[:2000].numpy(), made[:2000].numpy(), names, classes)
        return drawn | self._judged(model, splits, real, generator)

    def _judged(self, model: DiffusionModel, splits: Splits, real: Tensor, generator: Generator) -> dict[str, Figure]:
        """What the average of densities makes of held-out rows: gaps made in them, and how likely they are."""
        from quasistatic.report import coverage_curve, extreme_rows

        columns = self.columns()
        density = DiffusionDensity(random_state=0)
        density.adopt(columns, [copy.deepcopy(model)], splits.train, splits.validation, seed=0)  # it changes its members
        drawn = {}
        u = hidden_ranks(density, real[:MOST_PIERCED], generator)
        if len(u):
            drawn["gaps"] = coverage_curve(u, "entries hidden at random in held-out rows and filled again")
        if len(real) > 1:
            real = real[:MOST_SCORED]
            scores, lines = density.score_coded(real), self._lines(splits)
            labels = [f"line {line}" for line in lines[: len(real)]]
            names = [column.name for column in columns]
            drawn["rows"] = extreme_rows(decoded(columns, real), scores, surprise(density, real), names, labels)
        return drawn

    def _lines(self, splits: Splits) -> list[int]:
        """Lines of the held-out rows that figures show."""
        lines = read_cells(self._file()).lines
        _, validation, test = split_rows(len(lines), self.split_seed, self.validation, self.test)
        return [lines[i] for i in (test if len(splits.test) else validation)]


def hidden_ranks(density: DiffusionDensity, x: Tensor, generator: Generator) -> NDArray[np.float64]:
    """Ranks among draws of entries that are hidden from coded rows, a fifth at random, (m,): of numbers and levels only."""
    from quasistatic.report import ranks

    columns = density.columns_
    missing = missing_cells(x, columns)
    hidden = (torch.rand(missing.shape, generator=generator) < HIDDEN) & ~missing
    hidden &= (hidden.sum(1) < (~missing).sum(1))[:, None]  # something is left to go by
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    draws = density.draw_coded(hide(x, hidden, columns), HIDDEN_DRAWS, random_state=seed).draws
    hidden &= torch.tensor([column.kind in NUMERIC for column in modelled(columns)])
    truth, told = values_of(x, columns)[hidden], values_of(draws, columns)[:, hidden].T
    if not len(truth):
        return np.empty(0)
    return ranks(truth[:, None], told[:, :, None], seed=seed)[:, 0]


def surprise(density: DiffusionDensity, x: Tensor) -> NDArray[np.float64]:
    """Minus log density of each cell given the rest of its row, (n, all columns), under the mixture.

    It has that in closed form. Of constant columns zero, of what is missing nan.
    """
    whole, told = density.mixture_.log_prob(x), []
    at = 0
    for column in density.columns_:
        if not column.coded:
            told.append(torch.zeros(len(x), dtype=torch.float64))
            continue
        rest = x.clone()
        rest[:, at : at + len(column.coded)] = np.nan
        told.append(torch.where(x[:, at].isnan(), np.nan, density.mixture_.log_prob(rest) - whole))
        at += len(column.coded)
    return torch.stack(told, 1).numpy()


def encoded(columns: list[Column], cells: Cells) -> tuple[Tensor, Tensor]:
    """Codes of rows, (n, coded columns), nan where missing, and which rows are impossible."""
    if [column.name for column in columns] != cells.names:
        there, asked = ", ".join(cells.names), ", ".join(column.name for column in columns)
        raise InputError(f"the table has the columns {there}, but the model takes {asked}")
    pairs = [column.encode(c, cells.lines) for column, c in zip(columns, cells.columns, strict=True)]
    wrong = np.any([pair[1] for pair in pairs], axis=0)
    return torch.as_tensor(np.concatenate([codes for codes, _ in pairs], 1)), torch.as_tensor(wrong)


def decoded(columns: list[Column], x: Tensor) -> NDArray[Any]:
    """Cells of coded rows, (n, all columns), objects."""
    return np.stack([cells.astype(object) for cells in cells_of(x, columns)], 1)


def cell_type(column: Column) -> type:
    """Type of the cells of a column where they are written with types."""
    if any(isinstance(value, str) for value in column.values):
        return str
    return float if column.kind == "numeric" or any(value != round(value) for value in column.values) else int


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def table_of(run: Run) -> Table:
    """The recipe of a run that must be one of a table."""
    if not isinstance(run.recipe, Table):
        raise InputError(f"{run.folder} is a run of {run.name}, but tables are scored and filled by a run of table")
    return run.recipe


def averaged(run: Run, ready: Callable[[list[Column]], None] | None = None) -> DiffusionDensity:
    """The model of a run as a :class:`DiffusionDensity`, averaged with others; kept in the run's folder.

    Others are the laws in closed form, and models with other starts, which are trained when they are first asked for: a
    training that is broken off goes on the next time. Before that ``ready`` is shown the columns, and may refuse.

    Raises
    ------
    InputError
        If the run is not of a table, or its data has changed before it was first asked.
    """
    recipe = table_of(run)
    folder, best = run.folder / "estimator", run.folder / "checkpoint" / "best.json"
    mark = run.folder / "estimator-of.json"
    of = {"checkpoint": read_json(best, {"folder": a_name})["folder"], "laws": DiffusionDensity.N_LAWS}
    kept = DiffusionDensity.load(folder) if os.path.lexists(mark) and read_json(mark, {}) == of else None
    columns = recipe.columns() if kept is None else kept.columns_
    if ready is not None:
        ready(columns)
    if kept is not None:
        return kept
    from quasistatic.recipes.run import own_names
    from quasistatic.saving import write_text

    own_names(run.folder)
    density = recipe.estimator([column.name for column in columns], run.seed)
    density.adopt(columns, [run.model, *_others(run)], run.splits.train, run.splits.validation, seed=run.seed)
    density.save(folder)
    write_text(mark, json.dumps(of))
    return density


def _others(run: Run) -> list[DiffusionModel]:
    """Train the members of the average beside the run's own model, each in a folder of its own."""
    recipe, splits = table_of(run), run.splits
    n = (4 if len(splits.train) < FEW_ROWS else 1) if recipe.members is None else recipe.members
    members = []
    for k in range(1, n):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed + k)
            model = recipe.build(splits)
            folder = run.folder / "members" / str(k)
            if not (folder / "checkpoint" / "finished.json").exists():
                say(f"training member {k + 1} of {n}, which is done once")
            members.append(fit(model, splits.train, splits.validation, recipe.train, folder=folder, seed=run.seed + k))
    return members
