"""Linear operators on images, with their adjoints."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from quasistatic.errors import InputError

__all__ = ["Blur", "Downsample", "check_linear"]

Operator = Callable[[Tensor], Tensor]


class Blur:
    r"""Convolution of each channel of an image with one kernel.

    Pixels beyond the border are zero in data units.

    Parameters
    ----------
    kernel : Tensor, shape (a, b)
        Its sides are odd, so that it has a middle. :meth:`gaussian` makes a round one.

    Examples
    --------
    >>> import torch
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
        """Make a round blur that keeps brightness.

        It ends at three standard deviations.

        Parameters
        ----------
        std : float
            Standard deviation in pixels.
        """
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
    r"""Linear operator that averages square blocks of pixels.

    Parameters
    ----------
    factor : int
        Side of a block; height and width of the images must be multiples of it.

    Examples
    --------
    >>> import torch
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
        """Divide each number evenly over its block."""
        f = self.factor
        return y.repeat_interleave(f, -2).repeat_interleave(f, -1) / f**2


def check_linear(
    operator: Operator, adjoint: Operator, event: tuple[int, ...], device: torch.device | str
) -> tuple[int, ...]:
    """Check that an operator is linear with this adjoint, at random vectors.

    Parameters
    ----------
    operator, adjoint : callable
        (n, *event) -> (n, *measured), and the transpose.
    event : tuple of int
        Shape of one event.
    device : device
        Where to call them.

    Returns
    -------
    tuple of int
        Shape of a measurement.

    Raises
    ------
    InputError
        If the operator is not linear, or the adjoint is not its transpose.
    """
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(3, *event, generator=generator, dtype=torch.float64, device=device)
    x[2] = x[0] - 2.0 * x[1]
    a_x = operator(x)
    if not isinstance(a_x, Tensor) or a_x.shape[:1] != (3,):
        raise InputError("the operator must take (n, *event) to (n, *measured), for any n")
    u = torch.randn(3, *a_x.shape[1:], generator=generator, dtype=torch.float64, device=device)
    back = adjoint(u)
    if back.shape != x.shape:
        raise InputError(f"the adjoint must return (n, *{event}), got {tuple(back.shape)} for n = 3")
    bent = (a_x[2] - a_x[0] + 2.0 * a_x[1]).abs().max() / (1.0 + a_x.abs().max())
    apart = ((a_x * u).flatten(1).sum(1) - (x * back).flatten(1).sum(1)).abs().max() / (1.0 + (a_x * u).abs().sum())
    if (wrong := max(bent.item(), apart.item())) > 1e-5:
        raise InputError(f"the operator is not linear, or its adjoint is not its transpose: they differ by {wrong:.2g}")
    return tuple(a_x.shape[1:])
