"""Holes filled by draws: particles of each density of an average, mixed by what each says of the observed entries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.checks import real_number, whole_number
from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.posterior.observations import KnownColumns
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.posterior.smc import posterior_sample, systematic
from quasistatic.streams import bar
from quasistatic.tables.coded import missing_cells, values_of
from quasistatic.tables.columns import NUMERIC, Column, missing
from quasistatic.tables.frames import Frame
from quasistatic.tables.mixture import NormalMixture
from quasistatic.transforms import Complete, OnColumns, Transform

__all__ = ["Filling", "Imputed", "draw_holes", "restore"]

AT_ONCE = 256  # rows


@dataclass(frozen=True)
class Imputed:
    """Rows with their holes filled by draws from p(missing | observed), all of equal weight.

    Tables are told as arrays, or as data frames where the rows came in one: its columns, types and index.

    Attributes
    ----------
    draws : ndarray, shape (n_draws, n, d)
        Cells; what was observed is the same in all.
    log_evidence : ndarray, shape (n,)
        Log density of the observed entries, nats: of rows without holes nan, for it was not asked for.
    ess : ndarray, shape (n,)
        Effective number of particles behind the draws; where it is small, do not trust them.
    columns : sequence of Column
    expected : ndarray, shape (n, d), optional
        Conditional means of numbers, integers and levels, over all particles and not the draws alone; nan for classes.
    frame : Frame, optional
        Of a data frame: its columns and their types.
    index : optional
        The data frame's.
    observed : DataFrame, optional
        The rows before they were filled.
    """

    draws: NDArray[np.object_] | NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    ess: NDArray[np.float64]
    columns: Sequence[Column]
    expected: NDArray[np.float64] | None = None
    frame: Frame | None = None
    index: Any = None
    observed: Any = None

    @property
    def mean(self) -> Any:
        """Filled rows: the mean of numbers, integers and levels, the most frequent of bits and classes, (n, d)."""
        filled = self.draws[0].copy()
        for j, column in enumerate(self.columns):
            cells = self.draws[:, :, j]
            if column.kind in NUMERIC:
                filled[:, j] = cells.astype(np.float64).mean(0) if self.expected is None else self.expected[:, j]
            elif column.kind != "constant":
                counts = np.stack([(cells == value).sum(0) for value in column.values])
                filled[:, j] = np.array(column.values, dtype=filled.dtype)[counts.argmax(0)]
        return filled if self.frame is None else self._framed(filled, drawn=False)

    def draw(self, k: int) -> Any:
        """Filled rows of one draw, (n, d): a table as it could have been."""
        if whole_number("k", k, 0) >= len(self.draws):
            raise InputError(f"there are draws 0 to {len(self.draws) - 1}, got {k}")
        return self.draws[k] if self.frame is None else self._framed(self.draws[k])

    def _framed(self, cells: NDArray[Any], drawn: bool = True) -> Any:
        assert self.frame is not None
        return self.frame.table(cells, self.index, drawn=drawn, observed=self.observed)

    def quantile(self, q: float) -> Any:
        """Quantile of each entry over the draws, (n, d); nan for classes, which have no order."""
        real_number("a quantile", q, least=0.0, most=1.0)
        told = np.full(self.draws.shape[1:], np.nan)
        for j, column in enumerate(self.columns):
            if not any(isinstance(value, str) for value in column.values):
                told[:, j] = np.quantile(self.draws[:, :, j].astype(np.float64), q, axis=0)
        return told if self.frame is None else self.frame.numbers(told, self.index)


def restore(draws: NDArray[Any], cells: Sequence[NDArray[Any]]) -> None:
    """Put observed cells of objects back into draws (n_draws, n, d) as the objects that they were."""
    if draws.dtype == object:
        for j, column in enumerate(cells):
            there = ~missing(column)
            draws[:, there, j] = column[there]


class Filling(NamedTuple):
    """Coded rows with their holes filled."""

    draws: Tensor
    """(n_draws, n, d), codes."""
    mean: Tensor
    """(n, columns that are not constant), values; of no use for classes."""
    log_evidence: Tensor
    ess: Tensor
    """Both (n,)."""


def draw_holes(
    densities: Sequence[DiffusionModel | NormalMixture],
    weights: Sequence[float],
    x: Tensor,
    columns: Sequence[Column],
    n_draws: int,
    *,
    n_particles: int,
    n_steps: int | None = None,
    generator: Generator,
) -> Filling:
    """Fill the holes of coded rows (n, d) of these columns."""
    order = x.isnan().sum(1).argsort(stable=True)  # rows that are treated together take as long as that with most holes
    parts = [
        _filled(densities, weights, x[rows], columns, n_draws, n_particles, n_steps, generator)
        for rows in bar(order.split(AT_ONCE), "filling")
    ]
    draws, mean, log_evidence, ess = zip(*parts, strict=True)
    back = order.argsort()
    return Filling(torch.cat(draws, 1)[:, back], torch.cat(mean)[back], torch.cat(log_evidence)[back], torch.cat(ess)[back])


def _filled(
    densities: Sequence[DiffusionModel | NormalMixture],
    weights: Sequence[float],
    x: Tensor,
    columns: Sequence[Column],
    n_draws: int,
    n_particles: int,
    n_steps: int | None,
    generator: Generator,
) -> Filling:
    each: list[Filling] = []
    for density, weight in zip(densities, weights, strict=True):
        if weight < 1e-3:  # below what draws would show
            continue
        if isinstance(density, NormalMixture):
            n = max(n_draws, n_particles)
            many = density.draw(x.repeat(n, 1), generator).view(n, *x.shape)
            effective = torch.full((len(x),), float(n_draws), dtype=torch.float64)
            told = Filling(many[:n_draws], values_of(many, columns).mean(0), density.log_prob(x), effective)
        else:
            told = _particles(density, x, columns, n_draws, n_particles, n_steps, generator)
        each.append(told._replace(log_evidence=told.log_evidence + math.log(weight)))
    observation = torch.stack([told.log_evidence for told in each])
    share = torch.softmax(observation, 0)
    pick = torch.multinomial(share.T, n_draws, replacement=True, generator=generator).T  # which density each draw is of
    many = torch.stack([told.draws for told in each])
    chosen = many.gather(0, pick[None, :, :, None].expand(1, *many[0].shape))[0]
    mean = (share.unsqueeze(-1) * torch.stack([told.mean for told in each])).sum(0)
    missing = missing_cells(x, columns)
    mean = torch.where(missing, mean, values_of(x, columns))  # no weights, that may not add up to one, touch what is known
    ess = (share * torch.stack([told.ess for told in each])).sum(0)
    return Filling(chosen, mean, torch.logsumexp(observation, 0), ess)


def _particles(
    model: DiffusionModel,
    x: Tensor,
    columns: Sequence[Column],
    n_draws: int,
    n_particles: int,
    n_steps: int | None,
    generator: Generator,
) -> Filling:
    """Draws of one diffusion by sequential Monte Carlo, resampled to equal weights."""
    layer, *_ = model.transform.parts  # type: ignore[union-attr,misc]
    assert isinstance(layer, Transform)
    y, log_det = layer(x, generator)
    whiten = [part for part in model.transform.parts if isinstance(part, OnColumns)][1:]  # type: ignore[union-attr]
    (complete,) = (part for part in model.transform.parts if isinstance(part, Complete))  # type: ignore[union-attr]
    k = len(complete.numeric)
    matrix, shift = torch.eye(k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    if whiten:
        matrix, shift = whiten[0].parts[0].back, whiten[0].parts[0].mean  # type: ignore[assignment,union-attr]
    known = ~y.isnan()
    observation = KnownColumns(known, y.nan_to_num(), matrix, shift)
    steps = None if n_steps is None else min(n_steps, model.process.n_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # told row by row, as ess
        p = posterior_sample(
            model.process, model.kernel, observation, n_particles,
            shape=model.event_shape, n_steps=steps, generator=generator, chunk=4096,
        )  # fmt: skip
    drawn = model.transform.inverse(p.x.reshape(-1, x.shape[1])).view(p.x.shape)
    q = replace(p, x=torch.where(x.isnan()[:, None], drawn, x[:, None]))
    mean = replace(q, x=values_of(q.x, columns)).mean
    # no particle is drawn twice whose weight does not ask for it, or few particles would make narrow intervals
    kept = systematic(p.log_weights, generator, n=n_draws)
    kept = kept.gather(1, torch.rand(kept.shape, generator=generator).argsort(1))
    draws = q.x[torch.arange(len(x))[:, None], kept].movedim(1, 0)
    return Filling(draws, mean, p.log_evidence + log_det, torch.minimum(p.ess, p.n_ancestors))
