"""A user's own table: numbers, levels, bits, classes and holes."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.io.tables import MIN_ROWS, Cells, read_cells, split_rows
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.storage.files import digest_of
from quasistatic.tables.build import Shape, build, preconditioned, shape_for
from quasistatic.tables.cells import cell_type, decoded, encoded
from quasistatic.tables.coded import coded_columns, hide, missing_cells, modelled, values_of
from quasistatic.tables.columns import KINDS, NUMERIC, Column, infer, told
from quasistatic.train import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["Table"]


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
            n_updates=3000, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, evaluate_every=250
        )
    )

    n_trajectories: int = 20
    log_prob_rows: int = 500

    has_fixed_first_step: ClassVar[bool] = False

    def _file(self) -> str:
        if not self.data:
            raise InputError("the table recipe needs a file: give --data PATH (.csv, .npy, .npz or .parquet)")
        return self.data

    def note(self) -> str:
        """Return the kinds of the columns in words."""
        return told(self.columns())

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
            max_updates=self.train.n_updates, learning_rate=self.train.learning_rate, batch_size=self.train.batch_size,
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
        from quasistatic.plots import column_marginals, pair_plot

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
        from quasistatic.plots import coverage_curve, extreme_rows

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
    from quasistatic.plots import ranks

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


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
