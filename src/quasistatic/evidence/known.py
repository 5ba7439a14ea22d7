"""Entries known exactly: inpainting and imputation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from quasistatic.distributions import Bernoulli, Distribution, Mixture
from quasistatic.errors import InputError
from quasistatic.evidence.base import Evidence, Tilt, batch_first, require_finite
from quasistatic.evidence.laws import observe_bits, observe_entries

__all__ = ["KnownEntries"]


class KnownEntries(Evidence):
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

    def __init__(self, mask: Any, values: Any) -> None:
        self.mask, self.values = torch.as_tensor(mask), torch.as_tensor(values)
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
        return known

    def log_r(self, x: Tensor) -> Tensor:
        """0 where all known entries agree, else minus infinity."""
        differ = (self.mask & (x != self.values)).flatten(1).any(1)
        return torch.where(differ, -torch.inf, 0.0).to(x.dtype)

    def product(self, p: Distribution, share: float = 1.0, damped: bool = False) -> Tilt:
        if isinstance(p, Mixture):
            return self._of_mixture(p, share)
        law: Distribution
        if isinstance(p, Bernoulli):
            if not (~self.mask | (self.values == 0) | (self.values == 1)).all():
                raise InputError("known entries of binary data must be 0 or 1")
            never = torch.full_like(p.probs, -torch.inf)
            log_one = torch.where(self.mask & (self.values == 0), never, 0.0)
            log_zero = torch.where(self.mask & (self.values == 1), never, 0.0)
            law, log_z = observe_bits(p, log_one, log_zero)
        else:
            law, log_z = observe_entries(p, self.mask, self.values, torch.zeros_like(self.values))
        return Tilt(law, log_z, log_z)
