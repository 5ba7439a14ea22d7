"""What was seen, and what a model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import table
from quasistatic.plots.images import image_grid
from quasistatic.plots.style import DATA, INK, MODEL, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["posterior_images", "posterior_intervals", "posterior_points"]

_MOST = 6


def posterior_images(seen: ArrayLike, samples: ArrayLike, mean: ArrayLike, spread: ArrayLike) -> Figure:
    """Draw observation, samples, mean and deviation of image posteriors.

    Each observation has a row.

    Parameters
    ----------
    seen : array, shape (n, h, w) or (n, h, w, 3)
        From 0 to 1; a nan is a missing pixel.
    samples : array, shape (n, k, h, w) or (n, k, h, w, 3)
    mean, spread : array, shape of ``seen``
        The spread, a standard deviation, is drawn on a scale of its own for each observation.
    """
    lines, titles = [], []
    for y, draws, m, s in zip(np.asarray(seen), np.asarray(samples), np.asarray(mean), np.asarray(spread), strict=True):
        top = float(s.max())
        lines += [y, *draws, m, s / top if top > 0 else s]
        titles += ["observed", *(f"sample {i + 1}" for i in range(len(draws))), "mean", f"deviation ≤ {top:.2g}"]
    columns = np.asarray(samples).shape[1] + 3
    caption = "A line for each observation: what was seen, samples, their mean, and their standard deviation."
    stack = np.clip(np.asarray(lines, dtype=np.float64), 0, 1)
    return image_grid(stack, columns, vmin=0, vmax=1, titles=titles, caption=caption)


@drawn
def posterior_points(seen: Sequence[ArrayLike], samples: Sequence[ArrayLike], prior: ArrayLike) -> Figure:
    """Draw posterior samples over prior samples in the plane.

    Each observation has a panel.

    Parameters
    ----------
    seen : sequence of arrays, shape (2,)
        A coordinate that is nan was not seen, and is drawn as a line.
    samples : sequence of arrays, shape (m, 2)
    prior : array, shape (k, 2)
    """
    if len(seen) != len(samples) or not len(seen):
        raise InputError(f"there must be samples for each observation, got {len(samples)} for {len(seen)}")
    cloud, n = table(prior, "prior", columns=2), min(len(seen), _MOST)
    limit = 1.1 * float(np.abs(cloud).max())
    figure = new_figure(2.7 * min(n, 3) + 0.3, 2.7 * -(-n // 3) + 0.3, "Draws of the posterior over draws of the model.")
    for axes, y, x in zip(figure.subplots(-(-n // 3), min(n, 3), squeeze=False).flat, seen, samples, strict=False):
        draws = table(x, "samples", columns=2)
        axes.scatter(*cloud.T, s=2, c="#C9CED6", lw=0)
        axes.scatter(*draws.T, s=4, c=MODEL, lw=0, alpha=0.6)
        first, second = np.asarray(y, dtype=np.float64)
        if np.isnan(first) or np.isnan(second):
            for at, line in ((first, axes.axvline), (second, axes.axhline)):
                if np.isfinite(at):
                    line(at, color=DATA, lw=1)
        else:
            axes.plot(first, second, "+", color=DATA, ms=10, mew=2)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    return figure


@drawn
def posterior_intervals(seen: ArrayLike, low: ArrayLike, middle: ArrayLike, high: ArrayLike, names: Sequence[str]) -> Figure:
    """Draw credible intervals of every entry.

    Each observation has a panel, with observed entries as dots.

    Parameters
    ----------
    seen, low, middle, high : array, shape (n, d)
        Entries of ``seen`` that are nan were not seen.
    names : sequence of d strings
    """
    y = np.asarray(seen, dtype=np.float64)
    parts = [table(part, "intervals", columns=y.shape[1]) for part in (low, middle, high)]
    n, d = min(len(y), _MOST), y.shape[1]
    figure = new_figure(min(0.3 * d + 1.5, 12.0), 1.5 * n + 0.8, "Intervals of the posterior; dots are what was seen.")
    place = np.arange(d)
    for i, axes in enumerate(figure.subplots(n, 1, squeeze=False, sharex=True).flat):
        bottom, centre, top = (part[i] for part in parts)
        axes.vlines(place, bottom, top, color=MODEL, lw=4, alpha=0.4)
        axes.plot(place, centre, "_", color=MODEL, ms=9, mew=2)
        axes.plot(place, y[i], ".", color=DATA, ms=5)
        axes.axhline(0, color=INK, lw=0.3)
        axes.set_xticks(place, list(names), rotation=90 if max(map(len, names)) > 3 else 0)
    return figure
