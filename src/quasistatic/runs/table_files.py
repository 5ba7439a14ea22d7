"""Files of tables scored and filled by an ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quasistatic.checks import whole_number
from quasistatic.memory import require_memory
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, unit_divisor
from quasistatic.io.cells import Cells, is_missing
from quasistatic.io.table_writing import ENDINGS, writing_table
from quasistatic.io.tables import read_cells_in_parts
from quasistatic.tables.coding import encode_cells, first_impossible
from quasistatic.tables.columns import Column
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.imputed import Imputed

__all__ = ["TableFile", "impute_file", "score_file"]

ROWS_AT_ONCE = 5000


class TableFile:
    """Rows of a table file, parsed once.

    Parameters
    ----------
    path : Path
    out : Path
        The file that will be written.

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, or ``out`` has an unknown ending.
    """

    def __init__(self, path: Path, out: Path) -> None:
        if out.suffix not in ENDINGS:
            raise InputError(f"tables are written as .csv or .parquet, got {out.name!r}")
        self.path, self.out = path, out
        self._parts = read_cells_in_parts(path, ROWS_AT_ONCE)
        first = next(self._parts, None)
        if first is None:
            raise InputError(f"{path.name} has no rows")
        self._first = first

    def require_columns(self, columns: Sequence[Column]) -> None:
        """Refuse a file with other columns."""
        encode_cells(columns, self._first)

    def parts(self) -> Iterator[Cells]:
        """Yield the rows in parts, once."""
        yield self._first
        yield from self._parts


def score_file(ensemble: DensityEnsemble, file: TableFile, unit: str = "nats") -> dict[str, Any]:
    """Score each row of a file, and write the scores.

    Parameters
    ----------
    ensemble : DensityEnsemble
    file : TableFile
    unit : str
        "nats", "bits", "nats_per_dim" or "bits_per_dim".

    Returns
    -------
    dict
        ``n``; over the possible rows ``mean`` and ``standard_error``; and the number of ``impossible`` rows.
    """
    columns = ensemble.columns
    file.require_columns(columns)
    divisor = unit_divisor(unit, (len(columns),))
    scores: list[NDArray[np.float64]] = []
    with writing_table(file.out, ["line", f"log_density_{unit}", "anomaly_score"], [int, float, float]) as write:
        for cells in file.parts():
            x, impossible = encode_cells(columns, cells)
            found = ensemble.log_prob(x).masked_fill(impossible, -math.inf).numpy() / divisor
            write(zip(cells.lines, found.tolist(), (-found).tolist(), strict=True))
            scores.append(found)
    every = np.concatenate(scores)
    possible = every[np.isfinite(every)]
    answer: dict[str, Any] = {
        "file": str(file.out), "n": len(every), "impossible": len(every) - len(possible), "unit": unit,
    }  # fmt: skip
    if len(possible):
        estimate = Estimate.of(torch.as_tensor(possible), "nats")
        answer |= {"mean": estimate.value, "standard_error": estimate.standard_error}
    return answer


def impute_file(ensemble: DensityEnsemble, file: TableFile, n_draws: int, seed: int) -> dict[str, Any]:
    """Fill the missing entries of a file.

    The filled file is written, and beside it the draws of each entry. A number becomes its conditional mean, or the atom of its column that more than half of the draws equal. A whole number
    or level becomes the one nearest to the mean, a bit or class the most frequent one. ``OUT-draws`` has a row for each
    missing entry: its line and column, the 5, 50 and 95 % quantiles of numbers, and all draws.

    Parameters
    ----------
    ensemble : DensityEnsemble
    file : TableFile
    n_draws : int
    seed : int

    Returns
    -------
    dict
        ``n`` rows and ``missing`` entries; the least and the median effective number of particles.
    """
    whole_number("--draws", n_draws, 1)
    columns, out = ensemble.columns, file.out
    require_memory(
        f"{n_draws} draws of every missing entry", 200.0 * n_draws * len(columns), "take fewer draws"
    )  # fmt: skip
    file.require_columns(columns)
    beside = out.with_name(f"{out.stem}-draws{out.suffix}")
    random_state = np.random.RandomState(seed)
    n, n_missing, ess = 0, 0, np.empty(0)
    names = ["line", "column", "q05", "q50", "q95", *(f"draw_{k + 1}" for k in range(n_draws))]
    kind = str if any(column.cell_type is str for column in columns) else float
    with (
        writing_table(out, [c.name for c in columns], [c.cell_type for c in columns]) as write,
        writing_table(beside, names, [int, str, float, float, float, *[kind] * n_draws]) as write_draws,
    ):
        for cells in file.parts():
            x, impossible = encode_cells(columns, cells)
            if impossible.any() and (found := first_impossible(columns, cells.columns)) is not None:
                raise InputError(f"line {cells.lines[found[0]]} of {file.path.name} cannot be filled: it holds {found[1]}")
            generator = torch.Generator().manual_seed(int(random_state.randint(2**31 - 1)))
            imputed = ensemble.impute(x, n_draws, generator=generator)
            rows, entries = _filled(columns, cells, imputed)
            write(rows)
            write_draws(entries)
            n, n_missing = n + len(rows), n_missing + len(entries)
            ess = np.concatenate([ess, imputed.ess[~np.isnan(imputed.ess)]])
    answer = {"file": str(out), "draws": str(beside), "n": n, "missing": n_missing, "n_draws": n_draws}
    if len(ess):
        answer |= {"least_effective_particles": float(ess.min()), "median_effective_particles": float(np.median(ess))}
    return answer


def _filled(columns: Sequence[Column], cells: Cells, imputed: Imputed) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the filled rows, and a row for each missing entry."""
    filled, low, middle, high = imputed.mean, *(imputed.quantile(q) for q in (0.05, 0.5, 0.95))
    rows: list[list[Any]] = []
    entries: list[list[Any]] = []
    for i, line in enumerate(cells.lines):
        row: list[Any] = []
        for j, column in enumerate(columns):
            cell = cells.columns[j][i]
            if not is_missing(cell):
                row.append(cell)
                continue
            draws = imputed.draws[:, i, j]
            row.append(column.best_guess(filled[i, j], draws))
            if column.coded:
                entries.append([line, column.name, low[i, j], middle[i, j], high[i, j], *draws])
        rows.append(row)
    return rows, entries
