"""Each column of a table: data beside samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import table
from quasistatic.plots.classes import class_shares, pooled
from quasistatic.plots.pairs import _frame, _histograms, _legend
from quasistatic.plots.style import drawn, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["column_marginals"]

_MOST_COLUMNS = 24


@drawn
def column_marginals(
    data: ArrayLike, samples: ArrayLike, names: Sequence[str], classes: Sequence[Sequence[str] | None] | None = None
) -> Figure:
    """Draw each column of data and samples.

    Numbers have histograms, classes have shares.

    Parameters
    ----------
    data : array, shape (n, d)
        nan for missing values, which are left out.
    samples : array, shape (m, d)
    names : sequence of d strings
    classes : sequence of d, optional
        For a column of codes 0 .. K - 1, the K names of its classes; None for a column of numbers.

    Returns
    -------
    Figure
        Of the first 24 columns, if there are more. Bars of classes have the error of one standard deviation (Wilson).

    Raises
    ------
    InputError
        If the tables differ in their columns, or names or classes are not one for each.

    Examples
    --------
    >>> import numpy as np
    >>> figure = column_marginals([[0.5, 1], [1.5, 0]], [[0.7, 1], [1.2, 1]], ["length", "sex"], [None, ["F", "M"]])
    """
    real = table(data, "data", missing=True)
    made = table(samples, "samples", columns=real.shape[1])
    d = real.shape[1]
    kinds = [None] * d if classes is None else list(classes)
    if len(names) != d or len(kinds) != d:
        raise InputError(f"names and classes must be one for each of {d} columns, got {len(names)} and {len(kinds)}")
    k = min(d, _MOST_COLUMNS)
    across = min(k, 4)
    down = math.ceil(k / across)
    caption = (
        f"Columns of {len(real)} rows of data and {len(made)} samples" + (f" (the first {k} of {d})" if k < d else "") + "."
    )
    figure = new_figure(2.3 * across + 0.4, 1.9 * down + 0.7, caption)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[k:]:
        axes.remove()
    for i, axes in enumerate(panels[:k]):
        values = real[~np.isnan(real[:, i]), i]
        levels = kinds[i]
        if levels is not None:
            values, drawn_codes, levels = pooled(values, made[:, i], levels)
            class_shares(axes, values, drawn_codes, levels)
        elif len(values):
            frame = _frame(values)
            _histograms(axes, values, made[:, i], frame)
            axes.set_xlim(*frame)
            axes.locator_params(axis="x", nbins=4)
        axes.set_title(plain_label(names[i]), fontsize=9)
        axes.tick_params(labelsize=8)
    _legend(figure)
    return figure
