"""Draws of missing entries from a mixture of densities.

Each density draws by itself. Which density a draw comes from is chosen by its share of the density of the observed entries.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from quasistatic.checks import MOST_STEPS, whole_number
from quasistatic.memory import require_memory
from quasistatic.model import DiffusionModel
from quasistatic.posterior.observations import KnownColumns
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.posterior.smc import posterior_sample, systematic
from quasistatic.streams import bar
from quasistatic.tables.coding import decode_rows, missing_cells, values_of
from quasistatic.tables.columns import Column
from quasistatic.tables.imputed import Imputed
from quasistatic.tables.mixture import NormalMixture
from quasistatic.tables.preconditioner import TablePreconditioner

__all__ = ["CodedDraws", "MissingEntries", "require_draws"]

ROWS_AT_ONCE = 256
LEAST_WEIGHT = 1e-3  # a density of less weight would not show in the draws


class CodedDraws(NamedTuple):
    """Coded rows with their missing entries drawn.

    Attributes
    ----------
    draws : Tensor, shape (n_draws, n, d)
        Codes.
    mean : Tensor, shape (n, columns that are not constant)
        Means of the values; of no use for classes.
    log_evidence : Tensor, shape (n,)
        Log density of the observed entries, nats.
    ess : Tensor, shape (n,)
        Effective number of particles.
    """

    draws: Tensor
    mean: Tensor
    log_evidence: Tensor
    ess: Tensor

    def weighted(self, weight: float) -> CodedDraws:
        """Add the logarithm of a weight to the log evidence."""
        return self._replace(log_evidence=self.log_evidence + math.log(weight))

    def decoded(self, columns: Sequence[Column]) -> Imputed:
        """Convert the codes to cells.

        Parameters
        ----------
        columns : sequence of Column
            All columns of the table.
        """
        n_draws, n = self.draws.shape[:2]
        cells = decode_rows(columns, self.draws.flatten(0, 1)).reshape(n_draws, n, -1)
        expected = np.full(cells.shape[1:], np.nan)
        places = [j for j, column in enumerate(columns) if column.coded]
        for j, mean in zip(places, self.mean.T, strict=True):
            if columns[j].is_number:
                expected[:, j] = mean
        return Imputed(cells, self.log_evidence.numpy(), self.ess.numpy(), columns, expected)


def require_draws(x: Tensor, n_draws: int, n_particles: int | None, n_steps: int | None) -> None:
    """Check the numbers of a request for draws, and its memory.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Coded rows.
    n_draws : int
    n_particles, n_steps : int, optional
        As in :class:`MissingEntries`; None is allowed.

    Raises
    ------
    InputError
        If a number is out of its range, or the draws need too much memory.
    """
    whole_number("n_draws", n_draws, 1)
    if n_particles is not None:
        whole_number("n_particles", n_particles, 1)
    if n_steps is not None:
        whole_number("n_steps", n_steps, 1, MOST_STEPS)
    require_memory(
        f"{n_draws} draws of {len(x)} rows of {x.shape[1]} columns",
        n_draws * (8.0 * 4 * x.numel() + 5 * 8.0 * min(len(x), ROWS_AT_ONCE) * 12 * x.shape[1]),
        "take fewer draws, or fewer rows at once",
    )


@dataclass(frozen=True)
class MissingEntries:
    """Sampler of the missing entries of coded rows.

    Attributes
    ----------
    members : sequence of DiffusionModel
    baselines : sequence of NormalMixture
    weights : sequence of float
        Of the members, then of the baselines.
    preconditioner : TablePreconditioner
        Of all members.
    columns : sequence of Column
    n_draws : int
    n_particles : int
        Of sequential Monte Carlo, for each row.
    n_steps : int, optional
        Steps of the chain; None for all.
    """

    members: Sequence[DiffusionModel]
    baselines: Sequence[NormalMixture]
    weights: Sequence[float]
    preconditioner: TablePreconditioner
    columns: Sequence[Column]
    n_draws: int
    n_particles: int
    n_steps: int | None = None

    def draw(self, x: Tensor, generator: Generator) -> CodedDraws:
        """Draw the missing entries of coded rows.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        generator : Generator
        """
        order = x.isnan().sum(1).argsort(stable=True)  # a batch takes as long as its row with most missing entries
        parts = [self._draw_batch(x[rows], generator) for rows in bar(order.split(ROWS_AT_ONCE), "filling")]
        draws, mean, log_evidence, ess = zip(*parts, strict=True)
        back = order.argsort()
        return CodedDraws(
            torch.cat(draws, 1)[:, back], torch.cat(mean)[back], torch.cat(log_evidence)[back], torch.cat(ess)[back]
        )

    def _draw_batch(self, x: Tensor, generator: Generator) -> CodedDraws:
        n_members = len(self.members)
        each = [
            self._of_member(member, x, generator).weighted(weight)
            for member, weight in zip(self.members, self.weights[:n_members], strict=True)
            if weight >= LEAST_WEIGHT
        ]
        each += [
            self._of_baseline(baseline, x, generator).weighted(weight)
            for baseline, weight in zip(self.baselines, self.weights[n_members:], strict=True)
            if weight >= LEAST_WEIGHT
        ]
        log_evidence = torch.stack([found.log_evidence for found in each])
        share = torch.softmax(log_evidence, 0)
        pick = torch.multinomial(share.T, self.n_draws, replacement=True, generator=generator).T  # density of each draw
        many = torch.stack([found.draws for found in each])
        chosen = many.gather(0, pick[None, :, :, None].expand(1, *many[0].shape))[0]
        mean = (share.unsqueeze(-1) * torch.stack([found.mean for found in each])).sum(0)
        # shares may not add up to one exactly, so observed cells are put back
        mean = torch.where(missing_cells(x, self.columns), mean, values_of(x, self.columns))
        ess = (share * torch.stack([found.ess for found in each])).sum(0)
        return CodedDraws(chosen, mean, torch.logsumexp(log_evidence, 0), ess)

    def _of_baseline(self, baseline: NormalMixture, x: Tensor, generator: Generator) -> CodedDraws:
        """Draw independently from a closed-form density."""
        n = max(self.n_draws, self.n_particles)
        many = baseline.draw(x.repeat(n, 1), generator).view(n, *x.shape)
        effective = torch.full((len(x),), float(self.n_draws), dtype=torch.float64)
        mean = values_of(many, self.columns).mean(0)
        return CodedDraws(many[: self.n_draws], mean, baseline.log_prob(x), effective)

    def _of_member(self, member: DiffusionModel, x: Tensor, generator: Generator) -> CodedDraws:
        """Draw from a diffusion model by sequential Monte Carlo."""
        y, log_det = self.preconditioner.observed(x, generator)
        matrix, shift = self.preconditioner.from_white
        observation = KnownColumns(~y.isnan(), y.nan_to_num(), matrix, shift)
        n_steps = None if self.n_steps is None else min(self.n_steps, member.process.n_steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PosteriorWarning)  # ess is reported for each row instead
            p = posterior_sample(
                member.process, member.kernel, observation, self.n_particles,
                shape=member.event_shape, n_steps=n_steps, generator=generator, chunk=4096,
            )  # fmt: skip
        drawn = self.preconditioner.inverse(p.x.reshape(-1, x.shape[1])).view(p.x.shape)
        q = replace(p, x=torch.where(x.isnan()[:, None], drawn, x[:, None]))
        mean = replace(q, x=values_of(q.x, self.columns)).mean
        # systematic resampling repeats no particle of small weight, which would make intervals too narrow
        kept = systematic(p.log_weights, generator, n=self.n_draws)
        kept = kept.gather(1, torch.rand(kept.shape, generator=generator).argsort(1))
        draws = q.x[torch.arange(len(x))[:, None], kept].movedim(1, 0)
        return CodedDraws(draws, mean, p.log_evidence + log_det, torch.minimum(p.ess, p.n_ancestors))
