"""A trained run, its evaluation and its samples."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from quasistatic.checks import whole_number
from quasistatic.memory import require_memory
from quasistatic.errors import InputError, as_input_error
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.runs.blocks import blocks
from quasistatic.runs.evaluation import evaluate
from quasistatic.runs.results import Evaluation
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.verdict import warnings_of
from quasistatic.schedules import respaced
from quasistatic.storage.run_folder import RunFolder
from quasistatic.train.engine import find_device
from quasistatic.train.workers import workers

__all__ = ["Run", "draw_samples", "evaluate_run", "open_run"]


@dataclass(frozen=True)
class Run:
    """A trained recipe in its run folder.

    Attributes
    ----------
    folder : RunFolder
    name : str
        Name of the recipe.
    seed : int
    recipe : Recipe
    model : DiffusionModel
        The best model of the training.
    fingerprint : str or None
        SHA-256 of the user's data file, or None. A changed file would give different splits.
    """

    folder: RunFolder
    name: str
    seed: int
    recipe: Recipe
    model: DiffusionModel
    fingerprint: str | None = None

    @cached_property
    def splits(self) -> Splits:
        """Training, validation and test rows, loaded on first use.

        Raises
        ------
        InputError
            If the data file is gone or has changed: training rows could become test rows.
        """
        if self.fingerprint is not None and self.recipe.fingerprint() != self.fingerprint:
            raise InputError(f"the data of {self.folder} has changed since the training: train on it into a new --out")
        return self.recipe.splits(self.seed)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder with its recipe and best model.

    Parameters
    ----------
    path : str or Path
        A folder that ``quasistatic train`` has written.

    Raises
    ------
    InputError
        If it is not a run folder, has no model yet, or is damaged.
    """
    if "\0" in str(path) or not os.path.lexists(Path(path) / "config.yaml"):
        raise InputError(f"{path} is not a run folder: it holds no config.yaml")
    folder = RunFolder(path)
    config = folder.read_config()
    name, seed, fingerprint = config.pop("recipe"), config.pop("seed"), config.pop("fingerprint", None)
    recipe = make_recipe(name, config)
    if os.path.lexists(folder.best):
        folder.read_best()  # a damaged file gets its own message
    return Run(folder, name, seed, recipe, load_model(folder.path), fingerprint)


def evaluate_run(
    run: Run,
    *,
    split: str = "test",
    n_trajectories: int | None = None,
    n_steps: int | None = None,
    n_samples: int = 0,
    device: str = "auto",
) -> Evaluation:
    """Evaluate a run and write the result into its folder.

    Processes that ``torchrun`` started share the rows.

    Parameters
    ----------
    run : Run
    split : {"test", "validation", "train"}
    n_trajectories : int, optional
        Trajectories of the importance-weighted estimate; the recipe's number by default.
    n_steps : int, optional
        Steps of a new schedule between the same ends.
    n_samples : int
        Samples to draw and check.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    InputError
        If the split has no rows, the model does not serve ``n_steps``, or the recipe cannot check samples.
    """
    model, target = run.model, find_device(device)
    if n_steps is not None:
        with as_input_error():
            model = model.on(model.process.with_beta(respaced(model.process.beta[1:], n_steps)))
    if run.recipe.exact_kernel(model) is not None:  # exact kernels run on the CPU
        target = find_device("cpu")
    started = time.perf_counter()
    with workers(target) as team, _moved(model, target):
        result = evaluate(
            run.recipe, model, run.splits, name=run.name, split=split, n_trajectories=n_trajectories,
            n_samples=n_samples, team=team,
        )  # fmt: skip
        result = replace(
            result,
            warnings=tuple(warnings_of(result, run.folder.read_metrics())),
            seed=run.seed,
            seconds=round(time.perf_counter() - started, 1),
            training=run.folder.read_manifest() if run.folder.manifest.exists() else {},
        )
        run.folder.refuse_links()
        if team.first:
            run.folder.write_json(run.folder.result(split, n_steps), result.to_json())
        team.wait()
    return result


def draw_samples(run: Run, n: int, *, seed: int = 0, n_steps: int | None = None, device: str = "auto") -> Tensor:
    """Draw samples of a run in data units.

    The rows are drawn in blocks, so that memory does not grow with n.

    Parameters
    ----------
    run : Run
    n : int
        Number of samples.
    seed : int
    n_steps : int, optional
        Use a subset of the steps of the chain.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    Tensor, shape (n, *event_shape)
    """
    whole_number("the number of samples", n, 1)
    event = math.prod(run.model.event_shape)
    require_memory(f"{n} samples of {event} numbers", 24.0 * n * event, "draw fewer at once, with other seeds")
    with _moved(run.model, find_device(device)) as model:
        drawn = [
            model.sample(rows.stop - rows.start, generator=generator, n_steps=n_steps).cpu()
            for rows, generator in blocks(n, model.event_shape, seed)
        ]
    return torch.cat(drawn)


@contextmanager
def _moved(model: DiffusionModel, device: torch.device) -> Iterator[DiffusionModel]:
    """Move a model to a device for this block."""
    try:
        yield model.to(device)
    finally:
        model.to("cpu")
