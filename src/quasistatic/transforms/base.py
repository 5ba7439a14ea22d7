"""The interface of transforms, and chains of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quasistatic.printing import brief
from quasistatic.random import Rng
from quasistatic.storage.modules import saveable

__all__ = ["Chain", "Elementwise", "Transform"]

Grid = tuple[float, float, float]
"""Distance of levels, first level and last level."""


class Transform(nn.Module):
    """A map to model units with its log-determinant.

    The base class is the identity.
    """

    random: bool = False
    """Whether ``forward`` draws noise."""
    takes_missing: bool = False
    """Whether entries may be missing, that is nan."""

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={brief(value)}" for name, value in self.named_buffers(recurse=False))

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        """Map data (batch, *event) to model units, with log |dz/dx|, (batch,)."""
        return x, x.new_zeros(len(x), dtype=torch.float64)

    def inverse(self, z: Tensor) -> Tensor:
        """Map model units back to data units."""
        return z

    # ---- what observations need to know

    @property
    def is_elementwise(self) -> bool:
        """Whether each entry is transformed on its own."""
        return type(self) is Transform

    @property
    def is_linear(self) -> bool:
        """Whether :meth:`smooth_inverse` is a linear map plus a constant."""
        return type(self) is Transform

    @property
    def grid(self) -> Grid | None:
        """Distance, first and last of the levels.

        In model units; None where the data is not on a grid.
        """
        return None

    @property
    def mixed_columns(self) -> Tensor | None:
        """Columns that are mixed with each other.

        None for all.
        """
        return None

    def pieces(self) -> list[Transform]:
        """List the transforms that change a complete row, in order."""
        return [] if type(self) is Transform else [self]

    def smooth_inverse(self, z: Tensor) -> Tensor:
        """Map back to data units without rounding.

        A dequantised integer counts as its value plus one half.
        """
        return self.inverse(z)

    def inverse_with_gradient(self, z: Tensor) -> Tensor:
        """Map back to data units with the gradient of :meth:`smooth_inverse`."""
        smooth = self.smooth_inverse(z)
        return smooth + (self.inverse(z) - smooth).detach()

    def inverse_matrix(self, event: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return matrix and constant of a linear inverse.

        Parameters
        ----------
        event : sequence of int
            Shape of one event, with d entries.
        device : device
            Of the result.

        Returns
        -------
        Tensor, shape (d, d)
        Tensor, shape (1, *event)
        """
        d = math.prod(event)
        zero = self.smooth_inverse(torch.zeros(1, *event, dtype=torch.float64, device=device))
        units = torch.eye(d, dtype=torch.float64, device=device).view(d, *event)
        return (self.smooth_inverse(units) - zero).flatten(1).T, zero

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follow the module to another device, but stay in float64."""
        for child in self.children():
            child._apply(fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


class Elementwise(Transform):
    """A map of each entry on its own."""

    @property
    def is_elementwise(self) -> bool:
        return True

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        r"""Transform each entry.

        Parameters
        ----------
        x : Tensor, shape (batch, \*event)
            Entries in data units.
        generator : Generator or RowStreams, optional
            Source of the draws of a random transform.

        Returns
        -------
        z : Tensor, shape (batch, \*event)
            Entries in model units.
        log_derivative : Tensor, shape (batch, \*event)
            Log-derivative of each entry.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.each(x, generator)
        return z, log_slope.flatten(1).sum(1)


@saveable
class Chain(Transform):
    """Composition of data transforms, applied in order.

    An empty chain changes nothing.

    Parameters
    ----------
    *parts : Transform
        In the order from data to model units.
    """

    def __init__(self, *parts: Transform) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def _each(self) -> list[Transform]:
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws noise."""
        return any(part.random for part in self.parts)

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether rows may have missing entries."""
        return any(part.takes_missing for part in self.parts)

    @property
    def is_elementwise(self) -> bool:
        return all(part.is_elementwise for part in self.pieces())

    @property
    def is_linear(self) -> bool:
        return all(part.is_linear for part in self.pieces())

    @property
    def grid(self) -> Grid | None:
        return next((part.grid for part in self._each() if part.grid is not None), None)

    @property
    def mixed_columns(self) -> Tensor | None:
        mixing = [part for part in self.pieces() if not part.is_elementwise]
        return mixing[0].mixed_columns if len(mixing) == 1 else None

    def pieces(self) -> list[Transform]:
        return [piece for part in self._each() for piece in part.pieces()]

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        r"""Transform each entry, if all parts do.

        Parameters
        ----------
        x : Tensor, shape (batch, \*event)
            Entries in data units.
        generator : Generator or RowStreams, optional
            Source of the draws of random parts.

        Returns
        -------
        z : Tensor, shape (batch, \*event)
            Entries in model units.
        log_derivative : Tensor, shape (batch, \*event)
            Log-derivative of each entry.
        """
        z = x.double()
        log_slope = torch.zeros_like(z)
        for part in self.parts:
            z, part_log_slope = part.each(z, generator)  # type: ignore[operator]
            log_slope = log_slope + part_log_slope
        return z, log_slope

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = x.double(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part in self.parts:
            z, part_log_det = part(z, generator)
            log_det = log_det + part_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        z = z.double()
        for part in reversed(self._each()):
            z = part.inverse(z)
        return z

    def smooth_inverse(self, z: Tensor) -> Tensor:
        for part in reversed(self._each()):
            z = part.smooth_inverse(z)
        return z

    def inverse_with_gradient(self, z: Tensor) -> Tensor:
        for part in reversed(self._each()):
            z = part.inverse_with_gradient(z)
        return z
