"""Changes of variables: the interface, and chains of them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from quasistatic.printing import brief
from quasistatic.storage.modules import saveable

__all__ = ["Chain", "Elementwise", "Transform"]


class Transform(nn.Module):
    """A map to model units with its log-determinant; the identity, unless a subclass says else."""

    random: bool = False  # does forward draw noise?
    takes_holes: bool = False  # may entries be missing, that is nan?

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={brief(value)}" for name, value in self.named_buffers(recurse=False))

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Data (batch, *event) to model units, and log |dz/dx|, (batch,)."""
        return x, x.new_zeros(len(x), dtype=torch.float64)

    def inverse(self, z: Tensor) -> Tensor:
        """Model units back to data units."""
        return z

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follow the module to another device, but stay in float64."""
        for child in self.children():
            child._apply(fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


@saveable
class Chain(Transform):
    """Transforms one after the other; an empty chain changes nothing."""

    def __init__(self, *parts: Transform) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws noise."""
        return any(part.random for part in self.parts)

    @property
    def takes_holes(self) -> bool:  # type: ignore[override]
        """Whether rows may have missing entries."""
        return any(part.takes_holes for part in self.parts)

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """What the parts together do to each entry, if all are :class:`Elementwise`."""
        z = x.double()
        log_slope = torch.zeros_like(z)
        for part in self.parts:
            z, part_log_slope = part.each(z, generator)  # type: ignore[operator]
            log_slope = log_slope + part_log_slope
        return z, log_slope

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = x.double(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part in self.parts:
            z, part_log_det = part(z, generator)
            log_det = log_det + part_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        z = z.double()
        for part in reversed(list(self.parts)):
            z = part.inverse(z)  # type: ignore[operator]
        return z


class Elementwise(Transform):
    """A map of each entry on its own."""

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Entries in model units, and the log-derivative of each, both of the shape of ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.each(x, generator)
        return z, log_slope.flatten(1).sum(1)
