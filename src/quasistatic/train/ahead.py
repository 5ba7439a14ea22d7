"""Prefetching of rows on disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

__all__ = ["Ahead"]


class Ahead:
    """A thread that reads the next rows.

    Rows that were not expected are read when they are taken. So a batch does not depend on whether it was read ahead.

    Parameters
    ----------
    read : callable
        (row numbers (n,)) -> rows.

    Examples
    --------
    >>> ahead = Ahead(lambda index: 10 * index)
    >>> ahead.start(torch.tensor([1, 2]))
    >>> ahead.take(torch.tensor([1, 2])), ahead.take(torch.tensor([3]))
    (tensor([10, 20]), tensor([30]))
    >>> ahead.close()
    """

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        self.read = read
        self.expected: tuple[Tensor, Future[Tensor]] | None = None
        self.thread: ThreadPoolExecutor | None = None

    def start(self, index: Tensor) -> None:
        """Begin to read the rows of these numbers."""
        if self.thread is None:
            self.thread = ThreadPoolExecutor(1, "quasistatic-ahead")
        self.expected = index, self.thread.submit(self.read, index)

    def take(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers.

        An error raised while reading them is raised here.
        """
        expected, self.expected = self.expected, None
        if expected is not None and torch.equal(expected[0], index):
            return expected[1].result()
        return self.read(index)

    def close(self) -> None:
        """Wait for the current read, and end the thread."""
        if self.thread is not None:
            self.thread.shutdown(cancel_futures=True)
            self.thread = self.expected = None
