"""Files of tables through a trained model: scored, filled, and written with the columns they came with."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from quasistatic.data.tables import read_cells, read_cells_in_parts
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, unit_divisor
from quasistatic.estimator import DiffusionDensity
from quasistatic.recipes.table import encoded

__all__ = ["impute_file", "score_file", "write_rows", "writing_text"]

PART = 5000  # rows that are read, scored and written at once


@contextmanager
def writing_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that is there whole or not at all."""
    from quasistatic.report import whole_file

    if path.suffix != ".csv":
        raise InputError(f"tables are written as .csv, got {path.name!r}")
    try:
        with whole_file(path) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            yield text
            text.detach().flush()  # type: ignore[attr-defined]
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def write_rows(file: TextIO, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells; numbers with all the digits that they need, whole ones without a point."""
    writer = csv.writer(file, lineterminator="\n")
    for row in rows:
        writer.writerow([_spelled(cell) for cell in row])


def _spelled(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float | np.floating):
        number = float(cell)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.9g}"
    return str(cell)


def score_file(density: DiffusionDensity, data: Path, out: Path, unit: str = "nats") -> dict[str, Any]:
    """Write the log density of each row of a file, with its line; read, score and write some rows at a time.

    Returns
    -------
    dict
        ``n``, and over the rows that are possible ``mean`` and ``standard_error``; ``impossible`` counts the others.
    """
    import torch

    divisor = unit_divisor(unit, (len(density.columns_),))
    scores: list[NDArray[np.float64]] = []
    with writing_text(out) as file:
        write_rows(file, [["line", f"log_density_{unit}", "anomaly_score"]])
        for cells in read_cells_in_parts(data, PART):
            x, wrong = encoded(density.columns_, cells)
            told = density.score_coded(x).masked_fill(wrong, -math.inf).numpy() / divisor
            write_rows(file, zip(cells.lines, told.tolist(), (-told).tolist(), strict=True))
            scores.append(told)
    if not scores:
        raise InputError(f"{data.name} has no rows")
    every = np.concatenate(scores)
    possible = every[np.isfinite(every)]
    answer: dict[str, Any] = {"file": str(out), "n": len(every), "impossible": len(every) - len(possible), "unit": unit}
    if len(possible):
        estimate = Estimate.of(torch.as_tensor(possible), "nats")
        answer |= {"mean": estimate.value, "standard_error": estimate.standard_error}
    return answer


def impute_file(density: DiffusionDensity, data: Path, out: Path, n_draws: int, seed: int) -> dict[str, Any]:
    """Write a file again with its holes filled, and beside it the draws of every hole.

    A number gets the mean of its draws, a whole number or level the nearest one to it, a bit or class the most frequent.
    ``OUT-draws.csv`` has a line for each hole: its line and column, the 5, 50 and 95 % quantiles of numbers, all draws.
    """
    cells = read_cells(data)
    x, wrong = encoded(density.columns_, cells)
    if wrong.any():
        line = cells.lines[int(wrong.int().argmax())]
        raise InputError(f"line {line} of {data.name} holds a value that was never possible, so it cannot be filled")
    imputed = density.impute_coded(x, n_draws, random_state=seed)
    filled, low, middle, high = imputed.mean, *(imputed.quantile(q) for q in (0.05, 0.5, 0.95))
    beside = out.with_name(f"{out.stem}-draws.csv")
    n_holes = 0
    with writing_text(out) as file, writing_text(beside) as draws:
        write_rows(file, [cells.names])
        draw_names = [f"draw_{k + 1}" for k in range(n_draws)]
        write_rows(draws, [["line", "column", "q05", "q50", "q95", *draw_names]])
        for i, line in enumerate(cells.lines):
            row: list[Any] = []
            for j, column in enumerate(density.columns_):
                cell = cells.columns[j][i]
                if not _is_missing(cell):
                    row.append(cell)
                    continue
                value = filled[i, j]
                row.append(round(float(value)) if column.kind in ("integer", "ordinal") else value)
                if column.kind != "constant":
                    n_holes += 1
                    quantiles = [low[i, j], middle[i, j], high[i, j]]
                    write_rows(draws, [[line, column.name, *quantiles, *imputed.draws[:, i, j]]])
            write_rows(file, [row])
    ess = imputed.ess[~np.isnan(imputed.ess)]
    answer = {"file": str(out), "draws": str(beside), "n": len(x), "holes": n_holes, "n_draws": n_draws}
    if len(ess):
        answer |= {"least_effective_particles": float(ess.min()), "median_effective_particles": float(np.median(ess))}
    return answer


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
