"""The most and the least likely rows of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError
from quasistatic.plots.arrays import Floats
from quasistatic.plots.style import INK, MODEL, drawn, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["extreme_rows"]

_MOST_COLUMNS = 8


@drawn
def extreme_rows(
    cells: NDArray[Any],
    scores: ArrayLike,
    cell_scores: ArrayLike,
    names: Sequence[str],
    labels: Sequence[str],
    n: int = 5,
    unit: str = "nats",
) -> Figure:
    """Table of the n least and the n most likely rows.

    Parameters
    ----------
    cells : ndarray, shape (m, d)
        Numbers and texts; None or nan for what is missing.
    scores : array, shape (m,)
        Log density of each row.
    cell_scores : array, shape (m, d)
        How little each cell was to be expected, higher for what was less; only its order within a column counts. What is
        missing has nan.
    names : sequence of d strings
        Of the columns.
    labels : sequence of m strings
        What to call each row, such as its line.
    n : int
        Rows of either kind, fewer where there are fewer.
    unit : str
        Of the scores.

    Returns
    -------
    Figure
        The darker a cell, the fewer in its column are as surprising. Of many columns the eight are shown in which the least
        likely rows stand out most.

    Raises
    ------
    InputError
        If there are fewer than two rows, or names, labels, scores and surprises are not one for each.

    Examples
    --------
    >>> cells = np.array([[1.0, "a"], [2.0, "a"], [9.0, "b"]], dtype=object)
    >>> cell_scores = [[0.0, 0.1], [0.1, 0.1], [3.0, 2.0]]
    >>> figure = extreme_rows(cells, [-1.0, -1.2, -7.5], cell_scores, ["size", "sort"], ["line 2", "line 3", "line 4"], n=1)
    >>> "darker" in figure.get_label()
    True
    """
    score = np.asarray(scores, dtype=np.float64)
    m, d = cells.shape
    odd = np.asarray(cell_scores, dtype=np.float64)
    if m < 2 or len(score) != m or odd.shape != (m, d) or len(labels) != m or len(names) != d:
        raise InputError(
            f"a table of {m} rows and {d} columns, at least two rows, needs a score and label for each row, a score "
            f"for each cell and a name for each column, got {len(score)}, {len(labels)}, {odd.shape} and {len(names)}"
        )
    order = np.argsort(score, kind="stable")
    k = min(n, m // 2)
    shown = [*order[:k], *order[::-1][:k]]
    far = np.stack([_share_below(odd[:, j]) for j in range(d)], 1)
    columns = np.sort(np.argsort(-far[order[:k]].mean(0), kind="stable")[:_MOST_COLUMNS])
    caption = f"The {k} least and the {k} most likely of {m} rows, in {unit}. "
    caption += "The darker a cell, the fewer of its column are as surprising, given the rest of their rows."
    if d > len(columns):
        caption += f" Of {d} columns, the {len(columns)} in which the least likely stand out most."
    head = ["", f"log p, {unit}", *(_short(names[j], 12) for j in columns)]
    digits = {j: _digits(cells[:, j]) for j in columns}
    text = [[labels[i], f"{score[i]:.1f}", *(_as_text(cells[i, j], digits[j]) for j in columns)] for i in shown]
    wide = [max(len(row[c]) for row in (head, *text)) + 2 for c in range(len(head))]
    figure = new_figure(0.085 * sum(wide) + 0.2, 0.27 * (2 * k + 2) + 0.2, caption)
    axes = figure.subplots()
    axes.set_axis_off()
    left = np.concatenate([[0], np.cumsum(wide)])
    axes.set(xlim=(0, left[-1]), ylim=(2 * k + 2, 0))
    for c, word in enumerate(head):
        axes.text(left[c + 1] - 1, 0.5, word, ha="right", va="center", fontsize=9, weight="bold")
    for r, i in enumerate(shown):
        top = 1 + r + (r >= k)  # a line of space between the two kinds
        for c, word in enumerate(text[r]):
            if c > 1 and far[i, columns[c - 2]] > 0.5:
                axes.add_patch(_patch(left[c], top, wide[c], far[i, columns[c - 2]]))
            axes.text(left[c + 1] - 1, top + 0.5, word, ha="right", va="center", fontsize=9, color=INK)
    return figure


def _patch(left: float, top: float, width: float, oddness: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), width, 1, facecolor=MODEL, alpha=0.75 * float(oddness) ** 8, lw=0)


def _share_below(values: Floats) -> Floats:
    """Return the share of the column that is less than each value.

    It is 0 where a value is missing.
    """
    known = np.sort(values[~np.isnan(values)])
    share = np.searchsorted(known, values, "left") / max(1, len(known) - 1)
    return np.where(np.isnan(values), 0.0, share)


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _digits(column: NDArray[np.object_]) -> int:
    """Return how many significant digits separate the numbers of a column.

    At least 4, at most 12.
    """
    numbers = np.array([float(cell) for cell in column if not (_is_missing(cell) or isinstance(cell, str))])
    if len(numbers) < 2 or not numbers.std() > 0:
        return 4
    return int(np.clip(math.ceil(math.log10(np.abs(numbers).max() / numbers.std())) + 3, 4, 12))


def _as_text(cell: Any, digits: int) -> str:
    if _is_missing(cell):
        return "–"
    return _short(cell, 12) if isinstance(cell, str) else f"{float(cell):.{digits}g}"


def _short(text: str, most: int) -> str:
    return plain_label(text, most)
