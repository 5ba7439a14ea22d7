"""Density of a table from a run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from quasistatic.errors import InputError
from quasistatic.recipes.table import Table
from quasistatic.runs.run import Run
from quasistatic.storage.atomic import write_text
from quasistatic.storage.files import read_json
from quasistatic.tables.columns import Column
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.ensemble_files import FORMAT
from quasistatic.tables.estimator_files import save_estimator
from quasistatic.tables.training import fit_ensemble

__all__ = ["ensemble_of", "table_of"]


def table_of(run: Run) -> Table:
    """Return the recipe of a run on a table."""
    if not isinstance(run.recipe, Table):
        raise InputError(f"{run.folder} is a run of {run.name}, but tables are scored and filled by a run of table")
    return run.recipe


def ensemble_of(run: Run, ready: Callable[[list[Column]], None] | None = None) -> DensityEnsemble:
    """Return the ensemble of a run.

    It is trained at the first call and kept in the run folder. The run itself trained the first member. The first call trains the others; if it is interrupted, the next call goes
    on. ``RUN/estimator`` can be loaded as a :class:`~quasistatic.estimator.DiffusionDensity` too.

    Parameters
    ----------
    run : Run
        Of a table.
    ready : callable, optional
        Called with the columns before anything is trained; it may raise.

    Raises
    ------
    InputError
        If the run is not of a table, or its data has changed before the first call.
    """
    recipe = table_of(run)
    folder, mark = run.folder.ensemble, run.folder.ensemble_manifest
    of = {"checkpoint": run.folder.read_best(), "format": FORMAT}
    kept = DensityEnsemble.load(folder) if os.path.lexists(mark) and read_json(mark, {}) == of else None
    columns = recipe.columns() if kept is None else kept.columns
    if ready is not None:
        ready(columns)
    if kept is not None:
        return kept
    run.folder.refuse_links()
    ensemble = fit_ensemble(
        columns, run.splits.train, run.splits.validation, recipe.settings(), seed=run.seed, first=run.model,
        folder=run.folder.members,
    )  # fmt: skip
    save_estimator(folder, recipe.estimator([column.name for column in columns], run.seed), ensemble)
    write_text(mark, json.dumps(of))
    return ensemble
