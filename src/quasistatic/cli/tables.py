"""Commands for tables: score and impute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from quasistatic.checks import whole_number
from quasistatic.cli.base import Command, progress
from quasistatic.errors import as_input_error

__all__ = ["Impute", "Score"]


@dataclass
class Score(Command):
    """Compute log density and anomaly score of each row.

    Rows with missing entries are scored by their observed entries.

    Example: quasistatic score runs/wine --data new.csv --out scores.csv
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder of the table recipe."""
    data: Path
    """A table with the same columns; it may be larger than memory."""
    out: Path = Path("scores.csv")
    """A .csv or .parquet file: line, log density, anomaly score."""
    unit: str = "nats"
    """nats, bits, nats_per_dim or bits_per_dim."""

    def run(self) -> dict[str, Any]:
        from quasistatic.estimate import unit_divisor
        from quasistatic.runs.run import open_run
        from quasistatic.runs.table_files import TableFile, score_file
        from quasistatic.runs.tables import ensemble_of

        with as_input_error():  # the unit may not exist
            unit_divisor(self.unit, (1,))
        run, file = open_run(self.run_folder), TableFile(self.data, self.out)
        ensemble = ensemble_of(run, file.require_columns)
        progress(f"scoring {self.data}")
        return score_file(ensemble, file, self.unit)

    def print(self, result: dict[str, Any]) -> None:
        from quasistatic.reporting.text import format_estimate

        if "mean" in result:
            mean = format_estimate(result["mean"], result["standard_error"], result["unit"], result["n"])
            print(f"mean log density {mean}")
        if result["impossible"]:
            print(f"{result['impossible']} rows hold values without probability: their log density is minus infinity")
        print(f"scores of {result['n']} rows in {result['file']}")


@dataclass
class Impute(Command):
    """Fill missing entries of a table with draws, and give intervals.

    Example: quasistatic impute runs/wine --data incomplete.csv --out filled.csv --draws 20
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder of the table recipe."""
    data: Path
    """A table with the same columns; it may be larger than memory."""
    out: Path = Path("filled.csv")
    """A .csv or .parquet file with the same columns; FILE-draws beside it has draws and intervals of every entry."""
    draws: int = 20
    """Draws of each missing entry."""
    seed: int = 0
    """Seed of the draws."""

    def run(self) -> dict[str, Any]:
        whole_number("--draws", self.draws, 1)
        whole_number("--seed", self.seed, 0, 2**31 - 1)
        from quasistatic.runs.run import open_run
        from quasistatic.runs.table_files import TableFile, impute_file
        from quasistatic.runs.tables import ensemble_of

        run, file = open_run(self.run_folder), TableFile(self.data, self.out)
        ensemble = ensemble_of(run, file.require_columns)
        progress(f"filling the missing entries of {self.data}")
        return impute_file(ensemble, file, self.draws, self.seed)

    def print(self, result: dict[str, Any]) -> None:
        print(f"{result['missing']} missing entries filled in {result['file']}; their draws are in {result['draws']}")
        if result.get("least_effective_particles", 10.0) < 5.0:
            print(f"careful: some rows rest on {result['least_effective_particles']:.1f} effective particles")
