r"""Evidence in data units, told in the units of a model.

With z = f(x) the evidence about x becomes evidence about z, and the integral of p(x) r(x) changes by a factor that is
known: a measurement's density is per unit of y, and a known entry brings :math:`|dz_i / dx_i|`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from quasistatic.data.transforms import Affine, Chain, Dequantise, HistogramToNormal, Transform, Whiten
from quasistatic.errors import InputError
from quasistatic.evidence.base import Evidence, Product
from quasistatic.evidence.flips import BitFlips
from quasistatic.evidence.function import LogEvidence
from quasistatic.evidence.gaussian import GaussianMeasurement
from quasistatic.evidence.known import KnownEntries

__all__ = ["in_model_units", "keep_known"]


def in_model_units(
    evidence: Evidence,
    transform: Transform,
    event: Sequence[int],
    device: torch.device | str = "cpu",
    generator: Generator | None = None,
) -> tuple[Evidence, Tensor]:
    r"""Carry evidence through a transform.

    Known entries pass every transform of entries on their own (known integers are dequantised by a draw of the noise);
    Gaussian measurements pass linear ones (a dequantised integer counts as its value plus one half); a free log r
    passes all.

    Returns
    -------
    Evidence
        About z, bound to the event.
    Tensor, shape (1 or B,)
        To be added to the log evidence of z, to make it that of x.
    """
    parts = _parts(transform)
    bound = evidence.on(event, device)
    if isinstance(bound, Product):
        carried = [in_model_units(part, transform, event, device, generator) for part in bound.parts]
        factor = torch.zeros(1, dtype=torch.float64, device=device)
        for _, log_factor in carried:
            factor = factor + log_factor
        product = Product(*(part for part, _ in carried)).on(event, device)
        product.batched = bound.batched
        return product, factor
    if not parts:
        return bound, torch.zeros(1, dtype=torch.float64, device=device)
    if isinstance(bound, KnownEntries):
        return _known(bound, transform, parts, event, device, generator)
    if isinstance(bound, GaussianMeasurement):
        return _measured(bound, parts, event, device)
    if isinstance(bound, LogEvidence):
        function = bound.function
        through = LogEvidence(lambda z: function(transform.inverse(z)), bound.differentiable)
        return through.on(event, device), torch.zeros(1, dtype=torch.float64, device=device)
    if isinstance(bound, BitFlips):
        raise InputError("flipped bits are evidence about bits, but this model's data is transformed to numbers")
    raise InputError(f"evidence of type {type(bound).__name__} cannot be carried to the units of the model")


def keep_known(evidence: Evidence, x: Tensor) -> Tensor:
    """Put known entries into samples (B, N, *event) as they were given, free of rounding."""
    for part in evidence.parts if isinstance(evidence, Product) else (evidence,):
        if isinstance(part, KnownEntries):
            x = torch.where(part.mask.unsqueeze(1), part.values.unsqueeze(1), x)
    return x


def _parts(transform: Transform) -> list[Transform]:
    """The parts of a chain, without those that change nothing."""
    if isinstance(transform, Chain):
        return [piece for part in transform.parts for piece in _parts(part)]  # type: ignore[arg-type]
    return [] if type(transform) is Transform else [transform]


def _known(
    known: KnownEntries,
    transform: Transform,
    parts: list[Transform],
    event: Sequence[int],
    device: torch.device | str,
    generator: Generator | None,
) -> tuple[Evidence, Tensor]:
    for part in parts:
        if not isinstance(part, Affine | Dequantise | HistogramToNormal):
            name = type(part).__name__
            raise InputError(f"known entries cannot pass the transform {name} of this model, which mixes or fixes entries")
    with torch.enable_grad():
        x = known.values.clone().requires_grad_()
        z, _ = transform(x, generator)
        (slope,) = torch.autograd.grad(z.sum(), x)
    through = KnownEntries(known.mask, z.detach()).on(event, device)
    through.batched = known.batched
    return through, torch.where(known.mask, slope.abs().log(), 0.0).flatten(1).sum(1)


def _measured(
    seen: GaussianMeasurement, parts: list[Transform], event: Sequence[int], device: torch.device | str
) -> tuple[Evidence, Tensor]:
    for part in parts:
        if not isinstance(part, Affine | Dequantise | Whiten):
            name = type(part).__name__
            raise InputError(f"a Gaussian measurement cannot pass the transform {name} of this model, which is not linear")

    def to_data(z: Tensor) -> Tensor:
        for part in reversed(parts):
            z = z - 0.5 if isinstance(part, Dequantise) else part.inverse(z)
        return z

    d = math.prod(event)
    zero = to_data(torch.zeros(1, *event, dtype=torch.float64, device=device))
    if seen.matrix is None and not any(isinstance(part, Whiten) for part in parts):
        scale = to_data(torch.ones(1, *event, dtype=torch.float64, device=device)) - zero
        std = seen.noise.sqrt() / scale.abs()
        through = GaussianMeasurement((seen.y - zero) / scale, std[0], None if seen.seen.all() else seen.seen[0]).on(
            event, device
        )
        log_factor = -torch.where(seen.seen, scale.abs().log(), 0.0).sum().reshape(1)
    else:
        slope = (
            (to_data(torch.eye(d, dtype=torch.float64, device=device).view(d, *event)) - zero).flatten(1).T
        )  # x = slope z + zero
        picked = seen.seen.flatten()
        matrix = seen.matrix if seen.matrix is not None else torch.eye(d, dtype=torch.float64, device=device)
        y = seen.y.flatten(1) - zero.flatten() @ matrix.T
        std = seen.noise.flatten().sqrt()
        through = GaussianMeasurement(y[:, picked], std[picked], (matrix @ slope)[picked]).on(event, device)
        log_factor = torch.zeros(1, dtype=torch.float64, device=device)
    through.batched = seen.batched
    return through, log_factor
