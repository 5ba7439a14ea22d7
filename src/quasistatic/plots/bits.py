"""Rates and correlations of bits, data against samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats, bit_table
from quasistatic.plots.style import BAND, MODEL, NULL, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["binomial_interval", "bit_rates"]

_MOST_PAIRS = 10_000


def binomial_interval(ones: ArrayLike, n: int) -> tuple[Floats, Floats]:
    r"""Return Wilson's interval of one standard error.

    The rate is observed as ``ones`` out of ``n``.

    The rates p with :math:`|k/n - p| \le \sqrt{p(1-p)/n}`: the error is that of the true rate, not of the one
    seen, so the interval does not vanish for a bit that was never one.

    Examples
    --------
    >>> low, high = binomial_interval(0, 9)
    >>> float(low), float(high)
    (0.0, 0.1)
    """
    k = np.asarray(ones, dtype=np.float64)
    centre = (k + 0.5) / (n + 1)
    half = np.sqrt(k * (n - k) / n + 0.25) / (n + 1)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


@drawn
def bit_rates(data: ArrayLike, samples: ArrayLike) -> Figure:
    """Draw rates and correlations of bits, data against samples.

    Left, the mean of each bit with binomial error bars (Wilson, one standard error) in both directions.
    Right, the correlation of each pair of bits, with the band of two standard errors that uncorrelated bits
    would fill. A perfect model lies on the diagonals.

    Parameters
    ----------
    data : array, shape (n, d)
    samples : array, shape (m, d)

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the tables differ in their columns or hold anything but 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> bits = np.random.default_rng(0).random((2, 100, 4)) < 0.2
    >>> figure = bit_rates(bits[0], bits[1])
    """
    real, made = bit_table(data, "data"), bit_table(samples, "samples")
    if real.shape[1] != made.shape[1]:
        raise InputError(f"samples must have the columns of the data, {real.shape[1]}, got {made.shape[1]}")
    figure = new_figure(
        8.4, 4.65,
        f"Rates and pairwise correlations of the bits: {len(made)} samples against {len(real)} rows of data.",
    )  # fmt: skip
    rates, pairs = figure.subplots(1, 2)
    errors = [np.abs(np.stack(binomial_interval(x.sum(0), len(x))) - x.mean(0)) for x in (real, made)]
    low = min(float(x.mean(0).min()) for x in (real, made))
    high = max(float(x.mean(0).max()) for x in (real, made))
    margin = max(0.05 * (high - low), 1.5 * max(float(error.max()) for error in errors), 0.01)
    frame = (low - margin, high + margin)
    rates.plot(frame, frame, color=NULL, lw=1, zorder=1)
    rates.errorbar(
        real.mean(0), made.mean(0), xerr=errors[0], yerr=errors[1], fmt="o", ms=4, color=MODEL,
        ecolor="#E9B38D", elinewidth=1, zorder=2,
    )  # fmt: skip
    rates.set(xlim=frame, ylim=frame, title="mean of each bit\n(bars: one standard error)", xlabel="data",
              ylabel="samples")  # fmt: skip

    x, y, constant = _correlations(real, made)
    stride = math.ceil(max(len(x), 1) / _MOST_PAIRS)
    reach = 1.1 * max(0.1, float(np.abs(np.concatenate([x, y, [0.0]])).max()))
    line = np.array([-reach, reach])
    width = 2 * math.sqrt(1 / len(real) + 1 / len(made))
    pairs.fill_between(line, line - width, line + width, color=BAND, alpha=0.25, lw=0)
    pairs.plot(line, line, color=NULL, lw=1, zorder=1)
    size = float(np.clip(3000 / max(len(x), 1), 3, 16))
    pairs.scatter(x[::stride], y[::stride], s=size, c=MODEL, alpha=0.5, linewidths=0, zorder=2)
    left_out = [f"pairs with a constant bit left out: {constant}"] if constant else []
    left_out += [f"one pair in {stride} drawn"] if stride > 1 else []
    pairs.set(
        xlim=(-reach, reach), ylim=(-reach, reach), ylabel="samples", xlabel="\n".join(["data", *left_out]),
        title="correlation of each pair of bits\n(band: two standard errors of uncorrelated bits)",
    )  # fmt: skip
    for axes in (rates, pairs):
        axes.set_aspect("equal")
        axes.locator_params(nbins=6)
    return figure


def _correlations(real: Floats, made: Floats) -> tuple[Floats, Floats, int]:
    """Return the correlations of all pairs in both tables.

    The number of pairs without a correlation is returned too.
    """
    above = np.triu_indices(real.shape[1], k=1)
    both = []
    for bits in (real, made):
        centred = bits - bits.mean(0)
        std = np.sqrt(np.mean(centred**2, axis=0))
        scaled = np.divide(centred, std, out=np.full_like(centred, np.nan), where=std > 0)
        both.append((scaled.T @ scaled / len(bits))[above])
    defined = np.isfinite(both[0]) & np.isfinite(both[1])
    return both[0][defined], both[1][defined], int((~defined).sum())
