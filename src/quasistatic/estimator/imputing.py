"""Holes filled by draws: particles of each density of an average, mixed by what each says of the observed entries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.data.transforms import Complete, OnColumns, Transform
from quasistatic.errors import InputError
from quasistatic.estimator.columns import Column
from quasistatic.estimator.frames import Frame
from quasistatic.estimator.mixture import NormalMixture
from quasistatic.evidence import KnownColumns
from quasistatic.model import DiffusionModel
from quasistatic.posterior import PosteriorWarning
from quasistatic.smc import posterior_sample

__all__ = ["Imputed", "draw_holes"]

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
    frame : Frame, optional
        Of a data frame: its columns and their types.
    index : optional
        The data frame's.
    """

    draws: NDArray[np.object_] | NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    ess: NDArray[np.float64]
    columns: Sequence[Column]
    frame: Frame | None = None
    index: Any = None

    @property
    def mean(self) -> Any:
        """Filled rows: the mean of numbers, integers and levels, the most frequent of bits and classes, (n, d)."""
        filled = self.draws[0].copy()
        for j, column in enumerate(self.columns):
            cells = self.draws[:, :, j]
            if column.kind in ("numeric", "integer", "ordinal"):
                filled[:, j] = cells.astype(np.float64).mean(0)
            elif column.kind != "constant":
                counts = np.stack([(cells == value).sum(0) for value in column.values])
                filled[:, j] = np.array(column.values, dtype=filled.dtype)[counts.argmax(0)]
        return filled if self.frame is None else self.frame.table(filled, self.index, drawn=False)

    def draw(self, k: int) -> Any:
        """Filled rows of one draw, (n, d): a table as it could have been."""
        if not 0 <= k < len(self.draws):
            raise InputError(f"there are draws 0 to {len(self.draws) - 1}, got {k}")
        return self.draws[k] if self.frame is None else self.frame.table(self.draws[k], self.index)

    def quantile(self, q: float) -> Any:
        """Quantile of each entry over the draws, (n, d); nan for classes, which have no order."""
        if not 0.0 <= q <= 1.0:
            raise InputError(f"a quantile must lie between 0 and 1, got {q}")
        told = np.full(self.draws.shape[1:], np.nan)
        for j, column in enumerate(self.columns):
            if not any(isinstance(value, str) for value in column.values):
                told[:, j] = np.quantile(self.draws[:, :, j].astype(np.float64), q, axis=0)
        return told if self.frame is None else self.frame.numbers(told, self.index)


def draw_holes(
    densities: Sequence[DiffusionModel | NormalMixture],
    weights: Sequence[float],
    x: Tensor,
    n_draws: int,
    *,
    n_particles: int,
    n_steps: int | None = None,
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fill the holes of coded rows (n, d): draws (n_draws, n, d), log evidence (n,) and effective sample sizes (n,)."""
    parts = [_filled(densities, weights, rows, n_draws, n_particles, n_steps, generator) for rows in x.split(AT_ONCE)]
    draws, log_evidence, ess = zip(*parts, strict=True)
    return torch.cat(draws, 1), torch.cat(log_evidence), torch.cat(ess)


def _filled(
    densities: Sequence[DiffusionModel | NormalMixture],
    weights: Sequence[float],
    x: Tensor,
    n_draws: int,
    n_particles: int,
    n_steps: int | None,
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    draws, evidence, ess = [], [], []
    for density, weight in zip(densities, weights, strict=True):
        if weight < 1e-3:  # below what draws would show
            continue
        if isinstance(density, NormalMixture):
            many = density.draw(x.repeat(n_draws, 1), generator).view(n_draws, *x.shape)
            told, effective = density.log_prob(x), torch.full((len(x),), float(n_draws), dtype=torch.float64)
        else:
            many, told, effective = _particles(density, x, n_draws, n_particles, n_steps, generator)
        draws.append(many)
        evidence.append(told + math.log(weight))
        ess.append(effective)
    log_evidence = torch.logsumexp(torch.stack(evidence), 0)
    share = torch.softmax(torch.stack(evidence), 0)
    pick = torch.multinomial(share.T, n_draws, replacement=True, generator=generator).T  # which density each draw is of
    chosen = torch.stack(draws).gather(0, pick[None, :, :, None].expand(1, *draws[0].shape))[0]
    return chosen, log_evidence, (share * torch.stack(ess)).sum(0)


def _particles(
    model: DiffusionModel, x: Tensor, n_draws: int, n_particles: int, n_steps: int | None, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
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
    evidence = KnownColumns(known, y.nan_to_num(), matrix, shift)
    steps = None if n_steps is None else min(n_steps, model.diffusion.n_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # told row by row, as ess
        p = posterior_sample(
            model.diffusion, model.kernel, evidence, n_particles,
            shape=model.event_shape, n_steps=steps, generator=generator, chunk=4096,
        )  # fmt: skip
    z = p.resample(n_draws, generator=generator).movedim(1, 0)
    drawn = model.transform.inverse(z.reshape(-1, x.shape[1])).view(n_draws, *x.shape)
    return torch.where(x.isnan(), drawn, x), p.log_evidence + log_det, torch.minimum(p.ess, p.n_founders)
