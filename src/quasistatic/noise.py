"""Draws that follow their generator: made where it lives, and taken to where they are needed.

So one generator on the CPU gives the same numbers to a model on any device, and a generator on the device gives them
without a journey.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

__all__ = ["normal", "uniform"]


def uniform(shape: Sequence[int], generator: Generator | None, *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Draw numbers in [0, 1), in the precision of ``like`` unless ``dtype`` says another, and on its device.

    Examples
    --------
    >>> u = uniform((3,), torch.Generator().manual_seed(0), like=torch.empty(0, dtype=torch.float64))
    >>> u.dtype, bool(((0 <= u) & (u < 1)).all())
    (torch.float64, True)
    """
    device = like.device if generator is None else generator.device
    u = torch.rand(shape, generator=generator, dtype=dtype or like.dtype, device=device)
    return u if device == like.device else u.to(like.device, non_blocking=True)


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Draw unit normal numbers in the shape and the precision of ``like``, and on its device."""
    if generator is None and like.is_contiguous():
        return torch.randn_like(like)
    device = like.device if generator is None else generator.device
    z = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device)
    return z if device == like.device else z.to(like.device, non_blocking=True)
