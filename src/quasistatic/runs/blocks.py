"""Work on rows in blocks with independent random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Generator, Tensor

from quasistatic.train.workers import Workers

__all__ = ["blocks", "by_blocks"]

NUMBERS = 2**19
"""Maximum count of numbers in a block, such as 668 images of 28 x 28 pixels."""


def blocks(n: int, event_shape: Sequence[int], seed: int) -> Iterator[tuple[slice, Generator]]:
    """Split n rows into blocks, with a generator for each.

    The generator of the first block has the seed itself.

    Parameters
    ----------
    n : int
    event_shape : sequence of int
        Shape of one row, which sets the size of a block.
    seed : int

    Examples
    --------
    >>> [(rows.start, rows.stop) for rows, _ in blocks(400, (3, 32, 32), seed=0)]
    [(0, 170), (170, 340), (340, 400)]
    """
    size = max(1, NUMBERS // max(1, prod(event_shape)))
    for number, start in enumerate(range(0, n, size)):
        mixed = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1) if number else seed
        yield slice(start, min(n, start + size)), Generator().manual_seed(mixed)


def by_blocks(
    x: Tensor, measure: Callable[[Tensor, Generator], Tensor], n_columns: int, *, seed: int, team: Workers
) -> Tensor:
    r"""Measure rows in blocks that processes share.

    Parameters
    ----------
    x : Tensor, shape (n, \*event)
    measure : callable
        Function of rows and a generator, with the result (rows, n_columns). The result of a row may not depend on other
        blocks.
    n_columns : int
    seed : int
    team : Workers
        The processes.

    Returns
    -------
    Tensor, shape (n, n_columns), float64
        On the CPU; the same to the last bit for any number of processes.
    """
    found = torch.zeros(len(x), n_columns, dtype=torch.float64)
    for number, (rows, generator) in enumerate(blocks(len(x), x.shape[1:], seed)):
        if number % team.world == team.rank:
            found[rows] = measure(x[rows], generator).to(found)
    return team.merged(found)
