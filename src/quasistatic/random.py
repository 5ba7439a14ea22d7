"""Draws that follow their generator: made where it lives, and taken to where they are needed.

So one generator on the CPU gives the same numbers to a model on any device, and a generator on the device gives them
without a journey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

__all__ = ["RowNoise", "normal", "uniform"]

_GOLDEN, _MIX = -0x61C8864680B583EB, ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))


class RowNoise(Generator):
    """A generator of draws whose first axis is rows, each with a seed of its own: they do not feel each other.

    Numbers are those of SplitMix64, started at the seeds; only :func:`uniform` and :func:`normal` can ask for them.

    Parameters
    ----------
    seeds : sequence of int
        One for each row, from -2**63 to 2**63 - 1; seeds that are hashes give independent rows.

    References
    ----------
    Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.

    Examples
    --------
    >>> both, second = (uniform((n, 2), RowNoise(seeds), like=torch.zeros(0)) for n, seeds in ((2, [7, 8]), (1, [8])))
    >>> bool((both[1] == second[0]).all()), bool((both[0] == second[0]).any())
    (True, False)
    """

    def __new__(cls, seeds: Sequence[int]) -> RowNoise:
        return super().__new__(cls)

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds, self.drawn = torch.tensor(seeds, dtype=torch.long), 0

    def numbers(self, shape: Sequence[int]) -> Tensor:
        """Draw numbers in (0, 1), float64."""
        each = math.prod(shape[1:])
        z = self.seeds[:, None] + _GOLDEN * torch.arange(self.drawn + 1, self.drawn + each + 1)
        self.drawn += each
        for shift, factor in _MIX:
            z = (z ^ (z >> shift & (1 << 64 - shift) - 1)) * factor
        z = z ^ (z >> 31 & (1 << 33) - 1)
        return ((z >> 11 & (1 << 53) - 1).double() + 0.5).mul_(2.0**-53).view(*shape)


def uniform(shape: Sequence[int], generator: Generator | None, *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Draw numbers in [0, 1), in the precision of ``like`` unless ``dtype`` says another, and on its device.

    Examples
    --------
    >>> u = uniform((3,), torch.Generator().manual_seed(0), like=torch.empty(0, dtype=torch.float64))
    >>> u.dtype, bool(((0 <= u) & (u < 1)).all())
    (torch.float64, True)
    """
    if isinstance(generator, RowNoise):
        return generator.numbers(shape).to(like.device, dtype or like.dtype)
    device = like.device if generator is None else generator.device
    u = torch.rand(shape, generator=generator, dtype=dtype or like.dtype, device=device)
    return u if device == like.device else u.to(like.device, non_blocking=True)


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Draw unit normal numbers in the shape and the precision of ``like``, and on its device."""
    if isinstance(generator, RowNoise):
        return torch.special.ndtri(generator.numbers(like.shape)).to(like)
    if generator is None and like.is_contiguous():
        return torch.randn_like(like)
    device = like.device if generator is None else generator.device
    z = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device)
    return z if device == like.device else z.to(like.device, non_blocking=True)
