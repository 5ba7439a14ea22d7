"""Change of variables of a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from quasistatic.checks import one_of
from quasistatic.random import Rng
from quasistatic.storage.modules import saveable
from quasistatic.tables.columns import Column
from quasistatic.transforms import (
    Affine,
    Chain,
    Complete,
    Dequantise,
    HistogramGaussianizer,
    OnColumns,
    Transform,
    Whiten,
    YeoJohnson,
)
from quasistatic.transforms.normal import Normal
from quasistatic.transforms.shrinkage import Shrinkage, cross_validated_shrinkage

__all__ = ["TablePreconditioner", "fit_preconditioner"]

MOST_ROWS = 20_000  # that marginals and shrinkage are chosen by
PRIOR = 0.5  # added to every count of a level or class


@saveable
class TablePreconditioner(Chain):
    """Transform of coded rows in three named layers.

    Parameters
    ----------
    marginals : OnColumns
        Transform of each number by itself. Missing entries stay nan.
    completion : Complete
        Draws of the missing entries, from a normal distribution of the numbers and from the rates of the classes.
    whitening : Whiten, optional
        Whitening of the numbers; None for a table without numbers.
    """

    def __init__(self, marginals: OnColumns, completion: Complete, whitening: Whiten | None = None) -> None:
        last = [] if whitening is None else [OnColumns([whitening], [completion.numeric])]
        super().__init__(marginals, completion, *last)
        self.marginals = marginals
        self.completion = completion
        self.whitening = whitening

    @property
    def numeric(self) -> list[int]:
        """Coded columns that are numbers."""
        return self.completion.numeric

    @property
    def discrete(self) -> list[int]:
        """Coded columns that are bits or classes."""
        return self.completion.discrete

    @property
    def rates(self) -> list[Tensor]:
        """Frequencies of the classes of each discrete column, each (L,)."""
        return self.completion.rates

    @property
    def from_white(self) -> tuple[Tensor, Tensor]:
        """Matrix (k, k) and shift (k,) that undo the whitening."""
        if self.whitening is None:
            return torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
        return self.whitening.back, self.whitening.mean

    def observed(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        """Apply the marginals only.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Coded rows, nan where missing.
        generator : Generator, optional
            Of the noise that dequantises whole numbers.

        Returns
        -------
        y : Tensor, shape (n, d)
            nan where missing.
        log_det : Tensor, shape (n,)
            Of the observed entries.
        """
        return self.marginals(x, generator)


def fit_preconditioner(
    x: Tensor, columns: Sequence[Column], marginals: str = "auto", *, shrinkage: Shrinkage | None = None, seed: int = 0
) -> TablePreconditioner:
    """Fit the three layers to coded rows.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Coded rows, nan where missing.
    columns : sequence of Column, length d
        Coded columns.
    marginals : {"auto", "none", "power", "ratio"}
        Transform of numeric columns: "none" is their scale; "power" is Yeo and Johnson's power of the standardised
        number; "ratio" is a power of the ratio to the mean, where a column is never negative. "auto" chooses by the
        cross-validated density of a normal distribution.
    shrinkage : Shrinkage, optional
        Of the covariance; chosen by cross-validation if not given.
    seed : int
        Of the folds, the rows they are chosen from and the noise of dequantisation.

    Raises
    ------
    InputError
        If ``marginals`` is unknown.
    """
    numeric = [i for i, column in enumerate(columns) if column.is_number]
    kinds = ("none", "power", "ratio")
    one_of("marginals", marginals, ("auto", *kinds))
    few = x
    if len(x) > MOST_ROWS:
        few = x[torch.randperm(len(x), generator=Generator().manual_seed(seed))[:MOST_ROWS]]
    best: tuple[float, OnColumns, Normal] | None = None
    for kind in kinds if marginals == "auto" else (marginals,):
        layer = _marginals(few, columns, kind)
        y, log_det = layer(few, Generator().manual_seed(seed))
        if not numeric:
            best = (0.0, layer, Normal(torch.zeros(0), torch.zeros(0, 0)))
            break
        y = _with_entries(y[:, numeric])
        chosen, score = (shrinkage, 0.0) if shrinkage is not None else cross_validated_shrinkage(y, seed=seed)
        if few is not x:
            y = _with_entries(layer(x, Generator().manual_seed(seed))[0][:, numeric])
        normal = Normal.fit(y).with_still_columns().shrunk(*chosen)
        score += log_det.mean().item()
        if best is None or score > best[0]:
            best = (score, layer, normal)
    assert best is not None
    _, layer, normal = best
    discrete = [i for i, column in enumerate(columns) if not column.is_number]
    rates = [_rates(x[:, i], columns[i]) for i in discrete]
    completion = Complete(normal.mean, normal.cov, numeric, rates, discrete, random=bool(x.isnan().any()))
    return TablePreconditioner(layer, completion, Whiten.by(normal.mean, normal.cov) if numeric else None)


def _with_entries(y: Tensor) -> Tensor:
    """Put a zero into columns without any entry.

    Values beside atoms may all be among other rows.
    """
    y = y.clone()
    y[0, y.isnan().all(0)] = 0.0
    return y


def _marginals(x: Tensor, columns: Sequence[Column], kind: str) -> OnColumns:
    parts: list[Transform] = []
    blocks: list[list[int]] = []
    numbers = [i for i, column in enumerate(columns) if column.kind == "numeric"]
    if numbers:
        parts.append(Chain(*_scaled(x[:, numbers], kind)))
        blocks.append(numbers)
    ordinal = {i: column.n_levels for i, column in enumerate(columns) if column.kind == "ordinal"}
    for levels in sorted(set(ordinal.values())):
        block = [i for i, n in ordinal.items() if n == levels]
        mass = torch.stack([_rates(x[:, i], columns[i]) for i in block])
        parts.append(Chain(Dequantise(levels), HistogramGaussianizer(mass)))
        blocks.append(block)
    for i, column in enumerate(columns):
        if column.kind == "integer":
            parts.append(Chain(Dequantise(column.n_levels), *_scaled(x[:, [i]] + 0.5, kind)))
            blocks.append([i])
    return OnColumns(parts, blocks)


def _scaled(x: Tensor, marginals: str) -> list[Transform]:
    """Fit the scale of columns, and a power of the scaled numbers."""
    mean = x.nanmean(0).nan_to_num()  # zero for a column without entries
    std = (x - mean).square().nanmean(0).sqrt()
    scale = Affine(mean, torch.where(std > 0, std, 1.0))
    if marginals == "none":
        return [scale]
    if marginals == "ratio":
        # a quantity that cannot be negative is often a product of others, and then its logarithm is a sum: a power of
        # 1 + 5 x / mean is near a logarithm except where x is a small part of its mean
        positive = (x.nan_to_num(nan=0.0) >= 0).all(0) & (mean > 0)
        scale = Affine(torch.where(positive, 0.0, scale.shift), torch.where(positive, 0.2 * mean, scale.scale))
    return [scale, YeoJohnson.fit(scale(x)[0])]


def _rates(codes: Tensor, column: Column) -> Tensor:
    seen = codes[~codes.isnan()].long()
    counts = torch.bincount(seen, minlength=column.n_levels).double() + PRIOR
    return counts / counts.sum()
