"""Metrics, checkpoints and the best model of a training run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.storage.atomic import clear_half_written, new_folder, write_text
from quasistatic.storage.files import regular_file, strict
from quasistatic.storage.modules import save_module
from quasistatic.train.state import prune
from quasistatic.train.trainer import Trainer

__all__ = ["RunLog", "append_line", "save_best", "trim_log"]


class RunLog:
    """Metrics, checkpoints and the best model of one training.

    Parameters
    ----------
    trainer : Trainer
        The training.
    folder : Path or None
        Run folder for ``metrics.jsonl`` and ``checkpoint/``. Without one nothing is written, and the best weights are kept
        in memory. Of several processes the first one writes.
    """

    def __init__(self, trainer: Trainer, folder: Path | None) -> None:
        self.trainer, self.folder = trainer, folder
        self.writes = folder is not None and trainer.team.first
        self.best_weights: list[Tensor] = []
        self.best_process: ForwardProcess = trainer.model.process

    def resume(self) -> bool:
        """Restore the newest checkpoint.

        Log records after it are removed. Return False if there is no checkpoint.
        """
        if self.folder is None:
            return False
        state, model = self.trainer.state, self.trainer.model
        resumed = state.restore(self.folder / "checkpoint")
        if not torch.equal(state.beta, model.process.beta[1:]):
            self.trainer.move_to(model.process.with_beta(state.beta))
        if self.writes:
            with self._writing() as folder:
                clear_half_written(folder)
                clear_half_written(folder / "checkpoint")
                prune(folder / "checkpoint")
                trim_log(folder / "metrics.jsonl", state.update if resumed else -1)
        return resumed

    def keep_best(self, line: dict[str, Any]) -> None:
        """Save the model, with its mean weights, as the best.

        Parameters
        ----------
        line : dict
            Its metrics.
        """
        trainer = self.trainer
        if self.folder is None:
            self.best_weights = [mean.clone() for mean in trainer.ema.mean]
            self.best_process = trainer.model.process
        elif self.writes:
            with self._writing() as folder:
                save_best(trainer.model, folder, f"best-{trainer.state.update:08d}", line)

    def write(self, line: dict[str, Any]) -> None:
        """Append metrics to the log, and save a checkpoint.

        The line is written first. When training resumes, a line without a checkpoint is removed. A checkpoint without a
        line could not be repaired.
        """
        if self.writes:
            with self._writing() as folder:
                append_line(folder / "metrics.jsonl", line)
                self.trainer.state.save(folder / "checkpoint")

    def write_checkpoint(self) -> None:
        """Save a checkpoint without metrics."""
        if self.writes:
            with self._writing() as folder:
                self.trainer.state.save(folder / "checkpoint")

    def best_model(self) -> DiffusionModel:
        """Load the weights of the best validation bound."""
        trainer = self.trainer
        if self.folder is None:
            trainer.ema.put(self.best_weights)
            trainer.move_to(self.best_process)
        else:
            trainer.team.wait()
            best = load_model(self.folder).to(trainer.rows.device)
            trainer.model.kernel.load_state_dict(best.kernel.state_dict())
            trainer.move_to(best.process)
        return trainer.model.eval()

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """Re-raise OSError from the block as InputError naming the run folder."""
        assert self.folder is not None
        try:
            yield self.folder
        except OSError as error:
            resumes = (self.folder / "checkpoint" / "latest.json").exists()
            then = "goes on from the checkpoint before it" if resumes else "starts again"
            raise InputError(
                f"could not write update {self.trainer.state.update} to {self.folder} ({error.strerror or error}); "
                f"once that is fixed, the same command {then}"
            ) from error


def save_best(model: DiffusionModel, folder: Path, name: str, extra: dict[str, Any]) -> None:
    """Save a model as the best one and delete older ones.

    Parameters
    ----------
    model : DiffusionModel
        The model.
    folder : Path
        Run folder.
    name : str
        Name of the model's folder.
    extra : dict
        JSON-ready values that are kept beside it and in ``best.json``.
    """
    checkpoint = folder / "checkpoint"
    with new_folder(checkpoint / name) as new:
        save_module(model, new, extra)
    write_text(checkpoint / "best.json", json.dumps(strict({"folder": name, **extra})))
    prune(checkpoint)


def append_line(log: Path, line: dict[str, Any]) -> None:
    """Append a line of JSON to a log on disk."""
    no_links = os.O_NOFOLLOW if hasattr(os, "O_NOFOLLOW") else 0
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_links
    with open(os.open(log, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(json.dumps(strict(line)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def trim_log(log: Path, update: int) -> None:
    """Delete the lines after an update, and incomplete ones."""
    lines = regular_file(log).read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    write_text(log, "".join(line + "\n" for line in lines if _update_of(line) <= update))


def _update_of(line: str) -> float:
    try:
        update = json.loads(line)["update"]
    except (LookupError, RecursionError, TypeError, ValueError):
        return math.inf
    return update if isinstance(update, int | float) else math.inf
