"""The paper's figures of the swiss roll and the heartbeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats, bit_table, table
from quasistatic.plots.style import DATA, INK, MODEL, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["align_to_first_one", "heartbeat_figure", "swiss_roll_figure"]

Snapshot = tuple[str, ArrayLike]
Field = tuple[str, ArrayLike, ArrayLike]


@drawn
def swiss_roll_figure(forward: Sequence[Snapshot], reverse: Sequence[Snapshot], drift: Sequence[Field]) -> Figure:
    r"""Draw forward process, samples and drift of two-dimensional data.

    The rows are :math:`q(x_t)`, :math:`p(x_t)` and :math:`f_\mu(x_t, t) - x_t`; the columns are
    :math:`t = 0, T/2, T` from left to right, so the second row is read from right to left.

    Parameters
    ----------
    forward, reverse : three pairs (label, points)
        ``points`` has shape (n, 2), in model units. The labels of ``forward`` head the columns.
    drift : three triples (label, points, vectors)
        ``vectors[i]``, shape (n, 2), is drawn at ``points[i]``. The arrows of a panel share one factor, which
        the panel states: a drift of one step is too short to be seen at its true length.

    Returns
    -------
    Figure
        All panels show the square from -2 to 2, or slightly more where the first forward panel, the data,
        reaches further. A panel says how much of it lies outside.

    Raises
    ------
    InputError
        If a row has not three panels, or points or vectors are not finite tables with two columns.

    References
    ----------
    Sohl-Dickstein et al. (2015), Figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> rows = [(t, np.random.default_rng(0).normal(size=(50, 2))) for t in ("t = 0", "t = T/2", "t = T")]
    >>> figure = swiss_roll_figure(rows, rows, [(t, x, -0.1 * x) for t, x in rows])
    >>> len(figure.axes)
    9
    """
    for name, row in (("forward", forward), ("reverse", reverse), ("drift", drift)):
        if len(row) != 3:
            raise InputError(f"{name} must have three panels, for t = 0, T/2 and T, got {len(row)}")
    clouds = [[table(p, f"points of {label!r}", columns=2) for label, p in row] for row in (forward, reverse)]
    limit = max(2.0, 1.05 * float(np.abs(clouds[0][0]).max()))

    figure = new_figure(
        8.4, 8.6,
        "Data turns into noise (top, left to right); the model turns noise into data (middle, right to "
        "left) by following its learned drift (bottom).",
    )  # fmt: skip
    panels = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, cloud in zip(panels[0], clouds[0], strict=True):
        _scatter(axes, cloud, DATA, limit)
    for axes, cloud in zip(panels[1], clouds[1], strict=True):
        _scatter(axes, cloud, MODEL, limit)
    for axes, (label, points, vectors) in zip(panels[2], drift, strict=True):
        at = table(points, f"points of {label!r}", columns=2)
        factor = _arrows(axes, at, table(vectors, f"vectors of {label!r}", columns=2), limit)
        axes.set_title(f"{label} (arrows × {factor:g})")
    for over, under, (head, _), (label, _) in zip(panels[0], panels[1], forward, reverse, strict=True):
        over.set_title(head)
        if label != head:
            under.set_title(label)
    names = (r"$q(x_t)$", r"$p(x_t)$", r"drift $f_\mu(x_t,\, t) - x_t$")
    for axes, name in zip(panels[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=12)
    for axes in panels.flat:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axes.spines[["top", "right"]].set_visible(True)
    return figure


def _scatter(axes: Axes, points: Floats, colour: str, limit: float) -> None:
    # Fewer points are drawn larger, so that 200 and 20,000 both show a shape.
    size = float(np.clip(6000 / len(points), 1.0, 12.0))
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colour, alpha=0.55, linewidths=0)
    outside = np.mean((np.abs(points) > limit).any(axis=1))
    if outside > 0:
        axes.text(
            0.985, 0.015, f"{100 * outside:.1g} % outside", transform=axes.transAxes, ha="right", va="bottom",
            fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.5},
        )  # fmt: skip


def _arrows(axes: Axes, points: Floats, vectors: Floats, limit: float) -> float:
    """Draw arrows of vectors.

    Returns the factor by which the arrows are longer than the vectors.
    """
    if points.shape != vectors.shape:
        raise InputError(f"drift needs one vector per point, got {len(vectors)} for {len(points)}")
    length = np.hypot(vectors[:, 0], vectors[:, 1])
    # A long arrow (95th percentile) spans one and a half cells of a grid with that many points.
    long, cell = float(np.quantile(length, 0.95)), 2 * limit / math.sqrt(len(points))
    factor = 1.5 * min(cell, limit / 4) / long if long > 0 else 1.0
    factor = float(f"{factor:.2g}")
    axes.quiver(
        points[:, 0], points[:, 1], vectors[:, 0], vectors[:, 1], color=INK, angles="xy", scale_units="xy",
        scale=1 / factor, width=0.0055, headwidth=4, headlength=4.5, headaxislength=4, pivot="tail",
    )  # fmt: skip
    return factor


def align_to_first_one(bits: ArrayLike) -> NDArray[np.float64]:
    """Rotate each row until its first one is in column 0.

    Rows of zeros are unchanged.

    Parameters
    ----------
    bits : array, shape (n, d)
        Zeros and ones.

    Returns
    -------
    array, shape (n, d)
        Every row keeps its number of ones and the cyclic distances between them.

    Examples
    --------
    >>> align_to_first_one([[0, 0, 1, 0, 1]]).tolist()
    [[1.0, 0.0, 1.0, 0.0, 0.0]]
    """
    rows = bit_table(bits, "bits")
    shift = rows.argmax(axis=1)[:, None]
    return np.take_along_axis(rows, (np.arange(rows.shape[1]) + shift) % rows.shape[1], axis=1)


@drawn
def heartbeat_figure(panels: Sequence[Snapshot], *, align: bool = True) -> Figure:
    r"""Binary sequences as rasters, one sample per row, a one in black.

    Parameters
    ----------
    panels : pairs (label, bits)
        Three in the paper: samples, half-way, noise. ``bits`` has shape (n, d); the heartbeat has d = 20.
    align : bool
        Turn the rows of the first panel so that their first one stands in column 0. This is for the eye only,
        and the panel's title says so: the true phase is uniform.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is no panel, or a value is neither 0 nor 1.

    References
    ----------
    Sohl-Dickstein et al. (2015), Figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> figure = heartbeat_figure([("samples", np.eye(5)), ("noise", np.eye(5))])
    >>> figure.axes[0].get_title()
    'samples\nrows shifted for display'
    """
    if not panels:
        raise InputError("the heartbeat figure needs at least one panel, got none")
    rasters = [(label, bit_table(bits, f"bits of {label!r}")) for label, bits in panels]
    most = max(len(bits) for _, bits in rasters)
    caption = "One sequence per row, ones in black."
    if align:
        caption += (
            " In the first panel each row is shifted, for display only, so that its first one stands in"
            " column 0; the true phase is uniform."
        )
    figure = new_figure(2.9 * len(rasters) + 0.4, float(np.clip(0.085 * most, 2.2, 6.5)) + 0.9, caption)
    row = figure.subplots(1, len(rasters), squeeze=False)[0]
    for index, (axes, (label, bits)) in enumerate(zip(row, rasters, strict=True)):
        shifted = align and index == 0
        axes.imshow(
            align_to_first_one(bits) if shifted else bits, cmap="gray_r", vmin=0, vmax=1, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        # An empty second line keeps the titles of all panels on one height.
        second = "rows shifted for display" if shifted else " "
        axes.set_title(f"{label}\n{second}" if align else label)
        axes.set(xlabel="Bin", ylabel="Sample" if index == 0 else "")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelleft=index == 0 or len(bits) != len(rasters[0][1]))
        axes.set_xticks(range(0, bits.shape[1], 5 if bits.shape[1] <= 40 else max(1, bits.shape[1] // 8)))
        axes.spines[["top", "right"]].set_visible(True)
    return figure
