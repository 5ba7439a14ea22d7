"""Names and contents of the files of a run folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quasistatic.errors import InputError
from quasistatic.storage.atomic import write_text
from quasistatic.storage.files import read_json, read_log, read_yaml, refuse_links, strict
from quasistatic.storage.schema import Check, Optional, a_name, a_number, a_record, a_text, a_whole

__all__ = ["RunFolder"]

_NUMBER = Optional(a_number, required=True)  # null where it was not finite
_CONFIG: dict[str, Check | Optional] = {"recipe": a_text, "seed": a_whole(), "fingerprint": Optional(a_text)}
_METRICS: dict[str, Check | Optional] = {
    "update": a_whole(),
    "seconds": Optional(a_number),
    "cpu_seconds": Optional(a_number),
    "validation": _NUMBER,
    "validation_se": _NUMBER,
    "unit": a_text,
    "waited": Optional(a_whole()),
}
_MANIFEST: dict[str, Check | Optional] = {
    "recipe": a_text,
    "seed": a_whole(),
    "seconds": a_number,
    "cpu_seconds": Optional(a_number),
    "n_parameters": Optional(a_whole()),
    "versions": Optional(a_record()),
    "validation_null": Optional(a_number),
}


class RunFolder:
    """Names and contents of the files of one run.

    Parameters
    ----------
    path : str or Path
        The folder. It need not exist yet.

    Examples
    --------
    >>> folder = RunFolder("runs/roll")
    >>> folder.metrics.as_posix(), folder.result("validation", n_steps=20).name
    ('runs/roll/metrics.jsonl', 'result-validation-20.json')
    """

    FINAL = "best-finished"
    """Name of the checkpoint with the best weights on the final schedule."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoint"
        self.best = self.checkpoints / "best.json"
        self.manifest = self.checkpoints / "finished.json"
        self.figures = self.path / "figures"
        self.report = self.path / "report.html"
        self.samples = self.path / "samples.npy"
        self.tensorboard = self.path / "tensorboard"
        self.ensemble = self.path / "estimator"
        self.ensemble_manifest = self.path / "estimator-of.json"
        self.members = self.path / "members"

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def result(self, split: str = "test", n_steps: int | None = None) -> Path:
        """Return the file of an evaluation.

        Parameters
        ----------
        split : str
            The evaluated rows: train, validation or test.
        n_steps : int, optional
            Number of steps of the schedule, where it was not the schedule of the run.
        """
        plain = split == "test" and n_steps is None
        suffix = "" if plain else f"-{split}" + (f"-{n_steps}" if n_steps else "")
        return self.path / f"result{suffix}.json"

    def figure(self, name: str) -> Path:
        """Return the file of a figure."""
        return self.figures / f"{name}.png"

    def refuse_links(self, *others: str) -> None:
        """Refuse symbolic links among the files that commands write.

        Parameters
        ----------
        *others : str
            Names of further entries of the folder that are about to be written.

        Raises
        ------
        InputError
            If one of them is a link, which could lead out of the folder.
        """
        own = (
            self.config, self.metrics, self.checkpoints, self.figures, self.report, self.ensemble, self.ensemble_manifest,
            self.members, self.tensorboard,
        )  # fmt: skip
        refuse_links(self.path, *(entry.name for entry in own), *others)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Re-raise OSError from this block as InputError with the run folder."""
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write the run folder {self.path}: {error.strerror or error}") from error

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file of this folder, complete or not at all."""
        with self.writing():
            write_text(path, json.dumps(strict(value), indent=1, allow_nan=False))

    def read_config(self) -> dict[str, Any]:
        """Read the resolved settings, with the recipe and the seed."""
        return read_yaml(self.config, _CONFIG)

    def read_best(self) -> str:
        """Read the name of the best checkpoint."""
        return read_json(self.best, {"folder": a_name})["folder"]

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read the training log, one record for each evaluation."""
        return read_log(self.metrics, _METRICS)

    def read_manifest(self) -> dict[str, Any]:
        """Read the record that a finished training leaves."""
        return read_json(self.manifest, _MANIFEST)

    def best_metrics(self) -> dict[str, Any]:
        """Return the log record with the highest validation bound."""
        return max(self.read_metrics(), key=lambda line: -math.inf if line["validation"] is None else line["validation"])
