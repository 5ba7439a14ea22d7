"""Entries known exactly: inpainting and imputation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from quasistatic.checks import tensor_of
from quasistatic.distributions import LOG_2PI, Bernoulli, Distribution, Gaussian, Mixture
from quasistatic.distributions.conditioning import observe_cells, observe_entries, observe_linear
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.errors import InputError
from quasistatic.posterior.observations.base import Observation, Tilt, batch_first, require_finite

__all__ = ["KnownEntries", "KnownProjections"]


class KnownEntries(Observation):
    r"""Some entries of x are known exactly, :math:`r(x) = \prod_{i \in M} \delta(x_i - v_i)`.

    The evidence is the marginal density (for bits, the probability) of the known entries. Samples hold them bit for bit.

    Parameters
    ----------
    mask : array or Tensor of bool, shape (\*event) or (B, \*event)
        True where the entry is known.
    values : array or Tensor, shape (\*event) or (B, \*event)
        Finite everywhere; what stands outside the mask is not used. :meth:`where_finite` takes data with nan for holes.

    Examples
    --------
    >>> from quasistatic.distributions import Gaussian
    >>> known = KnownEntries(torch.tensor([True, False]), torch.tensor([0.5, 0.0]))
    >>> law, log_z = known.tilt(Gaussian(torch.zeros(1, 2), torch.ones(1, 2)))
    >>> law.mean.tolist(), law.var.tolist(), round(log_z.item(), 4)      # log N(0.5; 0, 1)
    ([[0.5, 0.0]], [[0.0, 1.0]], -1.0439)
    """

    vanishes = True
    log_density: Tensor | None = None
    """Log of :math:`|dz_i / dx_i|` of the known entries, (B,), where the values are those of a transform."""
    grid: tuple[float, float, float] | None = None
    """Step, lowest and highest value, where the values are levels: a law of numbers then knows their cells."""

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
        """Entries of x that are not nan.

        Examples
        --------
        >>> KnownEntries.where_finite(torch.tensor([1.0, float("nan")])).mask.tolist()
        [True, False]
        """
        x = torch.as_tensor(x)
        return cls(~x.isnan(), x.nan_to_num(nan=0.0, posinf=float("inf"), neginf=-float("inf")))

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> KnownEntries:
        known = copy.copy(self)
        known.event = event
        known.values, known.batched = batch_first(self.values, event, "values of known entries", device)
        known.mask = self.mask.to(device).expand(known.values.shape)
        known.n_observations = len(known.values)
        return known

    def rows(self, index: Tensor) -> KnownEntries:
        if self.n_observations == 1:
            return self
        known = copy.copy(self)
        known.mask, known.values, known.n_observations = self.mask[index], self.values[index], len(index)
        known.log_density = None if self.log_density is None else self.log_density[index]
        return known

    def log_r(self, x: Tensor) -> Tensor:
        """0 where all known entries agree, else minus infinity."""
        differ = (self.mask & (x != self.values)).flatten(1).any(1)
        return torch.where(differ, -torch.inf, 0.0).to(x.dtype)

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        if isinstance(p, Bernoulli) and not (~self.mask | (self.values == 0) | (self.values == 1)).all():
            raise InputError("known entries of binary data must be 0 or 1")
        tilt = self._of_levels(p) if isinstance(p, DiscretisedGaussian) else self._of_values(p, share)
        if tilt is None and self.grid is not None and isinstance(p, Gaussian):
            tilt = self._of_cells(p, *self.grid)
        if tilt is None:
            law, log_z = observe_entries(p, self.mask, self.values, torch.zeros_like(self.values))
            tilt = Tilt(law, log_z, log_z)
        return _with_density(tilt, self.log_density)

    def entry_logs(self, values: Tensor) -> Tensor:
        agree = (values - self.values.unsqueeze(-1)).abs() < 0.01 * (values[1] - values[0])
        if not (agree.any(-1) | ~self.mask).all():
            wrong = self.values[self.mask & ~agree.any(-1)][0].item()
            rule = f"must be one of the {len(values)} values from {values[0]:g} to {values[-1]:g}"
            raise InputError(f"a known entry is {wrong:g}, but {rule} that entries of this model can have")
        return torch.where(agree | ~self.mask.unsqueeze(-1), 0.0, -torch.inf).to(values.dtype)

    def _of_cells(self, p: Gaussian, step: float, low: float, high: float) -> Tilt:
        """Of a law of numbers that will be read as levels: all that lies nearest to the level may become it."""
        lowest, highest = self.values < low + 0.5 * step, self.values > high - 0.5 * step
        below = torch.where(lowest, -torch.inf, self.values - 0.5 * step)
        above = torch.where(highest, torch.inf, self.values + 0.5 * step)
        law, log_z = observe_cells(p, self.mask, below.to(p.mean), above.to(p.mean))
        return Tilt(law, log_z, log_z)

    def _of_levels(self, p: DiscretisedGaussian) -> Tilt:
        """Without a table of all levels: a known level is the mass of a normal law too narrow to reach another."""
        at = torch.where(self.mask, self.values, p.mean).to(p.mean.dtype)
        narrow = torch.where(self.mask, (1e-3 * p.step) ** 2, p.var)
        each = DiscretisedGaussian(p.mean.flatten().unsqueeze(1), p.var.flatten().unsqueeze(1), p.step, p.low, p.high)
        level = torch.where(self.mask, self.values.to(p.mean.dtype), p.low).expand(p.mean.shape)
        mass = each.log_prob(level.flatten().unsqueeze(1)).view(p.mean.shape)
        log_z = torch.where(self.mask, mass, 0.0).flatten(1).sum(1)
        return Tilt(DiscretisedGaussian(at, narrow, p.step, p.low, p.high), log_z, log_z)


class KnownProjections(Observation):
    r"""Entries of a linear map of x are known exactly: what known entries are to a model that mixes them.

    Parameters
    ----------
    matrix : Tensor, shape (d, d)
        Acts on the flattened event; each of its rows makes an entry.
    mask : Tensor of bool, shape (B, \*event)
        Which entries are known.
    values : Tensor, shape (B, \*event)
    """

    vanishes = True
    log_density: Tensor | None = None

    def __init__(self, matrix: Tensor, mask: Tensor, values: Tensor) -> None:
        self.matrix, self.mask, self.values = matrix, mask.flatten(1), values.flatten(1)

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> KnownProjections:
        here = copy.copy(self)
        here.event, here.n_observations = event, len(self.values)
        return here

    def rows(self, index: Tensor) -> KnownProjections:
        if self.n_observations == 1:
            return self
        here = copy.copy(self)
        here.mask, here.values, here.n_observations = self.mask[index], self.values[index], len(index)
        here.log_density = None if self.log_density is None else self.log_density[index]
        return here

    def log_r(self, x: Tensor) -> Tensor:
        """0 where all known projections agree but for rounding, else minus infinity."""
        off = (x.flatten(1) @ self.matrix.T - self.values).abs()
        return torch.where((self.mask & (off > 1e-6)).any(1), -torch.inf, 0.0).to(x.dtype)

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        needed = self.mask.any(0)
        mask = self.mask[:, needed]
        # a row that is not known is one of zeros, and counts as N(0; 0, 1)
        rows = self.matrix[needed] * mask.unsqueeze(-1)
        law, log_z = observe_linear(p, rows, self.values[:, needed] * mask, (~mask).to(self.values.dtype))
        log_z = log_z + 0.5 * LOG_2PI * (~mask).sum(1)
        return _with_density(Tilt(law, log_z, log_z), self.log_density)


def _with_density(tilt: Tilt, log_density: Tensor | None) -> Tilt:
    if log_density is None:
        return tilt
    return Tilt(tilt.law, tilt.log_z + log_density, tilt.log_lookahead + log_density)
