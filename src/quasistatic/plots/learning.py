"""The bound while a model learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from quasistatic.plots.arrays import Floats
from quasistatic.plots.style import DATA, MODEL, NULL, TRUTH, drawn, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curve"]

ROOM, REACH = 1.5, 4.0


@drawn
def learning_curve(
    records: Sequence[Mapping[str, Any]],
    *,
    truth: float | None = None,
    null: float | None = None,
    unit: str = "bits",
) -> Figure:
    """Draw the bound against the number of updates.

    Parameters
    ----------
    records : list of dicts, the lines of ``metrics.jsonl``
        Keys ``step``, ``seconds``, ``train``, ``validation``, ``validation_se``; any may be missing, None or
        nan in any record, and is then not drawn.
    truth, null : float, optional
        True mean log probability and that of the null model, drawn as horizontal lines.
    unit : str
        Unit of all values, for the axis.

    Returns
    -------
    Figure
        Framed by the second half of the training; triangles stand for values outside, and the axis counts them.

    Examples
    --------
    >>> lines = [{"update": 1, "train": -3.0}, {"update": 2, "validation": 0.9, "validation_se": 0.1}]
    >>> figure = learning_curve(lines, truth=2.704, null=-4.094)
    """
    train, validation = _series(records, "train"), _series(records, "validation", "validation_se")
    seconds = [record["seconds"] for record in records if _number(record.get("seconds"))]
    figure = new_figure(7.2, 4.0, f"Bound in {unit} while training; error bars are one standard error.")
    axes = figure.subplots()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_ylabel(f"bound ({unit})")
    label = "training step" + (f" (the last after {_duration(max(seconds))})" if seconds else "")
    if not len(train) and not len(validation):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center", va="center", color=NULL)
    if len(train):
        axes.plot(train[:, 0], train[:, 1], color=DATA, lw=0.8, alpha=0.7, label="train")
    if len(validation):
        axes.errorbar(
            validation[:, 0], validation[:, 1], yerr=validation[:, 2], color=MODEL, lw=1.4, marker="o",
            ms=3.5, capsize=2, elinewidth=1, label="validation",
        )  # fmt: skip
    lines = [(truth, TRUTH, "--", "true value"), (null, NULL, ":", "null model")]
    low, high = _frame(train, validation, [v for v, *_ in lines if v is not None and _number(v)])
    for value, colour, dashes, name in lines:
        if value is not None and _number(value):
            where = "" if low <= value <= high else f" ({'below' if value < low else 'above'} the frame)"
            axes.axhline(value, color=colour, ls=dashes, lw=1.3, label=f"{name} {value:.4g}{where}")
    axes.set_ylim(low, high)
    outside = _mark_outside(axes, train, DATA) + _mark_outside(axes, validation, MODEL)
    if outside:
        label += f"\n{outside} of {len(train) + len(validation)} values outside the frame, at the triangles"
    axes.set_xlabel(label)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # matplotlib lists lines before error bars; the two curves belong together.
        order = sorted(range(len(labels)), key=lambda i: labels[i] not in ("train", "validation"))
        figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside upper center", ncols=4)
    return figure


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _series(records: Sequence[Mapping[str, Any]], key: str, error: str = "") -> Floats:
    """Return rows (update, value, error) of the log.

    Records without a value are left out; the error may be nan.
    """
    rows = [
        (record["update"], record[key], record[error] if _number(record.get(error)) else math.nan)
        for record in records
        if _number(record.get("update")) and _number(record.get(key))
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _mark_outside(axes: Axes, rows: Floats, colour: str) -> int:
    """Put triangles at the edge for values beyond it, and count them."""
    low, high = axes.get_ylim()
    for beyond, edge, marker in ((rows[:, 1] < low, 0.015, "v"), (rows[:, 1] > high, 0.985, "^")):
        if beyond.any():
            steps = rows[beyond, 0]
            axes.plot(
                steps, np.full(len(steps), edge), marker, color=colour, ms=5, alpha=0.8, lw=0,
                transform=axes.get_xaxis_transform(), clip_on=False, label="_outside",
            )  # fmt: skip
    return int(((rows[:, 1] < low) | (rows[:, 1] > high)).sum())


def _frame(train: Floats, validation: Floats, marks: list[float]) -> tuple[float, float]:
    """Return limits of the axis by the second half of the training.

    Earlier values and lines may lie outside.

    A run starts far below and its estimates scatter: the frame leaves room of ROOM times the spread of the second half,
    and a horizontal line may extend it by REACH times as much.
    """
    values = np.concatenate([train[:, 1], validation[:, 1]])
    if not len(values):
        return 0.0, 1.0
    settled: list[float] = []
    for rows in (train, validation):
        if len(rows):
            late = rows[len(rows) // 2 :]
            error = np.nan_to_num(late[:, 2])
            settled += [*np.quantile(late[:, 1] - error, [0.01]), *np.quantile(late[:, 1] + error, [0.995])]
    low, high = min(settled), max(settled)
    spread = high - low
    near = [mark for mark in marks if spread == 0 or low - REACH * spread <= mark <= high + REACH * spread]
    rows = np.concatenate([train, validation])
    rows = rows[(values >= low - ROOM * spread) & (values <= high + ROOM * spread)]
    error = np.nan_to_num(rows[:, 2])
    kept = [low, high, *near, *(rows[:, 1] - error), *(rows[:, 1] + error)]
    margin = 0.06 * (max(kept) - min(kept)) or 0.5
    return min(kept) - margin, max(kept) + margin


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
