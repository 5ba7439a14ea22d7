"""Where a training batch comes from: rows in memory, or rows that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from quasistatic.model import DiffusionModel
from quasistatic.train.ahead import Ahead

__all__ = ["Augment", "Rows", "Source", "draw_rows"]

Augment = Callable[[Tensor, Generator], Tensor]
"""Draw another version of rows in data units that is as good as they are, such as a mirror image."""


class Rows(Protocol):
    """Rows on disk: an array of numbers reads those rows."""

    shape: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...


class Source:
    """Training rows in the model's units, float32, by their numbers.

    What is drawn once and for all is encoded once and for all. Where a transform or an augmentation draws anew, rows
    stay as they came, and those of one batch are encoded when it is drawn; so are rows that stay on disk.

    Parameters
    ----------
    model : DiffusionModel
    rows : Tensor, or rows on disk
        In data units. A tensor is checked as a whole here, rows on disk when they are read.
    augment : callable, optional
        Applied to a batch before the model's transform.
    prefetch : bool
        Let :meth:`expect` read rows on disk ahead.
    """

    def __init__(
        self, model: DiffusionModel, rows: Tensor | Rows, augment: Augment | None = None, *, prefetch: bool = True
    ) -> None:
        self.model, self.augment = model, augment
        self.ahead = Ahead(self._read) if prefetch and not isinstance(rows, Tensor) else None
        self.device = model.process.beta.device
        self.rows: Tensor | Rows = rows
        self.encoded: Tensor | None = None
        if isinstance(rows, Tensor):
            encoded = model.encode(rows, Generator(self.device))[0]  # checks the rows, too
            self.rows = rows.to(self.device)
            if augment is None and not model.transform.random:
                self.encoded = encoded.float()

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: Tensor, generator: Generator) -> Tensor:
        """Rows of these numbers, (batch, *event_shape)."""
        if self.encoded is not None:
            return self.encoded.index_select(0, index.to(self.device))
        if isinstance(self.rows, Tensor):
            x = self.rows.index_select(0, index.to(self.device))
        else:
            x = self._read(index) if self.ahead is None else self.ahead.take(index)
            x = x.to(self.device, non_blocking=True)
        if self.augment is not None:
            x = self.augment(x, generator)
        if isinstance(self.rows, Tensor):
            return self.model.transform(x, generator)[0].float()
        return self.model.encode(x, generator)[0].float()

    def expect(self, generator: Generator, batch_size: int) -> None:
        """Begin to read the rows that :func:`draw_rows` will draw next from this generator, which is left as it is."""
        if self.ahead is not None:
            state = generator.get_state()
            self.ahead.start(draw_rows(len(self), batch_size, generator))
            generator.set_state(state)

    def _read(self, index: Tensor) -> Tensor:
        x = torch.as_tensor(self.rows[index.numpy()])
        return x.pin_memory() if self.device.type == "cuda" else x

    def close(self) -> None:
        """Read no further ahead."""
        if self.ahead is not None:
            self.ahead.close()


def draw_rows(n: int, batch_size: int, generator: Generator) -> Tensor:
    """Draw the numbers of the rows of a batch, (batch_size,)."""
    return torch.randint(n, (batch_size,), generator=generator)
