r"""Changes of variables between data units and model units, each with its log-determinant.

``forward(x)`` returns ``(z, log_det)`` with :math:`\log p_x(x) = \log p_z(z) + \text{log\_det}`, so that a number told
in data units is a density of the data; ``inverse(z)`` goes back. All work in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from quasistatic.saving import saveable

__all__ = ["Affine", "Chain", "Dequantise", "HistogramToNormal", "Transform", "Whiten"]


class Transform(nn.Module):
    """A map to model units with its log-determinant; the identity, unless a subclass says else."""

    random: bool = False  # does forward draw noise?

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


@saveable
class Affine(Transform):
    """Shift and scale of each entry, z = (x - shift) / scale.

    Examples
    --------
    >>> z, log_det = Affine(torch.tensor(1.0), torch.tensor(2.0))(torch.tensor([[5.0, 1.0]]))
    >>> z.tolist(), round(log_det.item(), 4)      # 2 log(1/2)
    ([[2.0, 0.0]], -1.3863)
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.double(), persistent=False)
        self.register_buffer("scale", scale.double(), persistent=False)

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        log_det = -self.scale.log().expand(x.shape[1:]).sum()
        return (x - self.shift) / self.scale, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.scale + self.shift


@saveable
class Whiten(Transform):
    """Rotate and scale vectors to zero mean and identity covariance, z = W (x - mean).

    Parameters
    ----------
    mean : Tensor, shape (d,)
    matrix : Tensor, shape (d, d)
        W, with W cov W^T = I. :meth:`fit` finds it from rows.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.double(), persistent=False)
        self.register_buffer("matrix", matrix.double(), persistent=False)
        self.register_buffer("back", torch.linalg.inv(matrix.double()), persistent=False)

    back: Tensor

    @classmethod
    def fit(cls, x: Tensor, ridge: float = 1e-6) -> Whiten:
        """Fit to rows (n, d), with ``ridge`` times the mean variance added to the covariance's diagonal."""
        x = x.double()
        mean = x.mean(0)
        cov = (x - mean).T @ (x - mean) / len(x)
        cov.diagonal().add_(ridge * cov.diagonal().mean())
        value, vector = torch.linalg.eigh(cov)
        return cls(mean, vector @ torch.diag(value.rsqrt()) @ vector.T)

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        log_det = torch.linalg.slogdet(self.matrix)[1]
        return (x - self.mean) @ self.matrix.T, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z @ self.back.T + self.mean


@saveable
class Dequantise(Transform):
    """Add uniform noise in [0, 1) to integers 0 .. levels - 1.

    The bound of log p of the noisy values is then, on average over the noise, a bound of log P of the integers
    (Theis et al. 2016, Section 3.1): bits per pixel of integers, not of a density on a grid.
    """

    random = True

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = torch.rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
        return x + noise, torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        return z.floor().clamp(0, self.levels - 1)


@saveable
class HistogramToNormal(Transform):
    r"""Each column of dequantised integers through its own distribution function to a standard normal.

    :math:`z_i = \Phi^{-1}(F_i(x_i))`, where :math:`F_i` is piecewise linear with one piece for each level, so the
    Jacobian is exact and a standard normal in z is the model of independent columns with those frequencies.

    Parameters
    ----------
    mass : Tensor, shape (d, levels)
        Frequencies of the levels in each column, all positive, rows summing to one; :meth:`fit` counts them.
    """

    mass: Tensor
    below: Tensor

    def __init__(self, mass: Tensor) -> None:
        super().__init__()
        mass = mass.double()
        self.register_buffer("mass", mass, persistent=False)
        self.register_buffer("below", torch.cat([mass.new_zeros(len(mass), 1), mass.cumsum(1)], 1), persistent=False)

    @classmethod
    def fit(cls, x: Tensor, levels: int, prior: float = 0.5) -> HistogramToNormal:
        """Count levels in rows of integers (n, d), with ``prior`` added to every count."""
        counts = torch.nn.functional.one_hot(x.long(), levels).sum(0).double() + prior
        return cls(counts / counts.sum(1, keepdim=True))

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        level = x.floor().long().clamp(0, self.mass.shape[1] - 1)
        column = torch.arange(x.shape[1], device=x.device)
        mass = self.mass[column, level]
        u = self.below[column, level] + mass * (x - level)
        z = torch.special.ndtri(u.clamp(1e-12, 1.0 - 1e-12))
        log_normal = -0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)
        return z, (mass.log() - log_normal).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        u = torch.special.ndtr(z)
        level = torch.searchsorted(self.below[:, 1:-1].contiguous(), u.T.contiguous(), right=True).T
        column = torch.arange(z.shape[1], device=z.device)
        inside = (u - self.below[column, level]) / self.mass[column, level]
        return level + inside.clamp(0.0, 1.0 - 1e-9)
