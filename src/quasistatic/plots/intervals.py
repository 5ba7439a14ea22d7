"""Coverage of intervals against their level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.bits import binomial_interval
from quasistatic.plots.calibration import coverage
from quasistatic.plots.style import BAND, MODEL, TRUTH, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["coverage_curve"]

_LEVELS = np.arange(1, 20) / 20


@drawn
def coverage_curve(u: ArrayLike, what: str = "truths") -> Figure:
    """Draw the coverage of central intervals against their level.

    A calibrated model lies on the diagonal.

    Parameters
    ----------
    u : array, shape (n,)
        Ranks of the truths among the draws, from :func:`~quasistatic.plots.ranks`.
    what : str
        What the truths are, for the caption.

    Returns
    -------
    Figure
        Points have binomial errors of one standard deviation (Wilson); the band holds 95 % of a calibrated model's.

    Raises
    ------
    InputError
        If there are no ranks, or they do not lie between 0 and 1.

    Examples
    --------
    >>> figure = coverage_curve(np.linspace(0.01, 0.99, 50))
    >>> figure.axes[0].get_xlabel()
    'level of the interval, %'
    """
    from scipy.stats import binom

    ranks = np.asarray(u, dtype=np.float64)
    if ranks.ndim != 1 or not len(ranks) or not ((ranks >= 0) & (ranks <= 1)).all():
        raise InputError(f"ranks must be one row of numbers between 0 and 1, got shape {ranks.shape}")
    n = len(ranks)
    share = np.array([coverage(ranks, level).share for level in _LEVELS])
    error = np.abs(np.stack(binomial_interval(share * n, n)) - share)
    caption = (
        f"Coverage of central intervals, {n} {what}. Bars: one binomial standard error. Band: 95 % of what calibrated "
        "intervals would show, as if all were independent. Below the diagonal, intervals are too narrow."
    )
    figure = new_figure(4.4, 4.2, caption)
    axes = figure.subplots()
    fine = np.linspace(0.0, 1.0, 201)
    low, high = (100 * binom.ppf(q, n, fine) / n for q in (0.025, 0.975))
    axes.fill_between(100 * fine, low, high, color=BAND, alpha=0.3, lw=0, label="by chance")
    axes.plot([0, 100], [0, 100], color=TRUTH, lw=1.2, label="calibrated")
    axes.errorbar(100 * _LEVELS, 100 * share, 100 * error, fmt="o", ms=3.5, lw=1, color=MODEL, label="model")
    axes.set(xlabel="level of the interval, %", ylabel="truths inside, %", xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.legend(loc="upper left")
    return figure
