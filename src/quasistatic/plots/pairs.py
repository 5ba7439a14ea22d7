"""Columns of data and samples, alone and in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats, table
from quasistatic.plots.bits import binomial_interval
from quasistatic.plots.style import DATA, INK, MODEL, drawn, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["pair_plot"]

_MOST_COLUMNS = 5
_MOST_POINTS = 2000
_MOST_CLASSES = 10
_MOST_WRITTEN = 3  # classes a side whose shares are written out
_LONGEST = 12  # characters of the name of a class


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
    from matplotlib.ticker import MaxNLocator

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
    k = min(d, _MOST_COLUMNS)
    real, made = real.copy(), made.copy()
    for i, kind in enumerate(kinds[:k]):
        if kind is not None:
            real[:, i], made[:, i], kinds[i] = pooled(real[:, i], made[:, i], kind)
    frames = [_frame(real[:, i]) if (kind := kinds[i]) is None else (-0.6, len(kind) - 0.4) for i in range(k)]
    inside = np.all([(low <= made[:, i]) & (made[:, i] <= high) for i, (low, high) in enumerate(frames)], axis=0)
    side = 1.75 if k > 2 else 2.6
    caption = f"Columns {', '.join(labels[:k])}" + (f" (the first {k} of {d})" if k < d else "")
    caption += f"; {100 * np.mean(~inside):.2g} % of the samples lie outside the frames, which follow the data."
    if sum(kind is not None for kind in kinds[:k]) > 1:
        caption += (
            " Two columns of classes are a table: the darker, the larger a share of all rows (in % where there is room)."
        )
    figure = new_figure(side * k + 0.6, side * k + 0.7, caption)
    panels = figure.subplots(k, k, squeeze=False)
    for row in range(k):
        for column in range(k):
            axes = panels[row, column]
            if column > row:
                axes.remove()
                continue
            if column == row and (levels := kinds[row]) is not None:
                class_shares(axes, real[~np.isnan(real[:, row]), row], made[:, row], levels)
            elif column == row:
                _histograms(axes, real[:, row], made[:, row], frames[row])
            elif (across := kinds[column]) is not None and (up := kinds[row]) is not None:
                _shares_of_pairs(axes, real[:, [column, row]], made[:, [column, row]], (len(across), len(up)))
                axes.set_ylim(*frames[row])
            else:
                # As many of the one as of the other, or the more numerous would look denser.
                count = min(len(real), len(made), _MOST_POINTS)
                for side_of, (rows, colour) in enumerate(((real, DATA), (made, MODEL))):
                    few = rows[np.linspace(0, len(rows) - 1, count).astype(int)][:, [row, column]]
                    few = _spread(few, kinds[row] is not None, kinds[column] is not None, side_of)
                    size = float(np.clip(1500 / len(few), 2, 10))
                    axes.scatter(few[:, 1], few[:, 0], s=size, c=colour, alpha=0.4, linewidths=0)
                axes.set_ylim(*frames[row])
            axes.set_xlim(*frames[column])
            for axis, kind in ((axes.xaxis, kinds[column]), (axes.yaxis, kinds[row] if column < row else None)):
                if kind is not None:
                    class_names(axis, kind)
                elif column < row or axis is axes.xaxis:
                    values = real[:, row if axis is axes.yaxis else column]
                    whole = bool((values[~np.isnan(values)] % 1 == 0).all())
                    axis.set_major_locator(MaxNLocator(4, integer=whole))
            axes.tick_params(labelbottom=row == k - 1, labelleft=column == 0 and row > 0, labelsize=8)
            if row == k - 1:
                axes.set_xlabel(plain_label(labels[column]))
            if column == 0 and row > 0:
                axes.set_ylabel(plain_label(labels[row]))
    figure.align_ylabels(list(panels[:, 0]))
    _legend(figure)
    return figure


def _shares_of_pairs(axes: Axes, data: Floats, samples: Floats, sizes: tuple[int, int]) -> None:
    """Draw the share of each pair of classes as a shade.

    Data is left of samples in a cell.
    """
    from matplotlib.colors import to_rgba

    shares = []
    for codes in (data, samples):
        there = codes[~np.isnan(codes).any(1)].astype(int)
        counts = np.zeros(sizes)
        np.add.at(counts, (there[:, 0], there[:, 1]), 1)
        shares.append(counts / max(1, len(there)))
    darkest = max(share.max() for share in shares) or 1.0
    x, y = (at.ravel() for at in np.meshgrid(*map(np.arange, sizes), indexing="ij"))
    for offset, share, colour in zip((-0.225, 0.225), (each.ravel() for each in shares), (DATA, MODEL), strict=True):
        shades = [to_rgba(colour, 0.9 * float(part) / darkest) for part in share]
        axes.bar(x + offset, 0.9, 0.45, bottom=y - 0.45, color=shades, linewidth=0)
        if max(sizes) <= _MOST_WRITTEN:
            for i, part in enumerate(share):
                ink = "white" if part > 0.6 * darkest else INK
                axes.text(x[i] + offset, y[i], f"{100 * part:.0f}", ha="center", va="center", fontsize=7, color=ink)


def _spread(points: Floats, by_row: bool, by_column: bool, side: int) -> Floats:
    """Scatter points of classes over strips.

    Data (side 0) is below or left of samples (side 1).
    """
    points = points.copy()
    draw = np.random.default_rng(side)
    for axis, is_class in enumerate((by_row, by_column)):
        if is_class:
            points[:, axis] += draw.uniform(0.04, 0.38, len(points)) * (1.0 if side else -1.0)
    return points


def pooled(data: Floats, samples: Floats, classes: Sequence[str]) -> tuple[Floats, Floats, list[str]]:
    """Return codes of data and samples with the names of classes.

    At most ten classes are kept apart.

    Of more, the most frequent nine of the data are kept and the others taken together.
    """
    names = [str(name) for name in classes]
    if len(names) <= _MOST_CLASSES:
        return data, samples, names
    there = data[~np.isnan(data)].astype(int)
    order = np.argsort(-np.bincount(there, minlength=len(names)), kind="stable")
    kept = np.sort(order[: _MOST_CLASSES - 1])
    places = np.full(len(names) + 1, float(_MOST_CLASSES - 1))
    places[kept] = np.arange(len(kept))
    places[-1] = np.nan  # of what is missing
    data, samples = (places[np.nan_to_num(codes, nan=len(names)).astype(int)] for codes in (data, samples))
    return data, samples, [*(names[i] for i in kept), f"other ({len(names) - len(kept)})"]


def class_shares(axes: Axes, data: Floats, samples: Floats, classes: Sequence[str]) -> None:
    """Draw the share of each class, data beside samples.

    The error is one standard deviation (Wilson).
    """
    at = np.arange(len(classes))
    for offset, values, colour in ((-0.2, data, DATA), (0.2, samples, MODEL)):
        counts = np.bincount(values.astype(int), minlength=len(classes))
        n = max(1, len(values))
        low, high = binomial_interval(counts, n)
        share = counts / n
        axes.bar(at + offset, share, 0.38, color=colour, alpha=0.6)
        axes.errorbar(at + offset, share, np.abs(np.stack([low, high]) - share), fmt="none", ecolor=colour, lw=1)
    class_names(axes.xaxis, classes)
    axes.set_yticks([])


def class_names(axis: Axis, classes: Sequence[str]) -> None:
    """Write class names along an axis.

    Long names are shortened, or turned where they would overlap.
    """
    from matplotlib.axis import XAxis

    names = [_elided(plain_label(name, 200)) for name in classes]
    many = len(names) > 3 or sum(map(len, names)) > 16
    axis.set_ticks(range(len(names)), names)
    if many and isinstance(axis, XAxis):
        axis.set_tick_params(rotation=90)


def _elided(name: str) -> str:
    """Shorten a long name in its middle.

    Names often differ at their end.
    """
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 6]}…{name[-5:]}"


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
