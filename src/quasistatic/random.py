"""Random draws from a generator or one stream per row.

Every draw of the library goes through this module. A draw is made on the device of its generator and then moved to where
it is needed. So a generator on the CPU gives the same numbers to a model on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

from quasistatic.checks import shown
from quasistatic.errors import InputError

__all__ = ["Rng", "RowStreams", "choice", "normal", "permutation", "repeated", "rng_of", "selected", "uniform"]

_GOLDEN, _MIX = -0x61C8864680B583EB, ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))
_CHILD = 0x2545F4914F6CDD1D  # an odd constant: streams of repeats do not start where their row's stream does


class RowStreams:
    """Random numbers with an independent stream for each row.

    A row gets the same numbers whatever rows are beside it. The first axis of every draw must be the rows, or a multiple
    of them with each row's repeats in succession. The numbers are those of SplitMix64, started at the seeds.

    It is no ``torch.Generator``, and functions of torch do not accept it.

    Parameters
    ----------
    seeds : sequence of int or Tensor, shape (n,)
        One for each row, from -2**63 to 2**63 - 1. Hashes make good seeds.

    References
    ----------
    Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.

    Examples
    --------
    >>> both, second = (uniform((n, 2), RowStreams(seeds), like=torch.zeros(0)) for n, seeds in ((2, [7, 8]), (1, [8])))
    >>> bool((both[1] == second[0]).all()), bool((both[0] == second[0]).any())
    (True, False)
    """

    def __init__(self, seeds: Sequence[int] | Tensor) -> None:
        self.seeds = torch.as_tensor(seeds, dtype=torch.long)
        self.drawn = 0

    def __len__(self) -> int:
        return len(self.seeds)

    def numbers(self, shape: Sequence[int]) -> Tensor:
        """Draw numbers in (0, 1), float64.

        The first axis of the shape is a multiple of the rows.
        """
        n = len(self.seeds)
        if shape[0] % max(n, 1) or (shape[0] and not n):
            raise InputError(f"{n} streams cannot draw {shape[0]} rows: the rows must be a multiple of the streams")
        each = math.prod(shape[1:]) * (shape[0] // max(n, 1))
        z = self.seeds[:, None] + _GOLDEN * torch.arange(self.drawn + 1, self.drawn + each + 1)
        self.drawn += each
        return ((_mix(z) >> 11 & (1 << 53) - 1).double() + 0.5).mul_(2.0**-53).view(*shape)

    def selected(self, rows: slice | Tensor) -> RowStreams:
        """Return the streams of some rows.

        They continue independently of the streams of this object.
        """
        streams = RowStreams(self.seeds[rows])
        streams.drawn = self.drawn
        return streams

    def repeated(self, m: int) -> RowStreams:
        """Return m new streams for each row.

        The streams of a row are in succession. Later calls return other streams.
        """
        number = torch.arange(self.drawn + 1, self.drawn + m + 1)
        self.drawn += m
        return RowStreams(_mix((self.seeds[:, None] ^ _CHILD) + _GOLDEN * number).flatten())


Rng: TypeAlias = Generator | RowStreams
"""What every draw of the library accepts: one generator for all rows, or one stream per row."""


def _mix(z: Tensor) -> Tensor:
    """Scramble 64-bit integers (the finaliser of SplitMix64)."""
    for shift, factor in _MIX:
        z = (z ^ (z >> shift & (1 << 64 - shift) - 1)) * factor
    return z ^ (z >> 31 & (1 << 33) - 1)


def rng_of(name: str, value: Any) -> Rng | None:
    """Check that a value is a generator, streams per row, or None.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : object
        The value, which is returned unchanged.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if value is not None and not isinstance(value, Generator | RowStreams):
        raise InputError(f"{name} must be a torch.Generator, RowStreams or None, got {shown(value)}")
    return value


def selected(rng: Rng | None, rows: slice | Tensor) -> Rng | None:
    """Return the streams of some rows.

    A generator has one stream for all rows and is returned unchanged.

    Parameters
    ----------
    rng : Generator or RowStreams, optional
        Source of the draws.
    rows : slice or Tensor of int
        Rows to keep.
    """
    return rng.selected(rows) if isinstance(rng, RowStreams) else rng


def repeated(rng: Rng | None, m: int) -> Rng | None:
    """Return m streams for each row, in succession.

    A generator has one stream for all rows and is returned unchanged.

    Parameters
    ----------
    rng : Generator or RowStreams, optional
        Source of the draws.
    m : int
        Repeats of each row.
    """
    return rng.repeated(m) if isinstance(rng, RowStreams) else rng


def uniform(shape: Sequence[int], rng: Rng | None, *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Draw numbers in [0, 1).

    Parameters
    ----------
    shape : sequence of int
        Shape of the result; with streams per row its first axis is the rows.
    rng : Generator or RowStreams, optional
        Source of the draws; torch's global generator if not given.
    like : Tensor
        Gives the device, and the precision unless ``dtype`` is given.
    dtype : torch.dtype, optional
        Precision of the result.

    Examples
    --------
    >>> u = uniform((3,), torch.Generator().manual_seed(0), like=torch.empty(0, dtype=torch.float64))
    >>> u.dtype, bool(((0 <= u) & (u < 1)).all())
    (torch.float64, True)
    """
    if isinstance(rng, RowStreams):
        return rng.numbers(shape).to(like.device, dtype or like.dtype)
    device = like.device if rng is None else rng.device
    u = torch.rand(shape, generator=rng, dtype=dtype or like.dtype, device=device)
    return u if device == like.device else u.to(like.device, non_blocking=True)


def normal(like: Tensor, rng: Rng | None) -> Tensor:
    """Draw standard normal numbers.

    Parameters
    ----------
    like : Tensor
        Gives the shape, the precision and the device; with streams per row its first axis is the rows.
    rng : Generator or RowStreams, optional
        Source of the draws; torch's global generator if not given.
    """
    if isinstance(rng, RowStreams):
        return torch.special.ndtri(rng.numbers(like.shape)).to(like)
    if rng is None and like.is_contiguous():
        return torch.randn_like(like)
    device = like.device if rng is None else rng.device
    z = torch.randn(like.shape, generator=rng, dtype=like.dtype, device=device)
    return z if device == like.device else z.to(like.device, non_blocking=True)


def choice(probs: Tensor, rng: Rng | None) -> Tensor:
    """Draw one column per row.

    Parameters
    ----------
    probs : Tensor, shape (n, K)
        Probabilities of the columns, not negative; they need not sum to one.
    rng : Generator or RowStreams, optional
        Source of the draws; torch's global generator if not given.

    Returns
    -------
    Tensor of int, shape (n,)

    Examples
    --------
    >>> choice(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), RowStreams([1, 2])).tolist()
    [1, 0]
    """
    if isinstance(rng, RowStreams):
        below = probs.double().cumsum(1)
        u = rng.numbers((len(probs), 1)).to(below.device) * below[:, -1:]
        return (below <= u).sum(1).clamp_max(probs.shape[1] - 1)
    where = probs.device if rng is None else rng.device
    return torch.multinomial(probs.to(where), 1, generator=rng).squeeze(1).to(probs.device)


def permutation(n: int, rng: Generator | None) -> Tensor:
    """Draw a random permutation, on the CPU.

    Parameters
    ----------
    n : int
        How many numbers.
    rng : Generator, optional
        Source of the draws; torch's global generator if not given.
    """
    return torch.randperm(n, generator=rng, device=None if rng is None else rng.device).cpu()
