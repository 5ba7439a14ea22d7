"""The model of a table: marginals, a normal law of the numbers, and a denoiser that corrects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import MixedDenoiser
from quasistatic.schedules import geometric
from quasistatic.tables.columns import NUMERIC, Column
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

__all__ = ["FEW_ROWS", "MANY_COLUMNS", "Shape", "build", "preconditioned", "shape_for"]

MOST_ROWS = 20_000  # that marginals and shrinkage are chosen by
FEW_ROWS, MANY_COLUMNS = 2000, 32  # fewer rows make a small table, more columns a wide one
PRIOR = 0.5  # added to every count of a level or class


@dataclass(frozen=True)
class Shape:
    """Size of the denoiser and its chain."""

    n_steps: int = 100
    n_components: int = 1
    width: int = 128
    depth: int = 3
    dropout: float = 0.1
    covariance: str = "diagonal"
    n_fourier: int = 0
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0


def shape_for(
    n: int, d: int, n_steps: int | None = None, n_components: int | None = None, dropout: float | None = None, **rest: Any
) -> Shape:
    """Choose what is not given by the numbers of rows and columns: few rows, or many columns, ask for simple kernels."""
    large, plane = n >= FEW_ROWS and d <= 16, d <= 2
    m = ((16 if plane else 4) if large else 1) if n_components is None else n_components
    if n_steps is None:
        n_steps = (
            (200 if d > MANY_COLUMNS else 100) if m == 1 else 10 if plane and m > 4 else 30
        )  # what a step can say, it need not leave to another
    if dropout is None:
        dropout = (0.0 if plane else 0.1) if large else 0.3
    # a plane's covariance has a closed form, and its curves are worth fine features
    extra: dict[str, Any] = {"covariance": "full", "n_fourier": 3} if plane else {}
    return Shape(n_steps=n_steps, n_components=m, dropout=dropout, **extra, **rest)


def preconditioned(
    x: Tensor, columns: Sequence[Column], marginals: str = "auto", *, shrinkage: Shrinkage | None = None, seed: int = 0
) -> Chain:
    """Fit marginals, the normal law behind them, and its whitening to coded rows (n, d), nan where missing.

    Parameters
    ----------
    marginals : {"auto", "none", "power", "ratio"}
        Of numeric columns: their scale only; Yeo and Johnson's power of what is left of the mean, in deviations; or of the
        ratio to the mean, where a column is never negative. "auto" takes what gives rows left out the highest density
        under the normal law.
    shrinkage : Shrinkage, optional
        Of the covariance; chosen by cross-validation if not given.
    """
    numeric = [i for i, column in enumerate(columns) if column.kind in NUMERIC]
    kinds = ("none", "power", "ratio")
    if marginals not in ("auto", *kinds):
        raise InputError(f'marginals must be "auto", "none", "power" or "ratio", got {marginals!r}')
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
        law = Normal.fit(y).with_still_columns().shrunk(*chosen)
        score += log_det.mean().item()
        if best is None or score > best[0]:
            best = (score, layer, law)
    assert best is not None
    _, layer, law = best
    discrete = [i for i, column in enumerate(columns) if column.kind not in NUMERIC]
    rates = [_rates(x[:, i], columns[i]) for i in discrete]
    complete = Complete(law.mean, law.cov, numeric, rates, discrete, random=bool(x.isnan().any()))
    whiten = [OnColumns([Whiten.by(law.mean, law.cov)], [numeric])] if numeric else []
    return Chain(layer, complete, *whiten)


def _with_entries(y: Tensor) -> Tensor:
    """Put a zero into columns without any entry: values beside atoms may all be among other rows."""
    y = y.clone()
    y[0, y.isnan().all(0)] = 0.0
    return y


def build(transform: Chain, columns: Sequence[Column], shape: Shape) -> DiffusionModel:
    """Make the untrained model behind a preconditioning; random starts come from torch's global generator."""
    beta = geometric(shape.n_steps, shape.log_snr_max, shape.log_snr_min)
    (complete,) = (part for part in transform.parts if isinstance(part, Complete))
    parts: list[ForwardProcess] = []
    blocks: list[list[int]] = []
    if complete.numeric:
        parts.append(GaussianDiffusion(beta))
        blocks.append(complete.numeric)
    rates = dict(zip(complete.discrete, complete.rates, strict=True))
    bits = [i for i in rates if columns[i].kind == "binary"]
    if bits:
        parts.append(BernoulliDiffusion(beta, torch.stack([rates[i][1] for i in bits])))
        blocks.append(bits)
    for k in sorted({len(rates[i]) for i in rates if i not in bits}):
        block = [i for i in rates if i not in bits and len(rates[i]) == k]
        parts.append(CategoricalDiffusion(beta, k, rho=torch.stack([rates[i] for i in block])))
        blocks.append(block)
    process = MixedDiffusion(parts, blocks)
    n_out = MixedDenoiser.n_outputs(process, shape.covariance, shape.n_components)
    n_in = MixedDenoiser.n_inputs(process)
    network = ResidualMLP(n_in, n_out, shape.width, shape.depth, shape.n_fourier, shape.dropout)
    kernel = MixedDenoiser(process, network, shape.covariance, shape.n_components)
    return DiffusionModel(transform, process, kernel, (len(columns),))


def _marginals(x: Tensor, columns: Sequence[Column], kind: str) -> OnColumns:
    parts: list[Transform] = []
    blocks: list[list[int]] = []
    numbers = [i for i, column in enumerate(columns) if column.kind == "numeric"]
    if numbers:
        parts.append(_scaled(x[:, numbers], kind))
        blocks.append(numbers)
    ordinal = {i: column.n_levels for i, column in enumerate(columns) if column.kind == "ordinal"}
    for levels in sorted(set(ordinal.values())):
        block = [i for i, n in ordinal.items() if n == levels]
        mass = torch.stack([_rates(x[:, i], columns[i]) for i in block])
        parts.append(Chain(Dequantise(levels), HistogramGaussianizer(mass)))
        blocks.append(block)
    for i, column in enumerate(columns):
        if column.kind == "integer":
            scaled = _scaled(x[:, [i]] + 0.5, kind)
            parts.append(Chain(Dequantise(column.n_levels), *scaled.parts))  # type: ignore[arg-type]
            blocks.append([i])
    return OnColumns(parts, blocks)


def _scaled(x: Tensor, marginals: str) -> Chain:
    """Zero mean and unit variance; then a power about the mean; or a power of the ratio to the mean, about zero."""
    mean = x.nanmean(0).nan_to_num()  # of a column without entries, zero
    std = (x - mean).square().nanmean(0).sqrt()
    scale = Affine(mean, torch.where(std > 0, std, 1.0))
    if marginals == "none":
        return Chain(scale)
    if marginals == "ratio":
        # what cannot be negative is often a product of others, and then its logarithm is a sum: a power of 1 + 5 x / mean
        # is near a logarithm but where x is a small part of its mean
        positive = (x.nan_to_num(nan=0.0) >= 0).all(0) & (mean > 0)
        scale = Affine(torch.where(positive, 0.0, scale.shift), torch.where(positive, 0.2 * mean, scale.scale))
    return Chain(scale, YeoJohnson.fit(scale(x)[0]))


def _rates(codes: Tensor, column: Column) -> Tensor:
    seen = codes[~codes.isnan()].long()
    counts = torch.bincount(seen, minlength=column.n_levels).double() + PRIOR
    return counts / counts.sum()
