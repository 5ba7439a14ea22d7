r"""Linear operators on images, each with its adjoint, for
:class:`~quasistatic.posterior.observations.GaussianMeasurement`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from quasistatic.errors import InputError

__all__ = ["Blur", "Downsample"]


class Blur:
    r"""Convolution of each channel with one kernel; beyond the border there is nothing, zeros in data units.

    Parameters
    ----------
    kernel : Tensor, shape (a, b)
        Its sides odd, so that it has a middle. :meth:`gaussian` makes a round one.

    Examples
    --------
    >>> blur = Blur(torch.tensor([[0.25, 0.5, 0.25]]))
    >>> blur(torch.tensor([[[0.0, 0.0, 4.0, 0.0]]])).tolist()      # events may be (height, width) too
    [[[0.0, 1.0, 2.0, 1.0]]]
    """

    def __init__(self, kernel: Tensor) -> None:
        if kernel.dim() != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
            raise InputError(f"the kernel of a blur must be a matrix with odd sides, got shape {tuple(kernel.shape)}")
        self.kernel = kernel.double()

    @classmethod
    def gaussian(cls, std: float) -> Blur:
        """A round blur of this standard deviation in pixels, cut off at three of them, that keeps brightness."""
        if not std > 0:
            raise InputError(f"the standard deviation of a blur must be positive, got {std}")
        reach = max(1, round(3 * std))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / std).square())
        kernel = torch.outer(line, line)
        return cls(kernel / kernel.sum())

    def __call__(self, x: Tensor) -> Tensor:
        r"""Blur images (n, \*any, height, width)."""
        return self._convolve(x, self.kernel)

    def adjoint(self, y: Tensor) -> Tensor:
        """Blur with the kernel turned around."""
        return self._convolve(y, self.kernel.flip(0, 1))

    @staticmethod
    def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
        # torch correlates, so the kernel is turned
        weight = kernel.flip(0, 1).to(x)[None, None]
        images = x.reshape(-1, 1, *x.shape[-2:])
        return functional.conv2d(images, weight, padding=(kernel.shape[0] // 2, kernel.shape[1] // 2)).view(x.shape)


class Downsample:
    r"""Means of square blocks of pixels.

    Parameters
    ----------
    factor : int
        Side of a block; height and width of the images must be multiples of it.

    Examples
    --------
    >>> Downsample(2)(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])).tolist()
    [[[3.0]]]
    """

    def __init__(self, factor: int) -> None:
        if factor < 1:
            raise InputError(f"the factor of a downsampling must be at least 1, got {factor}")
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        r"""Average blocks of images (n, \*any, height, width)."""
        f, (height, width) = self.factor, x.shape[-2:]
        if height % f or width % f:
            raise InputError(f"images of {width} x {height} pixels do not fall into blocks of {f} x {f}")
        return x.reshape(*x.shape[:-2], height // f, f, width // f, f).mean((-3, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        """Spread each number evenly over its block."""
        f = self.factor
        return y.repeat_interleave(f, -2).repeat_interleave(f, -1) / f**2
