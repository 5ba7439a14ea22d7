r"""Calibration of posteriors and distances between samples.

If :math:`x \sim p` and :math:`y \sim p(y \mid x)`, then :math:`x` and draws of :math:`p(x \mid y)` have the same
distribution. The rank of the truth among them is uniform for every model (Talts et al. 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats
from quasistatic.plots.style import BAND, MODEL, TRUTH, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Coverage", "coverage", "energy_score", "rank_histogram", "rank_test", "ranks", "sliced_wasserstein"]


class Coverage(NamedTuple):
    """Share of truths inside their intervals.

    It has a standard error over problems and their number.
    """

    share: float
    standard_error: float
    n: int


def ranks(truth: ArrayLike, samples: ArrayLike, weights: ArrayLike | None = None, seed: int = 0) -> Floats:
    r"""Compute the rank of each truth among its draws.

    The ranks are from 0 to 1, for simulation-based calibration.

    .. math:: u = \sum_i w_i\, [x_i < x] + v \sum_i w_i\, [x_i = x], \qquad v \sim U(0, 1),

    uniform if the posterior is right; ties, as there are for discrete data, are broken at random. With N draws of equal
    weight the rank is one of N + 1 places, and is spread evenly over its own.

    Parameters
    ----------
    truth : array, shape (n, d)
        What was known when y was made, one row for each problem.
    samples : array, shape (n, N, d)
    weights : array, shape (n, N), optional
        Posterior weights; equal ones if not given.

    Returns
    -------
    array, shape (n, d)

    Examples
    --------
    >>> samples = np.arange(10.0).reshape(1, 10, 1)
    >>> bool(0.4 <= ranks([[4.5]], samples)[0, 0] <= 0.55)      # five of ten draws lie below
    True
    """
    x, y, w = _checked(truth, samples, weights)
    v = np.random.default_rng(seed).random(x.shape)
    n_draws = y.shape[1]
    below = (w[:, :, None] * (y < x[:, None])).sum(1)
    equal = (w[:, :, None] * (y == x[:, None])).sum(1)
    # the truth is one draw more, of the weight of an average one
    return np.asarray((n_draws * (below + v * equal) + v) / (n_draws + 1.0))


def rank_test(u: ArrayLike, bins: int = 20) -> float:
    """Two-sided p-value that ranks (n,) are uniform, by chi-square over equal bins."""
    from scipy.stats import chi2

    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 1 or len(u) < 5 * bins:
        raise InputError(f"a test of ranks with {bins} bins needs at least {5 * bins} in one row, got shape {u.shape}")
    counts = np.histogram(u, bins, (0.0, 1.0))[0]
    square = float(((counts - len(u) / bins) ** 2).sum() * bins / len(u))
    return 2.0 * min(float(chi2.sf(square, bins - 1)), float(chi2.cdf(square, bins - 1)))


def coverage(u: ArrayLike, level: float = 0.9) -> Coverage:
    """Share of truths inside the central credible interval of each problem.

    Parameters
    ----------
    u : array, shape (n,) or (n, d)
        From :func:`ranks`. With d entries for each problem, which hang together, the error is that over problems.
    level : float
        Weight inside the interval, between 0 and 1.

    Examples
    --------
    >>> coverage([0.02, 0.3, 0.5, 0.97], level=0.9).share
    0.5
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"the level of an interval must lie between 0 and 1, got {level}")
    u = np.asarray(u, dtype=np.float64)
    inside = np.abs(u - 0.5) <= 0.5 * level
    each = inside.reshape(len(inside), -1).mean(1)
    error = float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else float("nan")
    return Coverage(float(each.mean()), error, len(each))


