"""Random changes of a batch of images."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError

__all__ = ["binarise", "random_crop", "random_flip", "random_symmetry"]


def binarise(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw each pixel as 1 with probability k / 255.

    k is the grey level of the pixel (dynamic binarisation).

    Parameters
    ----------
    x : Tensor of uint8
        Of any shape.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor of uint8, shape of ``x``

    Raises
    ------
    InputError
        If ``x`` is of another type.

    Examples
    --------
    >>> binarise(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [0, 1]
    """
    if x.dtype != torch.uint8:
        raise InputError(f"binarisation needs grey levels of type uint8, got {x.dtype}")
    return (255.0 * torch.rand(x.shape, generator=generator, device=x.device) < x).to(torch.uint8)


def random_flip(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability 1/2.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape of ``x``
    """
    return _with_chance_half(x, x.flip(-1), generator)


def random_symmetry(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Apply one of the eight symmetries of the square.

    For textures without a preferred direction.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, size, size)
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape of ``x``

    Raises
    ------
    InputError
        If the images are not square.
    """
    if x.shape[-1] != x.shape[-2]:
        raise InputError(f"only squares have all eight symmetries, got images of {x.shape[-2]} x {x.shape[-1]}")
    x = _with_chance_half(x, x.flip(-1), generator)
    x = _with_chance_half(x, x.flip(-2), generator)
    return _with_chance_half(x, x.transpose(-1, -2), generator)


def _with_chance_half(x: Tensor, y: Tensor, generator: Generator | None) -> Tensor:
    taken = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(taken.view(-1, 1, 1, 1), y, x)


def random_crop(x: Tensor, size: int, generator: Generator | None = None) -> Tensor:
    """Cut a square from a random place of each image.

    The place is uniform over all that fit.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    size : int
        Pixels along each side of the square.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape (batch, channels, size, size)

    Raises
    ------
    InputError
        If the square does not fit.

    Examples
    --------
    >>> random_crop(torch.zeros(5, 3, 20, 30), 16).shape
    torch.Size([5, 3, 16, 16])
    """
    n, _, height, width = x.shape
    if not 1 <= size <= min(height, width):
        raise InputError(f"a crop of {size} pixels does not fit into images of {height} x {width}")
    rows, columns = (
        torch.randint(side - size + 1, (n, 1), generator=generator, device=x.device) + torch.arange(size, device=x.device)
        for side in (height, width)
    )
    image = torch.arange(n, device=x.device).view(-1, 1, 1)
    return x[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
