"""The averaged density of a run on a table."""

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

from quasistatic.io.tables import Cells, MIN_ROWS, read_cells, split_rows
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.tables.build import FEW_ROWS, Shape, build, preconditioned, shape_for
from quasistatic.tables.coded import coded_columns, hide, missing_cells, modelled, values_of
from quasistatic.tables.coding import cells_of
from quasistatic.tables.columns import Column, KINDS, NUMERIC, infer
from quasistatic.storage.files import a_name, digest_of, read_json
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.streams import say
from quasistatic.train import TrainConfig, fit


from quasistatic.recipes.table import Table
from quasistatic.runs.run import Run
from quasistatic.storage.atomic import write_text
__all__ = ["averaged", "table_of"]


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
    folder, mark = run.folder.ensemble, run.folder.ensemble_manifest
    of = {"checkpoint": run.folder.read_best(), "laws": DiffusionDensity.N_LAWS}
    kept = DiffusionDensity.load(folder) if os.path.lexists(mark) and read_json(mark, {}) == of else None
    columns = recipe.columns() if kept is None else kept.columns_
    if ready is not None:
        ready(columns)
    if kept is not None:
        return kept
    run.folder.refuse_links()
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
            folder = run.folder.members / str(k)
            if not (folder / "checkpoint" / "finished.json").exists():
                say(f"training member {k + 1} of {n}, which is done once")
            members.append(fit(model, splits.train, splits.validation, recipe.train, folder=folder, seed=run.seed + k))
    return members