def energy_score(truth: ArrayLike, samples: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    r"""Compute the energy score of each problem.

    .. math:: E\,|X - x| - \frac12 E\,|X - X'|

    Lower is better.

    A proper score: on average over problems the right posterior has the lowest. In one dimension it is the continuous
    ranked probability score (Gneiting and Raftery 2007). The second term is unbiased for draws of equal weight.

    Examples
    --------
    Two draws, at 0 and at 2, for a truth at 1: 1 - 2 / 2.

    >>> energy_score([[1.0]], [[[0.0], [2.0]]]).tolist()
    [0.0]
    """
    x, y, w = _checked(truth, samples, weights)
    near = (w * np.linalg.norm(y - x[:, None], axis=2)).sum(1)
    wide = np.empty(len(x))
    for i, (draws, weight) in enumerate(zip(y, w, strict=True)):
        apart = np.linalg.norm(draws[:, None] - draws[None], axis=2)
        wide[i] = weight @ apart @ weight / max(1.0 - weight @ weight, 1e-300)
    return np.asarray(near - 0.5 * wide)


def sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    n_directions: int = 64,
    seed: int = 0,
) -> float:
    """Compute the sliced Wasserstein distance of two weighted samples.

    The samples are (n, d) and (m, d). One-dimensional distances are averaged over directions.

    In two dimensions the directions are spread evenly, else drawn at random.

    Examples
    --------
    A shift by 1 in the plane, seen from all sides:

    >>> round(sliced_wasserstein(np.zeros((5, 2)), np.zeros((7, 2)) + [1.0, 0.0]) * np.pi / 2, 3)
    1.0
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"samples must be tables with as many columns, got shapes {a.shape} and {b.shape}")
    if a.shape[1] == 2:
        angle = np.pi * (np.arange(n_directions) + 0.5) / n_directions
        directions = np.stack([np.cos(angle), np.sin(angle)])
    else:
        directions = np.random.default_rng(seed).standard_normal((a.shape[1], n_directions))
        directions /= np.linalg.norm(directions, axis=0)
    w, v = (np.full(len(s), 1 / len(s)) if given is None else np.asarray(given, dtype=np.float64)
            for s, given in ((a, weights_x), (b, weights_y)))  # fmt: skip
    return float(np.mean([_wasserstein(a @ d, b @ d, w, v) for d in directions.T]))


def _wasserstein(a: Floats, b: Floats, w: Floats, v: Floats) -> float:
    """Area between two distribution functions."""
    places = np.concatenate([a, b])
    order = np.argsort(places, kind="stable")
    ahead = np.concatenate([w / w.sum(), -v / v.sum()])[order].cumsum()
    return float(np.abs(ahead[:-1]) @ np.diff(places[order]))


@drawn
def rank_histogram(u: ArrayLike, bins: int = 20) -> Figure:
    """Draw a histogram of ranks.

    It is flat if the posteriors are right; the band then holds 95 % of the bars.

    A hill in the middle means posteriors too wide, a valley too narrow, a slope that they lie too far to one side.
    """
    from scipy.stats import binom

    u = np.asarray(u, dtype=np.float64).ravel()
    counts, edges = np.histogram(u, bins, (0.0, 1.0))
    low, high = (float(binom.ppf(q, len(u), 1 / bins)) for q in (0.025, 0.975))
    figure = new_figure(5.0, 3.0, f"Ranks of {len(u)} truths among the draws of their posteriors; flat is right.")
    axes = figure.subplots()
    axes.axhspan(low, high, color=BAND, alpha=0.3, lw=0)
    axes.stairs(counts, edges, fill=True, color=MODEL, alpha=0.5)
    axes.axhline(len(u) / bins, color=TRUTH, lw=1.2)
    axes.set(xlabel="rank of the truth", ylabel="problems", xlim=(0, 1))
    return figure


def _checked(truth: ArrayLike, samples: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    x, y = np.asarray(truth, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 3 or (len(x), x.shape[1]) != (len(y), y.shape[2]) or y.shape[1] < 1:
        raise InputError(f"truths must have shape (n, d) and samples (n, N, d), got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("truths and samples must be finite")
    w = np.ones(y.shape[:2]) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != y.shape[:2] or (w < 0).any() or not (w.sum(1) > 0).all():
        raise InputError(f"weights must be positive or zero, of shape {y.shape[:2]}, got {w.shape}")
    return x, y, w / w.sum(1, keepdims=True)
