"""Training of a model in one call."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from quasistatic.checks import instance_of, real_number, shown, tensor_of, whole_number
from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.storage.files import path_of
from quasistatic.storage.lock import sole_writer
from quasistatic.train.config import TrainConfig
from quasistatic.train.engine import Engine, compiled
from quasistatic.train.progress import Progress
from quasistatic.train.run_log import RunLog
from quasistatic.train.session import Session, Validation, own_random_state
from quasistatic.train.source import Augment, Rows, Source
from quasistatic.train.trainer import PlaceSteps, Trainer
from quasistatic.train.workers import workers

__all__ = ["fit"]


def fit(
    model: DiffusionModel,
    data: Tensor | Rows,
    validation: Tensor,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    seed: int = 0,
    unit: str = "bits",
    quiet: bool = False,
    augment: Augment | None = None,
    engine: Engine | None = None,
    time_budget: float = math.inf,
    place_steps: PlaceSteps | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> DiffusionModel:
    """Train a model and return its best version.

    The model is trained on the device where it is. With ``config.patience``, training ends after as many evaluations
    without an improvement beyond noise. The same call on the same ``folder`` continues where it stopped, and ends with the
    same bits as if it had not stopped. Under ``torchrun`` all processes share one global batch and write one folder.
    Torch's global generator, which dropout draws from, is left as it was.

    Parameters
    ----------
    model : DiffusionModel
        Trained in place and returned.
    data, validation : Tensor, shape (n, *event_shape)
        Rows in data units. A random transform (dequantisation) is drawn afresh for every batch. ``data`` may be rows on
        disk, read when they are drawn: anything with ``len`` that an array of row numbers indexes.
    config : TrainConfig
        Settings of the training.
    folder : Path, optional
        Run folder for ``metrics.jsonl`` and ``checkpoint/``; nothing is written without one.
    seed : int
        Of batches, steps and noise.
    unit : str
        Of the numbers in the log.
    quiet : bool
        Show no progress.
    augment : callable, optional
        (rows of a batch in data units, generator) -> other rows that are as likely, such as mirror images.
    engine : Engine, optional
        Compiler, memory and reading ahead.
    time_budget : float
        Seconds after which this call stops at a checkpoint; the same call continues from there.
    place_steps : callable, optional
        (model with its mean weights, generator) -> process of as many steps, such as that of
        :func:`quasistatic.optimal_schedule`. It is called at ``config.place_at``, and training continues with its steps.
    on_evaluation : callable, optional
        Called with the metrics of each evaluation, while the model holds its mean weights.

    Raises
    ------
    InputError
        If the data does not fit the model, the loss becomes nan or infinite, the folder cannot be written to, or another
        process is training in it. Checkpoints written before stay.
    """
    instance_of("model", model, DiffusionModel, "a DiffusionModel")
    instance_of("config", config, TrainConfig, "a TrainConfig")
    whole_number("seed", seed, 0)
    real_number("time_budget", time_budget, above=0.0, infinite=True)
    data, validation = _rows_of(data), tensor_of("validation", validation)
    folder = None if folder is None else path_of("folder", folder)
    if not validation.dim() or (isinstance(data, Tensor) and not data.dim()):
        raise InputError("data and validation must have an axis of rows")
    if not len(data) or not len(validation):
        raise InputError(f"training needs rows, got {len(data)}, and {len(validation)} for validation")
    engine = engine or Engine()
    with workers(model.process.beta.device) as team, own_random_state(model):
        source = Source(model, data, augment, prefetch=engine.prefetch)
        trainer = Trainer(model, source, config, seed=seed, team=team, micro_batch=engine.micro_batch)
        session = Session(
            trainer, Validation(model, validation, config, seed=seed, unit=unit), RunLog(trainer, folder),
            Progress(config, quiet=quiet or not team.first),
            time_budget=time_budget, place_steps=place_steps, on_evaluation=on_evaluation,
        )  # fmt: skip
        with (
            closing(source),
            sole_writer(folder) if folder is not None and team.first else nullcontext(),
            compiled(model.kernel, engine.compiles_on(source.device)),
        ):
            return session.run()


def _rows_of(data: Any) -> Tensor | Rows:
    if not hasattr(data, "__len__") or isinstance(data, str | bytes | dict):
        raise InputError(f"data must be a tensor, or rows with a length, got {shown(data)}")
    return tensor_of("data", data) if isinstance(data, Tensor | list | tuple) else data
