"""Cost and entropy of the reverse steps."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats, curves
from quasistatic.plots.style import BAND, DATA, INK, MODEL, NULL, OUTSIDE, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROUNDING = 1e-5  # of the largest entropy: sums of single precision

__all__ = ["cost_per_log_snr", "entropy_band", "outside_band", "step_costs"]


def cost_per_log_snr(log_snr: ArrayLike, cost: ArrayLike) -> tuple[Floats, Floats]:
    r"""Divide the cost of each step by its range of log-SNR.

    .. math:: c_t / (\lambda_{t-1} - \lambda_t)

    Parameters
    ----------
    log_snr, cost : array, shape (T,)
        Of steps 1 to T; ``log_snr`` falls with t.

    Returns
    -------
    edges : array, shape (K + 1,)
    density : array, shape (K,)
        For the K steps that start and end at a finite log-SNR, without step 1, which starts at the data; the
        area under ``density`` is their cost.

    Raises
    ------
    InputError
        If ``log_snr`` does not fall.

    Examples
    --------
    >>> edges, density = cost_per_log_snr([4.0, 2.0, 1.0], [9.0, 1.0, 3.0])
    >>> density.tolist()
    [0.5, 3.0]
    """
    snr, costs = curves(log_snr=log_snr, cost=cost)
    finite = np.isfinite(snr)
    # Several steps may share an infinite value, at the data or where nothing is left of it.
    still = np.flatnonzero((snr[1:] > snr[:-1]) | ((snr[1:] == snr[:-1]) & finite[1:]))
    if len(still):
        raise InputError(f"log_snr must fall with t, got {snr[still[0]]:g} then {snr[still[0] + 1]:g}")
    return snr[finite], costs[finite][1:] / -np.diff(snr[finite])


@drawn
def step_costs(log_snr: ArrayLike, cost: ArrayLike, standard_error: ArrayLike, unit: str = "bits") -> Figure:
    """Draw the cost of each reverse step.

    It is drawn by step, and per unit of log-SNR.

    Where the right curve is high a good schedule takes short steps, so that the left one is level.

    Parameters
    ----------
    log_snr, cost, standard_error : array, shape (T,)
        Log signal-to-noise ratio after step t = 1..T, mean cost of the reverse of step t, and its standard
        error.
    unit : str
        Unit of the cost.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If lengths differ, a value is nan, or ``log_snr`` does not fall with t.

    Examples
    --------
    >>> figure = step_costs([4.0, 2.0, -1.0], [0.2, 0.1, 0.05], [0.01, 0.01, 0.01])
    """
    snr, costs, errors = curves(log_snr=log_snr, cost=cost, standard_error=standard_error)
    edges, density = cost_per_log_snr(snr, costs)
    figure = new_figure(
        9.0, 3.8,
        f"Cost of the reverse steps in {unit}; error bars and shade are one standard error. The area under "
        "the right curve is the cost of its steps.",
    )  # fmt: skip
    left, right = figure.subplots(1, 2)
    steps = np.arange(1, len(costs) + 1)
    dots = len(steps) <= 100
    thin = 1.2 if dots else 0.7
    if dots:
        left.errorbar(steps, costs, yerr=errors, color=DATA, lw=thin, marker="o", ms=3, elinewidth=1)
    else:
        left.fill_between(steps, costs - errors, costs + errors, color=DATA, alpha=0.3, lw=0)
        left.plot(steps, costs, color=DATA, lw=thin)
    left.set(title=f"per step (total {costs.sum():.4g} {unit})", xlabel="step t", ylabel=f"cost ({unit})")
    left.locator_params(axis="x", integer=True)
    infinite = int((~np.isfinite(snr)).sum())
    left_out = f"\n{infinite} step{'s' * (infinite > 1)} at infinite log-SNR left out" if infinite else ""
    right.set(title="per unit of log-SNR", xlabel=f"log-SNR (data on the left, noise on the right){left_out}",
              ylabel=f"cost ({unit} per unit)")  # fmt: skip
    if len(density):
        shade = errors[np.isfinite(snr)][1:] / -np.diff(edges)
        # stairs needs increasing edges.
        low, middle, high = (values[::-1] for values in (density - shade, density, density + shade))
        right.stairs(high, edges[::-1], baseline=low, fill=True, color=MODEL, alpha=0.3)
        right.stairs(middle, edges[::-1], color=MODEL, lw=thin, baseline=None)
        right.set_xlim(edges[0], edges[-1])
    for axes in (left, right):
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.axhline(0, color=NULL, lw=0.8, zorder=1)
    return figure


def outside_band(lower: ArrayLike, upper: ArrayLike, model: ArrayLike) -> NDArray[np.bool_]:
    """Which entries of ``model`` lie strictly below ``lower`` or strictly above ``upper``.

    Examples
    --------
    >>> outside_band([0, 0, 0], [1, 1, 1], [-0.1, 1.0, 1.1]).tolist()
    [True, False, True]
    """
    low, high, own = curves(lower=lower, upper=upper, model=model)
    return (own < low) | (own > high)


@drawn
def entropy_band(
    log_snr: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    model: ArrayLike,
    names: tuple[str, str, str] = ("lower bound", "upper bound", "model"),
    *,
    unit: str = "bits",
    error: ArrayLike | None = None,
    unmet: str = "",
) -> Figure:
    r"""Draw the possible and the actual entropy of each reverse step.

    The forward process alone confines the conditional entropy of a reverse step, whatever the data:

    .. math:: H(X_t|X_{t-1}) + H(X_{t-1}|X_0) - H(X_t|X_0) \le H(X_{t-1}|X_t) \le H(X_t|X_{t-1}).

    A model outside the band is wrong at that step. The lower bound holds for any data, the upper one for data of unit
    second moment at most, or of the base rate. Above, the values; below, the same less the lower bound, where a narrow
    band can be seen.

    Parameters
    ----------
    log_snr, lower, upper, model : array, shape (T,)
        One entry per reverse step. Steps at infinite log-SNR are drawn at the rim.
    names : three strings
        What the two bounds and the model are called in the legend.
    unit : str
        Unit of the entropies.
    error : array, shape (T,), optional
        Standard errors of ``model``. A step is marked if it is outside by more than three of them, or by more than so
        many that chance marks any step in one figure of a hundred.
    unmet : str
        Why the upper bound need not hold for this data: then no step above it is marked, and the caption says why.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If lengths differ, a value is nan, or a lower bound exceeds its upper bound.

    References
    ----------
    Sohl-Dickstein et al. (2015), eq. 24.

    Examples
    --------
    >>> figure = entropy_band([4.0, 2.0, 0.0], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.5, 2.5, 2.5])
    """
    snr, low, high, own = curves(log_snr=log_snr, lower=lower, upper=upper, model=model)
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        i = crossed[0]
        raise InputError(f"the lower bound must not exceed the upper, got {low[i]:g} and {high[i]:g} at entry {i}")
    (errors,) = (np.zeros_like(own),) if error is None else curves(error=error)
    limit = _clear(len(own)) * _steadied(errors) + _ROUNDING * max(np.abs(low).max(), np.abs(high).max())
    above_it, below_it = own - high, low - own
    excess = below_it if unmet else np.maximum(below_it, above_it)
    out = excess > limit
    title, caption = _in_words(out, excess, errors, unit)
    caption = (
        f"Entropy of each reverse step in {unit}. The band is what the forward process alone allows (eq. 24): a model "
        f"clearly outside it is wrong at that step. {caption}"
    )
    if unmet:
        title += "; the upper bound need not hold"
        caption += (
            f" The upper bound need not hold for this data ({unmet}): the {int((above_it > 0).sum())} steps above it mean "
            "nothing and are not marked."
        )
    figure = new_figure(7.4, 5.8, caption)
    x = _at_the_rim(snr)
    for axes, base in zip(figure.subplots(2, 1, sharex=True), (np.zeros_like(low), low), strict=True):
        axes.fill_between(x, low - base, high - base, color=BAND, alpha=0.3, lw=0)
        axes.plot(x, high - base, color=DATA, lw=1.2, ls="--", label=names[1])
        axes.plot(x, low - base, color=DATA, lw=1.2, label=names[0])
        axes.plot(x, own - base, color=INK, lw=1.4, marker="o" if len(x) <= 100 else None, ms=3, label=names[2])
        if errors.any():
            shade = f"model ± {_clear(len(own)):.2g} standard errors"
            axes.fill_between(x, own - base - limit, own - base + limit, color=NULL, alpha=0.3, lw=0, label=shade)
        if out.any():
            axes.plot(
                x[out], (own - base)[out], ls="", marker="X", ms=7, mfc=OUTSIDE, mec="white", mew=0.6,
                label=f"clearly outside ({out.sum()} of {len(out)} steps)", zorder=4,
            )  # fmt: skip
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    above, below = figure.axes
    above.set_title(title, loc="left")
    above.set_ylabel(f"entropy ({unit})")
    below.set_ylabel(f"above the\n{names[0]} ({unit})")
    below.set_xlabel("log-SNR (data on the left, noise on the right)")
    below.invert_xaxis()
    figure.align_ylabels()
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=5, columnspacing=1.2, fontsize=8.5)
    return figure


def _clear(n_steps: int) -> float:
    """Return the number of standard errors that marks a step.

    Chance marks a step in one figure of a hundred.
    """
    return max(3.0, NormalDist().inv_cdf(1.0 - 0.005 / n_steps))


def _steadied(errors: Floats) -> Floats:
    """Raise each error to the median of its neighbours.

    With few rows a rare value may be missing, and the error looks too small.
    """
    reach = min(10, (len(errors) - 1) // 2)
    padded = np.pad(errors, reach, mode="edge")
    return np.maximum(errors, np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1))


def _in_words(out: NDArray[np.bool_], excess: Floats, errors: Floats, unit: str) -> tuple[str, str]:
    """Return the title, and the caption about steps outside the band."""
    n, beyond = len(out), int((excess > 0).sum())
    times = f"{_clear(n):.2g} standard errors"
    if out.any():
        i = int(np.where(out, excess, -np.inf).argmax())
        how = f", {excess[i] / errors[i]:.2g} standard errors" if excess[i] <= 1e6 * errors[i] else ""
        marked = f"{out.sum()} of {n} steps are outside by more than {times if errors.any() else 'rounding'} (crosses)"
        worst = f"the one furthest outside is so by {excess[i]:.2g} {unit}{how}. The model can be improved there."
        return f"{out.sum()} of {n} steps are clearly outside what is possible", f"{marked}; {worst}"
    if beyond:
        by = "no more than chance allows" if errors.any() else "by rounding alone"
        inside = f"No step is outside by more than {times}: {beyond} of {n} are outside by {excess.max():.2g} {unit} at most"
        return f"No step is clearly outside what is possible ({n} steps)", f"{inside}, {by}."
    return f"All {n} steps are inside what is possible", f"All {n} steps are inside."


def _at_the_rim(log_snr: Floats) -> Floats:
    """Move infinite values to 5 % beyond the finite ones.

    All steps remain visible.
    """
    finite = log_snr[np.isfinite(log_snr)]
    if not len(finite):
        return np.sign(log_snr)
    margin = 0.05 * (finite.max() - finite.min()) or 1.0
    return np.clip(log_snr, finite.min() - margin, finite.max() + margin)
