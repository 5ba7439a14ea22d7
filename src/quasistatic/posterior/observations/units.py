r"""Evidence in data units, told in the units of a model.

With z = f(x) the evidence about x becomes evidence about z, and the integral of p(x) r(x) changes by a factor that is
known: a measurement's density is per unit of y, and a known entry brings :math:`|dz_i / dx_i|`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import JointObservation, Observation
from quasistatic.posterior.observations.flips import BitFlipChannel
from quasistatic.posterior.observations.function import LogFactor
from quasistatic.posterior.observations.gaussian import GaussianMeasurement
from quasistatic.posterior.observations.known import KnownEntries, KnownProjections
from quasistatic.transforms import Affine, Chain, Dequantise, HistogramGaussianizer, Levels, Transform, Whiten

__all__ = ["in_model_units", "keep_known"]


def in_model_units(
    observation: Observation,
    transform: Transform,
    event: Sequence[int],
    device: torch.device | str = "cpu",
    generator: Generator | None = None,
    n_particles: int = 1,
) -> tuple[Observation, Tensor]:
    r"""Carry evidence through a transform.

    Known entries pass transforms of entries one by one, and after them linear ones, where they become projections that
    are known. Known integers that the model sees dequantised are drawn anew for each of ``n_particles`` particles, which
    makes the posterior that of the integers. Gaussian measurements pass linear transforms (a dequantised integer counts
    as its value plus one half) and become a free log r behind others; a free log r passes all.

    Returns
    -------
    Evidence
        About z, bound to the event.
    Tensor, shape (1,)
        To be added to the log evidence of z, to make it that of x.
    """
    parts = _parts(transform)
    bound = observation.on(event, device)
    nothing = torch.zeros(1, dtype=torch.float64, device=device)
    if isinstance(bound, JointObservation):
        return _product(bound, transform, event, device, generator, n_particles)
    if not parts:
        return bound, nothing
    if isinstance(bound, KnownEntries):
        return _known(bound, parts, event, device, generator, n_particles), nothing
    if isinstance(bound, GaussianMeasurement) and all(isinstance(p, Affine | Dequantise | Whiten | Levels) for p in parts):
        return _measured(bound, parts, event, device)
    if isinstance(bound, GaussianMeasurement | LogFactor):
        return _Carried(bound, parts).on(event, device), nothing
    if isinstance(bound, BitFlipChannel):
        raise InputError("flipped bits are evidence about bits, but this model's data is transformed to numbers")
    raise InputError(f"evidence of type {type(bound).__name__} cannot be carried to the units of the model")


def keep_known(observation: Observation, x: Tensor) -> Tensor:
    """Put known entries into samples (B, N, *event) as they were given, free of rounding."""
    for part in observation.parts if isinstance(observation, JointObservation) else (observation,):
        if isinstance(part, KnownEntries):
            x = torch.where(part.mask.unsqueeze(1), part.values.unsqueeze(1), x)
    return x


def _parts(transform: Transform) -> list[Transform]:
    """The parts of a chain, without those that change nothing."""
    if isinstance(transform, Chain):
        return [piece for part in transform.parts for piece in _parts(part)]  # type: ignore[arg-type]
    return [] if type(transform) is Transform else [transform]


def _smooth(part: Transform, z: Tensor) -> Tensor:
    """Inverse of one part without its rounding."""
    if isinstance(part, Dequantise):
        return z - 0.5
    if isinstance(part, Levels):
        return (z + 1.0) * (0.5 * (part.levels - 1))
    return part.inverse(z)


def _to_data(parts: Sequence[Transform], z: Tensor) -> Tensor:
    """Inverse of all parts, without rounding."""
    for part in reversed(parts):
        z = _smooth(part, z)
    return z


class _Carried(LogFactor):
    """Evidence of any kind about data, asked in model units; rounding has the gradient of none."""

    def __init__(self, inner: Observation, parts: Sequence[Transform]) -> None:
        super().__init__(self._ask, getattr(inner, "differentiable", True))
        self.inner, self.parts = inner, parts
        self.n_observations, self.batched = inner.n_observations, inner.batched

    def _ask(self, z: Tensor) -> Tensor:
        for part in reversed(self.parts):
            smooth = _smooth(part, z)
            z = smooth + (part.inverse(z) - smooth).detach()
        return self.inner.log_r(z)

    def rows(self, index: Tensor) -> _Carried:
        if self.n_observations == 1:
            return self
        carried = _Carried(self.inner.rows(index), self.parts)
        carried.event, carried.n_observations = self.event, len(index)
        return carried


def _product(
    product: JointObservation,
    transform: Transform,
    event: Sequence[int],
    device: torch.device | str,
    generator: Generator | None,
    n_particles: int,
) -> tuple[Observation, Tensor]:
    carried = [in_model_units(part, transform, event, device, generator, n_particles) for part in product.parts]
    about = [part for part, _ in carried]
    if any(part.versions > 1 for part in about):
        each = torch.arange(product.n_observations * n_particles, device=device) // n_particles
        about = [part if part.versions > 1 else part.rows(each) for part in about]
    together = JointObservation(*about).on(event, device)
    together.batched = product.batched
    return together, torch.stack([factor for _, factor in carried]).sum(0)


def _known(
    known: KnownEntries,
    parts: list[Transform],
    event: Sequence[int],
    device: torch.device | str,
    generator: Generator | None,
    n_particles: int,
) -> Observation:
    mixing = next((i for i, part in enumerate(parts) if isinstance(part, Whiten)), len(parts))
    before, behind = parts[:mixing], parts[mixing:]
    for part in parts:
        if not isinstance(part, Affine | Dequantise | HistogramGaussianizer | Levels | Whiten):
            raise InputError(f"known entries cannot pass the transform {type(part).__name__} of this model")
    if any(part.random for part in before):
        every = torch.arange(known.n_observations * n_particles, device=device) // n_particles
        copies = KnownEntries(known.mask[every], known.values[every]).on(event, device)
    else:
        copies, n_particles = known, 1
    with torch.enable_grad():
        x = copies.values.clone().requires_grad_()
        z = Chain(*before)(x, generator)[0]
        (slope,) = torch.autograd.grad(z.sum(), x)
    levels = next((part.levels for part in before if isinstance(part, Levels)), None)
    density = torch.where(copies.mask, slope.abs().log(), 0.0).flatten(1).sum(1)
    through: KnownEntries | KnownProjections
    if behind:
        d = math.prod(event)
        zero = _to_data(behind, torch.zeros(1, *event, dtype=torch.float64, device=device))
        matrix = (_to_data(behind, torch.eye(d, dtype=torch.float64, device=device).view(d, *event)) - zero).flatten(1).T
        through = KnownProjections(matrix, copies.mask, z.detach() - zero).on(event, device)
    else:
        through = KnownEntries(copies.mask, z.detach()).on(event, device)
    through.batched, through.versions = known.batched, n_particles
    if levels is None:
        through.log_density = density
    elif isinstance(through, KnownEntries):  # a level has a mass and no density, so the scale of its grid does not count
        through.grid = 2.0 / (levels - 1), -1.0, 1.0
    return through


def _measured(
    seen: GaussianMeasurement, parts: list[Transform], event: Sequence[int], device: torch.device | str
) -> tuple[Observation, Tensor]:
    d = math.prod(event)
    mixed = any(isinstance(part, Whiten) for part in parts)
    zero = _to_data(parts, torch.zeros(1, *event, dtype=torch.float64, device=device))
    scale = _to_data(parts, torch.ones(1, *event, dtype=torch.float64, device=device)) - zero  # x = scale z + zero
    log_factor = torch.zeros(1, dtype=torch.float64, device=device)
    if seen.entrywise and not mixed:
        std = seen.noise.sqrt() / scale.abs()
        mask = None if seen.seen.all() else seen.seen[0]
        through = GaussianMeasurement((seen.y - zero) / scale, std[0], mask).on(event, device)
        log_factor = -torch.where(seen.seen, scale.abs().log(), 0.0).sum().reshape(1)
    elif not seen.entrywise and not mixed:
        y = seen.y - seen.forward(zero)
        if seen.matrix is not None:
            through = GaussianMeasurement(y, seen.noise[0].sqrt(), seen.matrix * scale.flatten()).on(event, device)
        else:
            through = GaussianMeasurement(
                y, seen.noise[0].sqrt(), lambda z: seen.forward(scale * z), lambda u: scale * seen.backward(u)
            ).on(event, device)
    else:
        slope = (_to_data(parts, torch.eye(d, dtype=torch.float64, device=device).view(d, *event)) - zero).flatten(1).T
        picked = seen.seen.flatten()
        matrix = seen.matrix if seen.matrix is not None else torch.eye(d, dtype=torch.float64, device=device)
        y = seen.y.flatten(1) - zero.flatten() @ matrix.T
        std = seen.noise.flatten().sqrt()
        through = GaussianMeasurement(y[:, picked], std[picked], (matrix @ slope)[picked]).on(event, device)
    through.batched = seen.batched
    return through, log_factor
