"""Files of tables through a trained model: scored, filled, and written with the columns they came with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import require_memory, whole_number
from quasistatic.io.tables import Cells, read_cells_in_parts
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, unit_divisor
from quasistatic.estimator import DiffusionDensity
from quasistatic.tables.columns import Column
from quasistatic.tables.imputing import Imputed
from quasistatic.tables.cells import cell_type, encoded
from quasistatic.io.table_writing import ENDINGS, is_missing, writing_table

__all__ = ["check_files", "impute_file", "score_file"]

PART = 5000  # rows that are read, scored and written at once


def check_files(columns: list[Column], data: Path, out: Path) -> None:
    """Refuse files that cannot be read or written, or hold other columns, before anything takes time."""
    if out.suffix not in ENDINGS:
        raise InputError(f"tables are written as .csv or .parquet, got {out.name!r}")
    if (first := next(iter(read_cells_in_parts(data, 1)), None)) is None:
        raise InputError(f"{data.name} has no rows")
    encoded(columns, first)


def score_file(density: DiffusionDensity, data: Path, out: Path, unit: str = "nats") -> dict[str, Any]:
    """Write the log density of each row of a file, with its line; read, score and write some rows at a time.

    Returns
    -------
    dict
        ``n``, and over the rows that are possible ``mean`` and ``standard_error``; ``impossible`` counts the others.
    """
    import torch

    check_files(density.columns_, data, out)
    divisor = unit_divisor(unit, (len(density.columns_),))
    scores: list[NDArray[np.float64]] = []
    with writing_table(out, ["line", f"log_density_{unit}", "anomaly_score"], [int, float, float]) as write:
        for cells in read_cells_in_parts(data, PART):
            x, wrong = encoded(density.columns_, cells)
            told = density.score_coded(x).masked_fill(wrong, -math.inf).numpy() / divisor
            write(zip(cells.lines, told.tolist(), (-told).tolist(), strict=True))
            scores.append(told)
    every = np.concatenate(scores)
    possible = every[np.isfinite(every)]
    answer: dict[str, Any] = {"file": str(out), "n": len(every), "impossible": len(every) - len(possible), "unit": unit}
    if len(possible):
        estimate = Estimate.of(torch.as_tensor(possible), "nats")
        answer |= {"mean": estimate.value, "standard_error": estimate.standard_error}
    return answer


def impute_file(density: DiffusionDensity, data: Path, out: Path, n_draws: int, seed: int) -> dict[str, Any]:
    """Write a file again with its holes filled, and beside it the draws of every hole; some rows at a time.

    A number gets its conditional mean, or the atom of its column that more than half of the draws are; a whole number or
    level gets the nearest one to the mean, a bit or class the most frequent.
    ``OUT-draws`` has a line for each hole: its line and column, the 5, 50 and 95 % quantiles of numbers, all draws.
    """
    whole_number("--draws", n_draws, 1)
    room = 200.0 * n_draws * len(density.columns_)
    require_memory(f"{n_draws} draws of every missing entry", room, "take fewer draws")
    check_files(density.columns_, data, out)
    columns, beside = density.columns_, out.with_name(f"{out.stem}-draws{out.suffix}")
    random_state = np.random.RandomState(seed)
    n, n_holes, ess = 0, 0, np.empty(0)
    names = ["line", "column", "q05", "q50", "q95", *(f"draw_{k + 1}" for k in range(n_draws))]
    kind = str if any(cell_type(column) is str for column in columns) else float
    with (
        writing_table(out, [c.name for c in columns], [cell_type(c) for c in columns]) as write,
        writing_table(beside, names, [int, str, float, float, float, *[kind] * n_draws]) as write_draws,
    ):
        for cells in read_cells_in_parts(data, PART):
            x, wrong = encoded(columns, cells)
            if wrong.any():
                line = cells.lines[int(wrong.int().argmax())]
                raise InputError(f"line {line} of {data.name} holds a value that was never possible, so it cannot be filled")
            imputed = density.impute_coded(x, n_draws, random_state=random_state)
            rows, holes = _filled(columns, cells, imputed)
            write(rows)
            write_draws(holes)
            n, n_holes = n + len(rows), n_holes + len(holes)
            ess = np.concatenate([ess, imputed.ess[~np.isnan(imputed.ess)]])
    answer = {"file": str(out), "draws": str(beside), "n": n, "holes": n_holes, "n_draws": n_draws}
    if len(ess):
        answer |= {"least_effective_particles": float(ess.min()), "median_effective_particles": float(np.median(ess))}
    return answer


def _filled(columns: Sequence[Column], cells: Cells, imputed: Imputed) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows with their holes filled, and a line for each hole."""
    filled, low, middle, high = imputed.mean, *(imputed.quantile(q) for q in (0.05, 0.5, 0.95))
    rows: list[list[Any]] = []
    holes: list[list[Any]] = []
    for i, line in enumerate(cells.lines):
        row: list[Any] = []
        for j, column in enumerate(columns):
            cell = cells.columns[j][i]
            if not is_missing(cell):
                row.append(cell)
                continue
            value = _likely_atom(column, imputed.draws[:, i, j], filled[i, j])
            row.append(round(float(value)) if column.kind in ("integer", "ordinal") else value)
            if column.kind != "constant":
                holes.append([line, column.name, low[i, j], middle[i, j], high[i, j], *imputed.draws[:, i, j]])
        rows.append(row)
    return rows, holes


def _likely_atom(column: Column, draws: NDArray[Any], mean: Any) -> Any:
    """The atom that more than half of the draws are, else the mean, which lies beside an atom where few draws are it."""
    return next((atom for atom in column.atoms if (draws == atom).mean() > 0.5), mean)
