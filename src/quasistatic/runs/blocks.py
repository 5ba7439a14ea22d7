"""Rows by blocks, each with a random stream of its own: bounded memory, and the same draws on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Generator, Tensor

from quasistatic.train.workers import Workers

__all__ = ["blocks", "by_blocks"]

NUMBERS = 2**19
"""Numbers in the rows of one block: 668 images of 28 x 28 pixels, and the whole of any toy."""


def blocks(n: int, event_shape: Sequence[int], seed: int) -> Iterator[tuple[slice, Generator]]:
    """Cut n rows into blocks, with a generator for each; the first one's is that of the seed itself.

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
    r"""Measure rows block by block, each block by one process, and put all together on all of them.

    Parameters
    ----------
    x : Tensor, shape (n, \*event)
    measure : callable
        Rows and a generator to (rows, n_columns); what it says of a row may depend on no other block.

    Returns
    -------
    Tensor, shape (n, n_columns), float64
        On the CPU, the same to the last bit whatever the number of processes.
    """
    found = torch.zeros(len(x), n_columns, dtype=torch.float64)
    for number, (rows, generator) in enumerate(blocks(len(x), x.shape[1:], seed)):
        if number % team.world == team.rank:
            found[rows] = measure(x[rows], generator).to(found)
    return team.merged(found)
