"""Diffusion models of a table averaged with baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from quasistatic.checks import instance_of, whole_number
from quasistatic.likelihood.bound import Bound
from quasistatic.model import DiffusionModel
from quasistatic.storage.atomic import new_folder
from quasistatic.storage.files import path_of
from quasistatic.tables.coding import (
    encode_known,
    missing_cells,
    values_of,
)
from quasistatic.tables.columns import Column
from quasistatic.tables.ensemble_files import BASELINES, read_fields, write_fields
from quasistatic.tables.imputed import Imputed
from quasistatic.tables.imputing import CodedDraws, MissingEntries, require_draws
from quasistatic.tables.mixture import NormalMixture
from quasistatic.tables.preconditioner import TablePreconditioner
from quasistatic.tables.rows import row_log_prob
from quasistatic.tables.settings import DEFAULTS

__all__ = ["BASELINES", "DensityEnsemble"]


class DensityEnsemble(nn.Module):
    r"""Normalised density of the rows of a table.

    It is a weighted average of densities,

    .. math:: p(x) = \sum_j w_j\, p_j(x),

    of diffusion models (the members) and of three baselines in closed form. The log density of a member is a lower bound,
    that of a baseline exact, so the logarithm of the average is a lower bound too.

    Parameters
    ----------
    columns : sequence of Column
    members : sequence of DiffusionModel
        Of coded rows, all behind equal preconditioners. Their kernels are turned to float64.
    normal, heavy_tailed, mixture : NormalMixture
        Baselines: the normal distribution of the preconditioner, the same with heavy tails, and a mixture of normals.
    weights : Tensor, shape (n_members,) or (n_members + 3,)
        Of the members, then of the baselines if these join the average.
    n_trajectories : int
        Forward trajectories that the log density of a member averages over.
    seed : int
        Of the noise of the log density.
    validation_score : float
        Mean log density of the validation rows, nats.
    """

    weights: Tensor

    def __init__(
        self,
        columns: Sequence[Column],
        members: Sequence[DiffusionModel],
        normal: NormalMixture,
        heavy_tailed: NormalMixture,
        mixture: NormalMixture,
        weights: Tensor,
        *,
        n_trajectories: int = DEFAULTS.n_trajectories,
        seed: int = 0,
        validation_score: float = math.nan,
    ) -> None:
        super().__init__()
        self.columns = list(columns)
        self.members = nn.ModuleList(members)
        self.normal = normal
        self.heavy_tailed = heavy_tailed
        self.mixture = mixture
        self.register_buffer("weights", weights.double())
        self.n_trajectories = n_trajectories
        self.seed = seed
        self.validation_score = validation_score
        # in single precision the score of a row would depend on the other rows of its batch
        for member in self.models:
            member.kernel.double()

    def __repr__(self) -> str:
        parts = f"{len(self.members)} members and {len(self.baselines)} baselines"
        return f"DensityEnsemble({parts} of {len(self.columns)} columns)"

    @property
    def models(self) -> list[DiffusionModel]:
        """Members as a list."""
        return cast(list[DiffusionModel], list(self.members))

    @property
    def preconditioner(self) -> TablePreconditioner:
        """Change of variables of all densities."""
        return self.normal.preconditioner

    @property
    def baselines(self) -> list[NormalMixture]:
        """Closed-form densities that join the average."""
        joined = len(self.weights) > len(self.members)
        return [self.normal, self.heavy_tailed, self.mixture] if joined else []

    # ------------------------------------------------------------------------------------------------ log density

    def log_prob_each(self, x: Tensor, n_trajectories: int | None = None) -> Tensor:
        """Score coded rows under each density.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        n_trajectories : int, optional
            Instead of that of the ensemble.

        Returns
        -------
        Tensor, shape (n, J)
            Nats; of the members, then of the baselines.
        """
        n = self.n_trajectories if n_trajectories is None else n_trajectories
        scores = [row_log_prob(member, x, n, self.seed) for member in self.models]
        scores += [baseline.log_prob(x, seed=self.seed) for baseline in self.baselines]
        each = torch.stack(scores, 1)
        return each.masked_fill(each.isnan(), -math.inf)  # of rows so far out that squares overflow

    def log_prob(self, x: Tensor, n_trajectories: int | None = None) -> Tensor:
        """Bound the log density of coded rows from below.

        Missing entries are integrated out.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        n_trajectories : int, optional
            Instead of that of the ensemble; more make the bound tighter.

        Returns
        -------
        Tensor, shape (n,)
            Nats. The value of a row does not depend on the other rows.
        """
        return torch.logsumexp(self.log_prob_each(x, n_trajectories) + self.weights.log(), 1)

    def elbo(self, x: Tensor) -> Bound:
        """Bound the log density by one trajectory a row.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.

        Returns
        -------
        Bound
            In three parts for a single density; for an average, all of it is in ``data``.
        """
        if len(self.weights) == 1:
            return self.models[0].elbo(x, method="trajectory", generator=Generator().manual_seed(self.seed))
        total = self.log_prob(x, 1)
        return Bound(torch.zeros_like(total), total.new_zeros(len(total), 0), total, (x.shape[1],))

    # ------------------------------------------------------------------------------------------------ draws

    def sample(self, n: int, *, generator: Generator) -> Tensor:
        """Draw coded rows.

        Parameters
        ----------
        n : int
        generator : Generator

        Returns
        -------
        Tensor, shape (n, d)
        """
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(self.weights)).tolist()
        densities: list[DiffusionModel | NormalMixture] = [*self.models, *self.baselines]
        drawn = [
            density.sample(count, generator=generator) for density, count in zip(densities, counts, strict=True) if count
        ]
        return torch.cat(drawn)[torch.randperm(n, generator=generator)]

    def draw_missing(
        self,
        x: Tensor,
        n_draws: int,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        generator: Generator,
    ) -> CodedDraws:
        r"""Draw the missing entries of coded rows.

        They come from :math:`p(x_m \mid x_o)`, the distribution given the observed entries.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        n_draws : int
        n_particles : int, optional
            Particles of sequential Monte Carlo for each row: by default 50, or five times the draws if that is more.
        n_steps : int, optional
            Steps of the chain; None for all.
        generator : Generator

        Returns
        -------
        CodedDraws
            The log evidence and the ess of rows without missing entries are nan.
        """
        require_draws(x, n_draws, n_particles, n_steps)
        draws, mean = x.repeat(n_draws, 1, 1), values_of(x, self.columns)
        log_evidence, ess = torch.full((2, len(x)), math.nan, dtype=torch.float64)
        rows = missing_cells(x, self.columns).any(1).nonzero().flatten()
        if len(rows):
            sampler = MissingEntries(
                self.models, self.baselines, self.weights.tolist(), self.preconditioner, self.columns, n_draws,
                max(50, 5 * n_draws) if n_particles is None else n_particles, n_steps,
            )  # fmt: skip
            draws[:, rows], mean[rows], log_evidence[rows], ess[rows] = sampler.draw(x[rows], generator)
        return CodedDraws(draws, mean, log_evidence, ess)

    def impute(
        self,
        x: Tensor,
        n_draws: int = 20,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        generator: Generator,
    ) -> Imputed:
        """Fill missing entries, and return cells.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        n_draws, n_particles, n_steps, generator
            As in :meth:`draw_missing`.
        """
        drawn = self.draw_missing(x, n_draws, n_particles=n_particles, n_steps=n_steps, generator=generator)
        return drawn.decoded(self.columns)

    def condition(
        self,
        known: Mapping[Any, Any],
        n_draws: int = 100,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        generator: Generator,
    ) -> Imputed:
        """Draw whole rows given the values of some columns.

        Parameters
        ----------
        known : mapping
            From the name or number of a column to its value.
        n_draws, n_particles, n_steps, generator
            As in :meth:`draw_missing`.

        Raises
        ------
        InputError
            If there is no such column, or it cannot have that value.
        """
        whole_number("n_draws", n_draws, 1)
        instance_of("known", known, Mapping, "a dictionary from columns to values")
        x = encode_known(self.columns, known)
        return self.impute(x, n_draws, n_particles=n_particles, n_steps=n_steps, generator=generator)

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON."""
        with new_folder(path_of("path", path)) as folder:
            self.write_to(folder)

    def write_to(self, folder: Path) -> None:
        """Write the files of :meth:`save` into an existing folder."""
        write_fields(
            folder, columns=self.columns, members=list(self.members), normal=self.normal,
            heavy_tailed=self.heavy_tailed, mixture=self.mixture, weights=self.weights, seed=self.seed,
            n_trajectories=self.n_trajectories, validation_score=self.validation_score,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> DensityEnsemble:
        """Read a folder that :meth:`save` wrote.

        Raises
        ------
        InputError
            If the folder holds no ensemble, is damaged, or has another format.
        """
        return cls(**read_fields(path_of("path", path)))
