"""Columns of classes in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from quasistatic.plots.arrays import Floats
from quasistatic.plots.bits import binomial_interval
from quasistatic.plots.style import DATA, INK, MODEL, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["class_names", "class_shares", "pooled", "shares_of_pairs"]

_MOST_CLASSES = 10
_MOST_WRITTEN = 3  # classes a side whose shares are written out
_LONGEST = 12  # characters of the name of a class


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


def shares_of_pairs(axes: Axes, data: Floats, samples: Floats, sizes: tuple[int, int]) -> None:
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
