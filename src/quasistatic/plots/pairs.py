"""Columns of data and samples, alone and in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats, table
from quasistatic.plots.classes import class_names, class_shares, pooled, shares_of_pairs
from quasistatic.plots.style import DATA, MODEL, drawn, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["pair_plot"]

_MOST_COLUMNS = 5
_MOST_POINTS = 2000


@drawn
def pair_plot(
    data: ArrayLike,
    samples: ArrayLike,
    names: Sequence[str] | None = None,
    classes: Sequence[Sequence[str] | None] | None = None,
) -> Figure:
    """Draw all columns and pairs of columns, data and samples.

    On the diagonal are histograms of numbers (densities, on common bins) and shares of classes. Below it are scatter plots
    of two numbers, strips of a number for each class, and tables of shares of two columns of classes; in strips and tables
    the data is on the left or below, the samples are on the right or above. The axes follow the data; the caption says what
    part of the samples falls outside them.

    Parameters
    ----------
    data : array, shape (n, d)
        May hold nan for missing values, which are left out.
    samples : array, shape (m, d)
    names : sequence of d strings, optional
        Names of the columns; ``x1 .. xd`` by default.
    classes : sequence of d, optional
        For a column of codes 0 .. K - 1, the K names of its classes; None for a column of numbers.

    Returns
    -------
    Figure
        Of the first five columns, if there are more.

    Raises
    ------
    InputError
        If the two tables differ in their columns, a sample is not finite, a column of the data has no value,
        or the names or classes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> draw = np.random.default_rng(0).normal(size=(2, 100, 3))
    >>> figure = pair_plot(draw[0], draw[1], ["age", "height", "weight"])
    """
    columns = _Columns.of(data, samples, names, classes)
    k = columns.n_drawn
    side = 1.75 if k > 2 else 2.6
    figure = new_figure(side * k + 0.6, side * k + 0.7, columns.caption())
    panels = figure.subplots(k, k, squeeze=False)
    for row in range(k):
        for column in range(k):
            axes = panels[row, column]
            if column > row:
                axes.remove()
                continue
            columns.draw(axes, row, column)
            columns.label(axes, row, column)
    figure.align_ylabels(list(panels[:, 0]))
    _legend(figure)
    return figure


@dataclass(frozen=True)
class _Columns:
    """Checked columns of data and samples."""

    real: Floats
    made: Floats
    names: list[str]
    classes: list[Sequence[str] | None]
    frames: list[tuple[float, float]]
    """Range of the axis of each drawn column."""

    @classmethod
    def of(
        cls,
        data: ArrayLike,
        samples: ArrayLike,
        names: Sequence[str] | None,
        classes: Sequence[Sequence[str] | None] | None,
    ) -> _Columns:
        """Check the arguments of :func:`pair_plot`."""
        real = table(data, "data", missing=True)
        made = table(samples, "samples", columns=real.shape[1])
        d = real.shape[1]
        labels = [f"x{i + 1}" for i in range(d)] if names is None else [str(name) for name in names]
        if len(labels) != d:
            raise InputError(f"names must be one per column, {d}, got {len(labels)}")
        if np.isnan(real).all(axis=0).any():
            raise InputError(f"column {labels[np.isnan(real).all(axis=0).argmax()]!r} of the data holds no value")
        kinds: list[Sequence[str] | None] = [None] * d if classes is None else list(classes)
        if len(kinds) != d:
            raise InputError(f"classes must be one for each of {d} columns, got {len(kinds)}")
        real, made, frames = real.copy(), made.copy(), []
        for i, kind in enumerate(kinds[:_MOST_COLUMNS]):
            if kind is None:
                frames.append(_frame(real[:, i]))
            else:
                real[:, i], made[:, i], pooled_names = pooled(real[:, i], made[:, i], kind)
                kinds[i] = pooled_names
                frames.append((-0.6, len(pooled_names) - 0.4))
        return cls(real, made, labels, kinds, frames)

    @property
    def n_drawn(self) -> int:
        """Number of columns that are drawn."""
        return len(self.frames)

    def caption(self) -> str:
        """Return the caption of the figure."""
        k, d = self.n_drawn, len(self.names)
        inside = np.all(
            [(low <= self.made[:, i]) & (self.made[:, i] <= high) for i, (low, high) in enumerate(self.frames)], axis=0
        )
        text = f"Columns {', '.join(self.names[:k])}" + (f" (the first {k} of {d})" if k < d else "")
        text += f"; {100 * np.mean(~inside):.2g} % of the samples lie outside the frames, which follow the data."
        if sum(kind is not None for kind in self.classes[:k]) > 1:
            text += (
                " Two columns of classes are a table: the darker, the larger a share of all rows (in % where there is room)."
            )
        return text

    def draw(self, axes: Axes, row: int, column: int) -> None:
        """Draw one column, or one against another."""
        real, made, across, up = self.real, self.made, self.classes[column], self.classes[row]
        if column == row and up is not None:
            class_shares(axes, real[~np.isnan(real[:, row]), row], made[:, row], up)
        elif column == row:
            _histograms(axes, real[:, row], made[:, row], self.frames[row])
        elif across is not None and up is not None:
            shares_of_pairs(axes, real[:, [column, row]], made[:, [column, row]], (len(across), len(up)))
            axes.set_ylim(*self.frames[row])
        else:
            self._scatter(axes, row, column)
            axes.set_ylim(*self.frames[row])
        axes.set_xlim(*self.frames[column])

    def _scatter(self, axes: Axes, row: int, column: int) -> None:
        # As many of the one as of the other, or the more numerous would look denser.
        count = min(len(self.real), len(self.made), _MOST_POINTS)
        for side, (rows, colour) in enumerate(((self.real, DATA), (self.made, MODEL))):
            few = rows[np.linspace(0, len(rows) - 1, count).astype(int)][:, [row, column]]
            few = _jittered(few, self.classes[row] is not None, self.classes[column] is not None, side)
            size = float(np.clip(1500 / len(few), 2, 10))
            axes.scatter(few[:, 1], few[:, 0], s=size, c=colour, alpha=0.4, linewidths=0)

    def label(self, axes: Axes, row: int, column: int) -> None:
        """Set the ticks and the names of the axes."""
        self._set_ticks(axes.xaxis, column)
        if column < row:
            self._set_ticks(axes.yaxis, row)
        last, first = row == self.n_drawn - 1, column == 0 and row > 0
        axes.tick_params(labelbottom=last, labelleft=first, labelsize=8)
        if last:
            axes.set_xlabel(plain_label(self.names[column]))
        if first:
            axes.set_ylabel(plain_label(self.names[row]))

    def _set_ticks(self, axis: Axis, column: int) -> None:
        """Write the classes of a column, or few numbers."""
        from matplotlib.ticker import MaxNLocator

        kind = self.classes[column]
        if kind is not None:
            class_names(axis, kind)
        else:
            values = self.real[:, column]
            whole = bool((values[~np.isnan(values)] % 1 == 0).all())
            axis.set_major_locator(MaxNLocator(4, integer=whole))


def _jittered(points: Floats, by_row: bool, by_column: bool, side: int) -> Floats:
    """Move points of classes at random within their strips.

    Data (side 0) is below or left of samples (side 1).
    """
    points = points.copy()
    draw = np.random.default_rng(side)
    for axis, is_class in enumerate((by_row, by_column)):
        if is_class:
            points[:, axis] += draw.uniform(0.04, 0.38, len(points)) * (1.0 if side else -1.0)
    return points


def _frame(values: Floats) -> tuple[float, float]:
    """Return the range of the values with a margin of 8 %."""
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
