"""Training of the density of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quasistatic.model import DiffusionModel
from quasistatic.streams import say
from quasistatic.tables.build import build_member
from quasistatic.tables.coding import coded_columns
from quasistatic.tables.columns import Column
from quasistatic.tables.ensemble import BASELINES, DensityEnsemble
from quasistatic.tables.mixture import NormalMixture, mixing_weights
from quasistatic.tables.preconditioner import TablePreconditioner, fit_preconditioner
from quasistatic.tables.settings import DEFAULTS, TableSettings
from quasistatic.train import fit

__all__ = ["average_members", "fit_ensemble", "hold_out", "untrained_member"]

MOST_FITTED = 20_000  # rows that the baselines are fitted to
MOST_VALIDATION = 2000  # rows that the weights are fitted to


def hold_out(x: Tensor, fraction: float, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Split rows at random into training and validation rows.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    fraction : float
        Share of the validation rows, of which there is at least one.
    seed : int

    Returns
    -------
    train, validation : Tensor
    """
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(x)))
    n_validation = min(len(x) - 1, max(1, round(len(x) * fraction)))
    return x[order[n_validation:]], x[order[:n_validation]]


def untrained_member(train: Tensor, columns: Sequence[Column], settings: TableSettings, *, seed: int = 0) -> DiffusionModel:
    """Build an untrained member behind a fitted preconditioner.

    Parameters
    ----------
    train : Tensor, shape (n, d)
        Coded rows.
    columns : sequence of Column
        Columns of the table.
    settings : TableSettings
    seed : int
        Of the preconditioner. The network starts from torch's global generator.
    """
    coded = coded_columns(columns)
    preconditioner = fit_preconditioner(train, coded, settings.marginals, seed=seed)
    return build_member(preconditioner, coded, settings.plan(len(train), len(coded)).shape)


def fit_ensemble(
    columns: Sequence[Column],
    train: Tensor,
    validation: Tensor,
    settings: TableSettings,
    *,
    seed: int = 0,
    first: DiffusionModel | None = None,
    folder: Path | None = None,
    quiet: bool = False,
    time_budget: float = math.inf,
) -> DensityEnsemble:
    """Train the members, and average them.

    Parameters
    ----------
    columns : sequence of Column
    train, validation : Tensor, shape (n, d)
        Coded rows.
    settings : TableSettings
    seed : int
        Member k starts from seed + k.
    first : DiffusionModel, optional
        The first member, where it is trained already.
    folder : Path, optional
        Folder with a run folder for each member. The same call continues from the members that are there.
    quiet : bool
        Show no progress.
    time_budget : float
        Seconds of training for each member.
    """
    train = train[~train.isnan().all(1)]
    coded = coded_columns(columns)
    plan = settings.plan(len(train), len(coded))
    if first is None:
        preconditioner = fit_preconditioner(train, coded, settings.marginals, seed=seed)
    else:
        assert isinstance(first.transform, TablePreconditioner)
        preconditioner = first.transform
    members = [] if first is None else [first]
    for k in range(len(members), plan.n_members):
        home = None if folder is None else folder / str(k)
        if not quiet and not (home is not None and (home / "checkpoint" / "finished.json").exists()):
            say(f"training member {k + 1} of {plan.n_members}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + k)
            model = build_member(preconditioner, coded, plan.shape)
        members.append(
            fit(model, train, validation, plan.train, folder=home, seed=seed + k, quiet=quiet, time_budget=time_budget)
        )
    return average_members(
        columns, members, preconditioner, train, validation, seed=seed, baselines=settings.average,
        n_trajectories=settings.n_trajectories,
    )  # fmt: skip


def average_members(
    columns: Sequence[Column],
    members: Sequence[DiffusionModel],
    preconditioner: TablePreconditioner,
    train: Tensor,
    validation: Tensor,
    *,
    seed: int = 0,
    baselines: bool = True,
    n_trajectories: int = DEFAULTS.n_trajectories,
) -> DensityEnsemble:
    """Average trained members with baselines.

    Validation rows choose the weights.

    Parameters
    ----------
    columns : sequence of Column
    members : sequence of DiffusionModel
        Trained on coded rows.
    preconditioner : TablePreconditioner
        Of the members.
    train, validation : Tensor, shape (n, d)
        Coded rows.
    seed : int
    baselines : bool
        If False, only the members are averaged.
    n_trajectories : int
    """
    validation, few = validation[:MOST_VALIDATION], train[:MOST_FITTED]
    normal = heavy_tailed = mixture = NormalMixture.single(preconditioner)
    if baselines:
        heavy_tailed = NormalMixture.heavy_tailed(preconditioner, few, seed=seed)
        mixture = NormalMixture.fit(preconditioner, few, validation, seed=seed)
    n = len(members) + len(BASELINES) * baselines
    made = DensityEnsemble(
        columns, members, normal, heavy_tailed, mixture, torch.full((n,), 1.0 / n), n_trajectories=n_trajectories,
        seed=seed,
    )  # fmt: skip
    scores = made.log_prob_each(validation)
    made.weights = mixing_weights(scores)
    made.validation_score = float(torch.logsumexp(scores + made.weights.log(), 1).mean())
    return made
