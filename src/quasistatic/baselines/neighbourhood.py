"""Neighbourhoods of the pixels of an image, in raster order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["View", "contexts_of", "view_of"]


class View(NamedTuple):
    """Extent of the neighbourhood of a pixel inside the image."""

    above: int
    left: int
    right: int

    @property
    def name(self) -> str:
        return f"{self.above}-{self.left}-{self.right}"

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Places of the context, (row, column) relative to the pixel."""
        rows = [(-i, j) for i in range(self.above, 0, -1) for j in range(-self.left, self.right + 1)]
        return rows + [(0, -j) for j in range(self.left, 0, -1)]


def view_of(i: int, j: int, width: int, reach: int) -> View:
    """Return the view of pixel (i, j)."""
    return View(min(i, reach), min(j, reach), min(width - 1 - j, reach) if i else reach)


def contexts_of(x: Tensor, view: View, rows: Tensor, columns: Tensor) -> Tensor:
    """Gather the contexts of pixels, (n * rows * columns, n_context)."""
    neighbours = [x[:, rows[:, None] + i, columns + j].flatten() for i, j in view.offsets]
    return torch.stack(neighbours, 1) if neighbours else x.new_empty(len(x) * len(rows) * len(columns), 0)
