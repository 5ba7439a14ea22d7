"""Sheets of small images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats
from quasistatic.plots.style import drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["colours", "image_grid", "image_stack", "montage"]

# A missing pixel (nan) must look like neither black, white nor grey.
HEADING = 0.32  # inches
_MISSING = (0.62, 0.79, 0.93)


def montage(images: Floats, columns: int, *, margin: int, top: int) -> Floats:
    """Place colour images side by side on white.

    The images have shape (n, h, w, 3).

    Image i has its upper left pixel at row ``top + (i // columns)·(h + top)`` and column
    ``margin + (i % columns)·(w + margin)``; ``margin`` and ``top`` count white pixels left of and above every image.

    Examples
    --------
    >>> montage(np.zeros((3, 4, 4, 3)), 2, margin=1, top=2).shape
    (13, 11, 3)
    """
    n, height, width, _ = images.shape
    rows = math.ceil(n / columns)
    grid = np.ones((rows * (height + top) + margin, columns * (width + margin) + margin, 3))
    for i, image in enumerate(images):
        y, x = top + (i // columns) * (height + top), margin + (i % columns) * (width + margin)
        grid[y : y + height, x : x + width] = image
    return grid


def image_stack(images: ArrayLike, name: str) -> Floats:
    """Check images of one or three channels.

    Returns float64 of shape (n, h, w, channels).

    Examples
    --------
    >>> image_stack(np.zeros((2, 4, 5)), "images").shape
    (2, 4, 5, 1)
    """
    stack = np.asarray(images, dtype=np.float64)
    if stack.ndim == 3:
        stack = stack[..., None]
    if stack.ndim != 4 or 0 in stack.shape or stack.shape[-1] not in (1, 3):
        raise InputError(f"{name} must have shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), got {np.shape(images)}")
    return stack


@drawn
def image_grid(
    images: ArrayLike,
    columns: int | None = None,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    titles: Sequence[str] | None = None,
    heading: str | None = None,
    caption: str | None = None,
) -> Figure:
    """Images on a grid, all on one scale of brightness.

    Parameters
    ----------
    images : array, shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
        Grey or colour images; a nan is a missing pixel, drawn in pale blue.
    columns : int, optional
        Images in a row; by default as nearly square as n allows.
    vmin, vmax : float, optional
        Values drawn black and white; values beyond are clipped. By default the extremes of all images.
    titles : sequence of n strings, optional
        Written above the images, cut with an ellipsis where the place is too narrow.
    heading : str, optional
        Written above the grid.
    caption : str, optional
        The figure's label; by default how many images there are, and their size.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the shape is none of the above, ``columns`` is not positive, ``vmin >= vmax``, or there is not one
        title per image.

    Examples
    --------
    >>> import numpy as np
    >>> figure = image_grid(np.random.default_rng(0).random((12, 8, 8)), columns=6)
    """
    stack = image_stack(images, "images")
    n, height, width, _ = stack.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1:
        raise InputError(f"columns must be at least 1, got {columns}")
    if titles is not None and len(titles) != n:
        raise InputError(f"titles must be one per image, {n}, got {len(titles)}")
    columns = min(columns, n)

    # Inches; a letter of 8 points is about 0.068 wide. Long titles need wider tiles, within limits.
    longest = max(map(len, titles), default=0) if titles is not None else 0
    tile = min(max(1.0, 0.068 * (longest + 2)), 9.0 / columns)
    margin = max(1, round(0.06 * width))
    top = margin if titles is None else math.ceil(0.2 / tile * width)
    grid = montage(colours(stack, vmin, vmax), columns, margin=margin, top=top)
    per_pixel = tile / (width + margin)
    wide, tall = grid.shape[1] * per_pixel, grid.shape[0] * per_pixel
    # a heading of 10 points needs about 0.085 inches a letter, and a line of its own
    whole = max(wide, 0.085 * (len(heading or "") + 4)), tall + (HEADING if heading else 0.0)
    figure = new_figure(*whole, caption or f"{n} images, {width} × {height} pixels, on one scale of brightness.")
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, wide / whole[0], tall / whole[1]))
    if heading:
        figure.text(
            margin * per_pixel / whole[0], 1.0 - 0.5 * HEADING / whole[1], heading, ha="left", va="center", fontsize=10
        )
    axes.imshow(grid, interpolation="nearest", extent=(0, grid.shape[1], grid.shape[0], 0), aspect="auto")
    axes.set_axis_off()
    # The frame makes a white image visible on the white grid.
    for i in range(n):
        y, x = top + (i // columns) * (height + top), margin + (i % columns) * (width + margin)
        axes.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color="#C9CED6", lw=0.5)
        if titles is not None:
            text = _cut(titles[i], int(tile / 0.068))
            axes.text(x + width / 2, y - 0.1 * top, text, ha="center", va="bottom", fontsize=8)
    return figure


def colours(stack: Floats, vmin: float | None, vmax: float | None) -> Floats:
    """Values to colours in [0, 1], shape (n, h, w, 3)."""
    present = stack[np.isfinite(stack)]
    low = vmin if vmin is not None else float(present.min(initial=np.inf)) if present.size else 0.0
    high = vmax if vmax is not None else float(present.max(initial=-np.inf)) if present.size else 1.0
    if vmin is None and vmax is None and low == high:
        high = low + 1.0
    if not low < high:
        raise InputError(f"vmin must lie below vmax, got {low:g} and {high:g}")
    scaled = np.repeat(np.clip((stack - low) / (high - low), 0, 1), 3 // stack.shape[-1], axis=-1)
    return np.where(np.isnan(scaled).any(axis=-1, keepdims=True), np.array(_MISSING), scaled)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(1, length - 1)] + "…"
