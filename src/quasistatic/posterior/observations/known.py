"""Entries that are known exactly, for inpainting and imputation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.checks import tensor_of
from quasistatic.distributions import Distribution, KnownValues
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import EntryObservation, Observation
from quasistatic.posterior.observations.columns import KnownColumns
from quasistatic.posterior.observations.projections import KnownProjections
from quasistatic.posterior.observations.tilt import Tilt
from quasistatic.posterior.observations.values import batch_first, require_finite
from quasistatic.transforms import Chain, Transform

__all__ = ["KnownEntries"]


class KnownEntries(EntryObservation):
    r"""Entries of x that are known exactly.

    It is :math:`r(x) = \prod_{i \in M} \delta(x_i - v_i)`.

    The evidence is the marginal density of the known entries, or their probability for bits and classes. Samples hold
    them bit for bit.

    Parameters
    ----------
    mask : array or Tensor of bool, shape (\*event) or (B, \*event)
        True where the entry is known.
    values : array or Tensor, shape (\*event) or (B, \*event)
        Finite everywhere; values outside the mask are not used. :meth:`where_finite` takes data with nan for missing
        entries.

    Examples
    --------
    >>> import torch
    >>> from quasistatic.distributions import Gaussian
    >>> known = KnownEntries(torch.tensor([True, False]), torch.tensor([0.5, 0.0]))
    >>> p, log_z = known.tilt(Gaussian(torch.zeros(1, 2), torch.ones(1, 2)))
    >>> p.mean.tolist(), p.var.tolist(), round(log_z.item(), 4)      # log N(0.5; 0, 1)
    ([[0.5, 0.0]], [[0.0, 1.0]], -1.0439)
    """

    has_zeros = True
    log_slope: Tensor | None = None
    """Log of :math:`|dz_i / dx_i|` of the known entries, (B,), where the values are those of a transform."""
    grid: tuple[float, float, float] | None = None
    """Step, lowest and highest value, where the values are levels: a density then has the mass of their cells."""

    def __init__(self, mask: Any, values: Any) -> None:
        self.mask, self.values = tensor_of("mask", mask), tensor_of("values", values)
        if self.mask.dtype != torch.bool:
            if not ((self.mask == 0) | (self.mask == 1)).all():
                raise InputError("the mask of known entries must be made of true and false, or 1 and 0")
            self.mask = self.mask.bool()
        if self.mask.shape not in (self.values.shape, self.values.shape[1:]):
            shapes = f"{tuple(self.mask.shape)} and {tuple(self.values.shape)}"
            raise InputError(f"mask and values have shapes {shapes}, but must have the same")
        require_finite(self.values.double(), "values of known entries")

    @classmethod
    def where_finite(cls, x: Any) -> KnownEntries:
        """Take the entries of x that are not nan.

        Examples
        --------
        >>> import torch
        >>> KnownEntries.where_finite(torch.tensor([1.0, float("nan")])).mask.tolist()
        [True, False]
        """
        x = torch.as_tensor(x)
        return cls(~x.isnan(), x.nan_to_num(nan=0.0, posinf=float("inf"), neginf=-float("inf")))

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> KnownEntries:
        known = copy.copy(self)
        known.event = event
        known.values, known.batched = batch_first(self.values, event, "values of known entries", device)
        known.mask = known.known_mask = self.mask.to(device).expand(known.values.shape)
        known.n_observations = len(known.values)
        return known

    def rows(self, index: Tensor) -> KnownEntries:
        if self.n_observations == 1:
            return self
        known = copy.copy(self)
        known.mask, known.values, known.n_observations = self.mask[index], self.values[index], len(index)
        known.log_slope = None if self.log_slope is None else self.log_slope[index]
        return known

    def each_log_r(self, x: Tensor) -> Tensor:
        """Return 0, or minus infinity for wrong entries.

        The result has shape (batch, *event).
        """
        return torch.where(self.mask & (x != self.values), -torch.inf, 0.0).to(x.dtype)

    def factor(self, share: float = 1.0) -> KnownValues:
        return KnownValues(self.mask, self.values, self.grid)

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        return super().product(p, share).plus(self.log_slope)

    def _through(self, transform: Transform, generator: Generator | None, n_copies: int) -> Observation:
        """Carry known entries to model units.

        They pass transforms of single entries, and after them linear ones.

        After linear ones they are projections that are known. Known integers that the transform dequantises are drawn
        for each of ``n_copies`` copies, which makes the posterior that of the integers.
        """
        assert self.event is not None
        pieces = transform.pieces()
        mixing = next((i for i, piece in enumerate(pieces) if not piece.is_elementwise), len(pieces))
        before, behind = Chain(*pieces[:mixing]), Chain(*pieces[mixing:])
        for piece in behind.pieces():
            if not piece.is_linear:
                raise InputError(
                    f"known entries cannot pass the transform {type(piece).__name__} of this model: "
                    "after a transform that mixes entries, all others must be linear"
                )
        copies = self._copied(n_copies) if before.random else self
        with torch.enable_grad():
            x = copies.values.clone().requires_grad_()
            z = before(x, generator)[0]
            (slope,) = torch.autograd.grad(z.sum(), x)
        through = copies._projected(z.detach(), behind) if behind.pieces() else KnownEntries(copies.mask, z.detach())
        through = through.on(self.event, z.device)
        through.batched, through.n_copies = self.batched, n_copies if before.random else 1
        if before.grid is None:
            through.log_slope = torch.where(copies.mask, slope.abs().log(), 0.0).flatten(1).sum(1)
        else:  # a level has a mass and no density, so the scale of its grid does not count
            through.grid = before.grid
        return through

    def _copied(self, n: int) -> KnownEntries:
        """Repeat each observation n times."""
        assert self.event is not None
        each = torch.arange(self.n_observations * n, device=self.values.device) // n
        return KnownEntries(self.mask[each], self.values[each]).on(self.event, self.values.device)

    def _projected(self, z: Tensor, behind: Transform) -> KnownColumns | KnownProjections:
        """Return known values z of entries that a linear transform mixes."""
        assert self.event is not None
        matrix, zero = behind.inverse_matrix(self.event, z.device)
        block = behind.mixed_columns
        if block is None:
            return KnownProjections(matrix, self.mask, z - zero)
        block = block.to(z.device)
        return KnownColumns(self.mask, z, matrix[block][:, block], zero.flatten()[block])

    def restore(self, x: Tensor) -> Tensor:
        return torch.where(self.mask.unsqueeze(1), self.values.unsqueeze(1), x)
