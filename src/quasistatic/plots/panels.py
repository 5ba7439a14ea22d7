"""Several grids of images side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.images import colours, image_stack, montage
from quasistatic.plots.style import drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_panels"]

WIDTH = 9.0  # inches


@drawn
def image_panels(panels: Sequence[tuple[str, ArrayLike]], caption: str, columns: int | None = None) -> Figure:
    """Draw grids of images from left to right with titles.

    Black is 0 and white is 1.

    Parameters
    ----------
    panels : sequence of pairs (title, images)
        Images as in :func:`~quasistatic.plots.images.image_grid`; those of one panel go from left to right, then down.
    caption : str
        The figure's label.
    columns : int, optional
        Images in a row of each panel; by default as nearly square as their number allows.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are no panels, or images are none.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).random((4, 8, 8))
    >>> figure = image_panels([("held out", x), ("denoised", x)], "Twice the same.")
    >>> [axes.get_title() for axes in figure.axes]
    ['held out', 'denoised']
    """
    if not panels:
        raise InputError("a figure of panels needs one panel at least")
    grids = []
    for title, images in panels:
        stack = image_stack(images, f"images of {title!r}")
        across = math.ceil(math.sqrt(len(stack))) if columns is None else columns
        margin = 0 if len(stack) == 1 else max(1, round(0.06 * stack.shape[2]))
        grids.append(montage(colours(stack, 0.0, 1.0), min(across, len(stack)), margin=margin, top=margin))
    wide = WIDTH / len(grids)
    # less what the layout keeps free on both sides of a panel, and a line of title
    tall = (wide - 0.15) * max(grid.shape[0] / grid.shape[1] for grid in grids)
    figure = new_figure(WIDTH, tall + 0.42, caption)
    every = figure.subplots(1, len(grids), squeeze=False)[0]
    for axes, (title, _), grid in zip(every, panels, grids, strict=True):
        axes.imshow(grid, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    return figure
