"""Columns of the data beside columns of the samples, alone and in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.report.arrays import Floats, table
from quasistatic.report.style import DATA, MODEL, drawn, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pair_plot"]

_MOST_COLUMNS = 5
_MOST_POINTS = 2000


@drawn
def pair_plot(data: ArrayLike, samples: ArrayLike, names: Sequence[str] | None = None) -> Figure:
    """Every column and every pair of columns, data and samples over each other.

    Histograms (densities, on common bins) stand on the diagonal, scatter plots below it. The axes follow the
    data; the caption says what part of the samples falls outside them.

    Parameters
    ----------
    data : array, shape (n, d)
        May hold nan for missing values, which are left out.
    samples : array, shape (m, d)
    names : sequence of d strings, optional
        Names of the columns; ``x1 .. xd`` by default.

    Returns
    -------
    Figure
        Of the first five columns, if there are more.

    Raises
    ------
    InputError
        If the two tables differ in their columns, a sample is not finite, a column of the data has no value,
        or the names do not match.

    Examples
    --------
    >>> import numpy as np
    >>> draw = np.random.default_rng(0).normal(size=(2, 100, 3))
    >>> figure = pair_plot(draw[0], draw[1], ["age", "height", "weight"])
    """
    real = table(data, "data", missing=True)
    made = table(samples, "samples", columns=real.shape[1])
    d = real.shape[1]
    labels = [f"x{i + 1}" for i in range(d)] if names is None else [str(name) for name in names]
    if len(labels) != d:
        raise InputError(f"names must be one per column, {d}, got {len(labels)}")
    if np.isnan(real).all(axis=0).any():
        raise InputError(f"column {labels[np.isnan(real).all(axis=0).argmax()]!r} of the data holds no value")
    k = min(d, _MOST_COLUMNS)
    frames = [_frame(real[:, i]) for i in range(k)]
    inside = np.all([(low <= made[:, i]) & (made[:, i] <= high) for i, (low, high) in enumerate(frames)], axis=0)
    side = 1.75 if k > 2 else 2.6
    caption = f"Columns {', '.join(labels[:k])}" + (f" (the first {k} of {d})" if k < d else "")
    caption += f"; {100 * np.mean(~inside):.2g} % of the samples lie outside the frames, which follow the data."
    figure = new_figure(side * k + 0.6, side * k + 0.7, caption)
    panels = figure.subplots(k, k, squeeze=False)
    for row in range(k):
        for column in range(k):
            axes = panels[row, column]
            if column > row:
                axes.remove()
                continue
            if column == row:
                _histograms(axes, real[:, row], made[:, row], frames[row])
            else:
                # As many of the one as of the other, or the more numerous would look denser.
                count = min(len(real), len(made), _MOST_POINTS)
                for rows, colour in ((real, DATA), (made, MODEL)):
                    few = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
                    size = float(np.clip(1500 / len(few), 2, 10))
                    axes.scatter(few[:, column], few[:, row], s=size, c=colour, alpha=0.4, linewidths=0)
                axes.set_ylim(*frames[row])
            axes.set_xlim(*frames[column])
            axes.locator_params(nbins=4)
            axes.tick_params(labelbottom=row == k - 1, labelleft=column == 0 and row > 0, labelsize=8)
            if row == k - 1:
                axes.set_xlabel(plain_label(labels[column]))
            if column == 0 and row > 0:
                axes.set_ylabel(plain_label(labels[row]))
    figure.align_ylabels(list(panels[:, 0]))
    _legend(figure)
    return figure


def _frame(values: Floats) -> tuple[float, float]:
    """The range of the values with a margin of 8 %."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.08 * (high - low) or 0.5 * max(1.0, abs(low))
    return low - margin, high + margin


def _histograms(axes: Axes, data: Floats, samples: Floats, frame: tuple[float, float]) -> None:
    bins = np.linspace(*frame, 31)
    for values, colour, filled in ((data, DATA, True), (samples, MODEL, False)):
        values = values[np.isfinite(values)]
        # Divided by all values, not by those inside the frame: mass outside is missing, not hidden.
        density = np.histogram(values, bins)[0] / (len(values) * np.diff(bins))
        axes.stairs(density, bins, color=colour, fill=filled, alpha=0.35 if filled else 1.0, lw=1.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", ls="", color=colour, label=label)
        for colour, label in ((DATA, "data"), (MODEL, "samples"))
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=10)
