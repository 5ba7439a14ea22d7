"""Figures of the report of a table."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.tables.coding import decode_rows, hide, missing_cells, modelled, values_of
from quasistatic.tables.columns import Column
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.settings import TableSettings
from quasistatic.tables.training import fit_ensemble

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hidden_ranks", "negative_conditional_log_prob", "table_figures"]

HIDDEN_SHARE, HIDDEN_DRAWS = 0.2, 39  # entries hidden, and draws of each, that judge the intervals in a report
MOST_HIDDEN_ROWS, MOST_SCORED_ROWS = 200, 500  # in the figures


def table_figures(
    model: DiffusionModel, columns: Sequence[Column], splits: Splits, lines: Sequence[int], generator: Generator
) -> dict[str, Figure]:
    """Draw the figures of a model of a table.

    Parameters
    ----------
    model : DiffusionModel
        Trained on coded rows.
    columns : sequence of Column
        All columns of the file.
    splits : Splits
        Coded rows. The test rows are drawn, or the validation rows if there are none.
    lines : sequence of int
        Lines of the drawn rows in the file.
    generator : Generator
        Source of the draws.
    """
    from quasistatic.plots import column_marginals, pair_plot

    varying = modelled(columns)
    names, classes = [column.name for column in varying], [column.labels for column in varying]
    real = splits.test if len(splits.test) else splits.validation
    made = values_of(model.sample(max(500, len(real)), generator=generator), varying)
    observed = values_of(real, varying)
    drawn = {"columns": column_marginals(observed.numpy(), made.numpy(), names, classes)}
    whole = observed[~observed.isnan().any(1)]
    if len(whole) > 1 and len(varying) > 1:
        drawn["pairs"] = pair_plot(whole[:2000].numpy(), made[:2000].numpy(), names, classes)
    member = copy.deepcopy(model)  # the ensemble turns it to float64
    ensemble = fit_ensemble(columns, splits.train, splits.validation, TableSettings(n_members=1), first=member)
    return drawn | _figures_of_ensemble(ensemble, real, lines, generator)


def _figures_of_ensemble(
    ensemble: DensityEnsemble, real: Tensor, lines: Sequence[int], generator: Generator
) -> dict[str, Figure]:
    """Draw figures of the averaged density."""
    from quasistatic.plots import coverage_curve, extreme_rows

    columns, drawn = ensemble.columns, {}
    u = hidden_ranks(ensemble, real[:MOST_HIDDEN_ROWS], generator)
    if len(u):
        drawn["missing"] = coverage_curve(u, "entries hidden at random in held-out rows and filled again")
    if len(real) > 1:
        real = real[:MOST_SCORED_ROWS]
        scores, labels = ensemble.log_prob(real), [f"line {line}" for line in lines[: len(real)]]
        cells, names = decode_rows(columns, real).astype(object), [column.name for column in columns]
        drawn["rows"] = extreme_rows(cells, scores, negative_conditional_log_prob(ensemble, real), names, labels)
    return drawn


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
