"""The command that samples a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from quasistatic.checks import whole_number
from quasistatic.cli.base import Command, progress
from quasistatic.errors import InputError, as_input_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sample"]


@dataclass
class Sample(Command):
    """Draw exact samples of a trained model.

    Example: quasistatic sample runs/roll -n 1000 --out samples.npy
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """Number of samples."""
    out: Path | None = None
    """A .npy, .csv or .parquet file; of pictures also a .png file or a folder of them; RUN/samples.npy if not given."""
    n_steps: int | None = None
    """Take fewer steps of the same chain: faster, coarser."""
    seed: int = 0
    """Seed of the draws."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def check(self, out: Path) -> None:
        """Refuse options that cannot be met by any run."""
        if out.suffix not in (".npy", ".csv", ".parquet", ".png", ""):
            raise InputError(f"samples are written as .npy, .csv, .parquet or .png, got {out.name!r}")
        whole_number("the number of samples", self.n, 1)
        whole_number("--seed", self.seed, 0)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 1)
        if out.suffix == ".png" and self.n > 1:
            raise InputError(f"{out} is one picture, but -n is {self.n}: give -n 1, or a folder")

    def run(self) -> dict[str, Any]:
        out = self.out or self.run_folder / "samples.npy"
        self.check(out)
        from quasistatic.runs.pixels import as_integers, has_pictures, write_samples
        from quasistatic.runs.run import draw_samples, open_run

        run, as_table = open_run(self.run_folder), out.suffix in (".csv", ".parquet")
        if self.out is None:
            run.folder.refuse_links("samples.npy")
        if out.suffix in (".png", "") and not has_pictures(run.recipe):
            raise InputError(f"samples of {run.name} are not pictures: write a .npy, .csv or .parquet file")
        if as_table and len(run.model.event_shape) != 1:
            raise InputError(f"one sample has shape {run.model.event_shape}, not that of a table's row: write a .npy file")
        names = run.splits.names if as_table else ()
        progress(f"drawing {self.n} samples of {run.name}")
        with as_input_error():  # n_steps may not suit the model
            drawn = draw_samples(run, self.n, seed=self.seed, n_steps=self.n_steps, device=self.device)
        x: NDArray[Any] = as_integers(run, drawn)
        if out.suffix == ".npy":
            _write_array(out, x)
        elif not as_table:
            write_samples(run, drawn, out)
        else:
            from quasistatic.io.table_writing import writing_table

            types: list[type] = [float] * x.shape[-1]
            if (cells := run.recipe.cells(drawn)) is not None:
                names, types, x = cells
            with writing_table(out, names or [f"column {i + 1}" for i in range(x.shape[1])], types) as write:
                write(x.tolist())
        return {"file": str(out), "n": self.n, "shape": list(x.shape)}

    def print(self, result: dict[str, Any]) -> None:
        print(f"{result['n']} samples in {result['file']}")


def _write_array(path: Path, x: NDArray[Any]) -> None:
    import numpy as np

    from quasistatic.storage.atomic import whole_file

    try:
        with whole_file(path) as file:
            np.save(file, x, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
