"""Transforms of integers to numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.random import Rng, uniform
from quasistatic.storage.modules import saveable
from quasistatic.transforms.base import Elementwise, Transform

__all__ = ["Dequantise", "HistogramGaussianizer", "Levels", "bits_per_dim_from_k"]


@saveable
class Dequantise(Elementwise):
    """Uniform noise added to integers 0 .. levels - 1.

    The bound of log p of the noisy values is then, on average over the noise, a bound of log P of the integers
    (Theis et al. 2016, Section 3.1): bits per pixel of integers, not of a density on a grid.

    Parameters
    ----------
    levels : int
        Number of integers.
    """

    random = True

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        noise = uniform(x.shape, generator, like=x, dtype=torch.float64)
        return x + noise, torch.zeros_like(noise)

    @property
    def is_linear(self) -> bool:
        return True

    def inverse(self, z: Tensor) -> Tensor:
        return z.floor().clamp(0, self.levels - 1)

    def smooth_inverse(self, z: Tensor) -> Tensor:
        return z - 0.5


@saveable
class Levels(Transform):
    r"""Integers on an even grid from -1 to 1.

    It is z = (k - c) / c with c = (levels - 1) / 2. No noise is added, so the data stay discrete and their
    likelihood is a mass, P(x) = P(z). So log_det is 0, not that of a change of variables. The first step must score
    masses, the probability of a whole cell of width 2 / (levels - 1): a density of z would grow without bound.
    :meth:`inverse` rounds to the nearest level.

    Parameters
    ----------
    levels : int
        Number of integers, at least 2.

    References
    ----------
    Ho, Jain and Abbeel (2020), Section 3.3, equation (13).

    Examples
    --------
    >>> import torch
    >>> Levels(256)(torch.tensor([[0, 255]], dtype=torch.uint8))
    (tensor([[-1.,  1.]], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise InputError(f"levels must be at least 2, got {levels}")
        self.levels = levels

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        x = x.double()
        if not ((x == x.round()) & (x >= 0) & (x < self.levels)).all():
            raise InputError(f"every entry must be an integer from 0 to {self.levels - 1}, but one is not")
        half = (self.levels - 1) / 2.0
        return (x - half) / half, torch.zeros(len(x), dtype=torch.float64, device=x.device)

    @property
    def is_elementwise(self) -> bool:
        return True

    @property
    def is_linear(self) -> bool:
        return True

    @property
    def grid(self) -> tuple[float, float, float]:
        return 2.0 / (self.levels - 1), -1.0, 1.0

    def smooth_inverse(self, z: Tensor) -> Tensor:
        return (z + 1.0) * (0.5 * (self.levels - 1))

    def inverse(self, z: Tensor) -> Tensor:
        half = (self.levels - 1) / 2.0
        return (z.double() * half + half).round().clamp(0, self.levels - 1)


def bits_per_dim_from_k(k: float, sd: float, channels: int = 1) -> float:
    r"""Convert the paper's K to bits/dim of integers.

    K is in bits per pixel of dequantised data scaled to unit variance.

    With :math:`z = (x + u - m) / \sigma` for integers x and uniform noise u, the density of :math:`x + u` is
    :math:`p(z) / \sigma` per entry, and on average over u its logarithm is at most :math:`\log P(x)` (Jensen). So

    .. math:: \text{bits/dim} = \log_2 \sigma - K / C

    is an upper bound of :math:`-\log_2 P(x)` per entry, lower is better; K is a log likelihood, higher is better.

    Parameters
    ----------
    k : float
        Bits per pixel, summed over the channels.
    sd : float
        :math:`\sigma`, in units of one level.
    channels : int
        C, the entries of one pixel.

    References
    ----------
    Theis, van den Oord and Bethge (2016), Section 3.1.

    Examples
    --------
    The paper's 5.4 bits per pixel of CIFAR-10, whose standard deviation is 64.15:

    >>> round(bits_per_dim_from_k(5.4, 64.15, channels=3), 2)
    4.2
    """
    if not (sd > 0.0 and channels >= 1):
        raise InputError(f"sd must be above 0 and channels at least 1, got {sd} and {channels}")
    return math.log2(sd) - k / channels


@saveable
class HistogramGaussianizer(Elementwise):
    r"""Map from each column of dequantised integers to a standard normal.

    :math:`z_i = \Phi^{-1}(F_i(x_i))`, where :math:`F_i` is piecewise linear with one piece for each level, so the
    Jacobian is exact. A standard normal in z is the model of independent columns with those frequencies.

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
    def fit(cls, x: Tensor, levels: int, prior: float = 0.5) -> HistogramGaussianizer:
        """Count levels in rows of integers.

        Parameters
        ----------
        x : Tensor of int, shape (n, d)
            The rows.
        levels : int
            Number of integers.
        prior : float
            Added to every count.
        """
        counts = torch.nn.functional.one_hot(x.long(), levels).sum(0).double() + prior
        return cls(counts / counts.sum(1, keepdim=True))

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        level = x.floor().long().clamp(0, self.mass.shape[1] - 1)
        column = torch.arange(x.shape[1], device=x.device)
        mass = self.mass[column, level]
        u = self.below[column, level] + mass * (x - level)
        z = torch.special.ndtri(u.clamp(1e-12, 1.0 - 1e-12))
        log_normal = -0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)
        return z, mass.log() - log_normal

    def inverse(self, z: Tensor) -> Tensor:
        u = torch.special.ndtr(z)
        level = torch.searchsorted(self.below[:, 1:-1].contiguous(), u.T.contiguous(), right=True).T
        column = torch.arange(z.shape[1], device=z.device)
        inside = (u - self.below[column, level]) / self.mass[column, level]
        return level + inside.clamp(0.0, 1.0 - 1e-9)
