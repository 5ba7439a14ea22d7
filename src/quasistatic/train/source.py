"""Training rows, in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from quasistatic.model import DiffusionModel
from quasistatic.train.ahead import Ahead

__all__ = ["Augment", "Rows", "Source", "draw_rows"]

Augment = Callable[[Tensor, Generator], Tensor]
"""(rows in data units, generator) -> other rows that are as likely, such as mirror images."""


class Rows(Protocol):
    """Rows on disk, read by an array of row numbers."""

    shape: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...


class Source:
    """Training rows in model units, float32, by their numbers.

    Rows in memory are encoded once, unless the transform or the augmentation is random. Otherwise, and for rows on disk,
    each batch is encoded when it is drawn.

    Parameters
    ----------
    model : DiffusionModel
        Gives the transform and the device.
    rows : Tensor, or rows on disk
        In data units. A tensor is checked as a whole here, rows on disk when they are read.
    augment : callable, optional
        Applied to a batch before the model's transform.
    prefetch : bool
        Let :meth:`prefetch` read rows on disk ahead.
    """

    def __init__(
        self, model: DiffusionModel, rows: Tensor | Rows, augment: Augment | None = None, *, prefetch: bool = True
    ) -> None:
        self.model, self.augment = model, augment
        self.device = model.process.beta.device
        self.rows: Tensor | Rows = rows
        self.in_memory: Tensor | None = None
        self.encoded: Tensor | None = None
        self.ahead: Ahead | None = None
        if isinstance(rows, Tensor):
            encoded = model.encode(rows, Generator(self.device))[0]  # checks the rows, too
            self.rows = self.in_memory = rows.to(self.device)
            if augment is None and not model.transform.random:
                self.encoded = encoded.float()
        elif prefetch:
            self.ahead = Ahead(self._read)

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: Tensor, generator: Generator) -> Tensor:
        """Return rows by their numbers.

        Parameters
        ----------
        index : Tensor of int, shape (batch,)
            Row numbers.
        generator : Generator
            Source of the draws of augmentation and transform.

        Returns
        -------
        Tensor, shape (batch, *event_shape), float32
        """
        if self.encoded is not None:
            return self.encoded.index_select(0, index.to(self.device))
        if self.in_memory is not None:
            x = self.in_memory.index_select(0, index.to(self.device))
        else:
            x = self._read(index) if self.ahead is None else self.ahead.take(index)
            x = x.to(self.device, non_blocking=True)
        if self.augment is not None:
            x = self.augment(x, generator)
        if self.in_memory is not None:
            return self.model.transform(x, generator)[0].float()
        return self.model.encode(x, generator)[0].float()

    def prefetch(self, generator: Generator, batch_size: int) -> None:
        """Start to read the rows of the next batch.

        Parameters
        ----------
        generator : Generator
            The generator that :func:`draw_rows` will use next, which is left as it is.
        batch_size : int
            Rows of the batch.
        """
        if self.ahead is not None:
            state = generator.get_state()
            self.ahead.start(draw_rows(len(self), batch_size, generator))
            generator.set_state(state)

    def _read(self, index: Tensor) -> Tensor:
        x = torch.as_tensor(self.rows[index.numpy()])
        return x.pin_memory() if self.device.type == "cuda" else x

    def close(self) -> None:
        """End the reading ahead."""
        if self.ahead is not None:
            self.ahead.close()


def draw_rows(n: int, batch_size: int, generator: Generator) -> Tensor:
    """Draw the row numbers of a batch.

    Parameters
    ----------
    n : int
        Number of rows.
    batch_size : int
        Rows of the batch.
    generator : Generator
        Source of the draws.
    """
    return torch.randint(n, (batch_size,), generator=generator)
