"""Training of a recipe into a run folder."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from quasistatic.checks import real_number, whole_number
from quasistatic.errors import InputError, as_input_error
from quasistatic.estimate import Estimate
from quasistatic.model import DiffusionModel
from quasistatic.plots import save_figure
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.runs.settings import make_recipe, to_plain
from quasistatic.runs.versions import versions
from quasistatic.storage.atomic import write_text
from quasistatic.storage.lock import sole_writer
from quasistatic.storage.run_folder import RunFolder
from quasistatic.train import Engine, Scalars, fit
from quasistatic.train.engine import find_device
from quasistatic.train.run_log import save_best
from quasistatic.train.workers import Workers, workers

__all__ = ["train_run"]


def train_run(
    name: str,
    path: str | os.PathLike[str],
    *,
    settings: dict[str, Any] | None = None,
    preset: str | None = None,
    seed: int = 0,
    quiet: bool = False,
    time_budget: float = math.inf,
    device: str = "auto",
    engine: Engine | None = None,
    tensorboard: bool = False,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run folder.

    The same call continues a training that was interrupted, on any device. A finished run is left as it is.

    Parameters
    ----------
    name : str
        Name of the recipe.
    path : str or Path
        The run folder.
    settings : dict, optional
        Settings of the recipe; keys reach into groups with a dot, such as ``train.n_updates``.
    preset : str, optional
        A named set of settings.
    seed : int
    quiet : bool
        Draw no figures during the training.
    time_budget : float
        Seconds of training after which a checkpoint is written and the call returns.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    engine : Engine, optional
        Compilation and size of micro-batches.
    tensorboard : bool
        Write the training log for TensorBoard as well.
    announce : callable, optional
        Called with the recipe's note about the data, if it has one, before the training.

    Returns
    -------
    dict
        The manifest of the finished training, or ``stopped_at`` and ``n_updates`` where the time ran out.

    Raises
    ------
    InputError
        If the settings or the data are invalid, or the folder holds a run with other settings.
    """
    whole_number("seed", seed, 0)
    real_number("time_budget", time_budget, above=0.0, infinite=True)
    recipe = make_recipe(name, settings or {}, preset=preset)
    if announce is not None and (note := recipe.note()):
        announce(note)
    folder = RunFolder(path)
    scalars = Scalars(folder.tensorboard) if tensorboard else None
    config = {"recipe": name, "seed": seed, **to_plain(recipe)}
    if (fingerprint := recipe.fingerprint()) is not None:
        config["fingerprint"] = fingerprint
    target = find_device(device)
    with workers(target) as team:
        folder.refuse_links()
        _refuse_other_settings(folder, config)
        if folder.manifest.exists():
            return folder.read_manifest()
        with as_input_error(), torch.random.fork_rng(devices=[]):
            splits = recipe.splits(seed)
            torch.manual_seed(seed)
            model = recipe.build(splits).to(target)
        team.wait()  # every process has checked the folder before the first one writes to it
        if team.first:
            _write_config(folder, config)
        training = _Training(name, recipe, splits, folder, seed, team)
        return training.run(model, engine, time_budget, quiet, scalars)


@dataclass(frozen=True)
class _Training:
    """The inputs that all parts of one training use."""

    name: str
    recipe: Recipe
    splits: Splits
    folder: RunFolder
    seed: int
    team: Workers

    def run(
        self, model: DiffusionModel, engine: Engine | None, time_budget: float, quiet: bool, scalars: Scalars | None
    ) -> dict[str, Any]:
        """Train, place the final schedule and write the manifest."""
        recipe, splits, folder = self.recipe, self.splits, self.folder
        config = recipe.training(splits)
        model = fit(
            model, splits.train if splits.source is None else splits.source, splits.validation, config,
            folder=folder.path, seed=self.seed, unit=recipe.unit, quiet=quiet,
            augment=recipe.augment(splits), engine=engine, time_budget=time_budget,
            on_evaluation=self._on_evaluation(model, quiet, scalars) if self.team.first else None,
            place_steps=lambda model, generator: recipe.place_steps(model, splits, generator) or model.process,
        )  # fmt: skip
        trained = time.perf_counter()
        last = folder.read_metrics()[-1]
        exhausted = 0 < config.patience <= (last.get("waited") or 0)
        if last["update"] < config.n_updates and not exhausted:
            of = {"recipe": self.name, "seed": self.seed}
            return of | {"stopped_at": last["update"], "n_updates": config.n_updates}
        model = self._place_final_steps(model)
        if self.team.first:
            manifest = {
                "recipe": self.name,
                "seed": self.seed,
                "seconds": last.get("seconds") or 0.0,
                "finish_seconds": round(time.perf_counter() - trained, 1),
                "cpu_seconds": last.get("cpu_seconds") or 0.0,
                "n_parameters": sum(p.numel() for p in model.parameters()),
                "validation_null": self._validation_null(model),
                "versions": versions(),
            }
            folder.write_json(folder.manifest, manifest)
        self.team.wait()
        return folder.read_manifest()

    def _place_final_steps(self, model: DiffusionModel) -> DiffusionModel:
        """Save the best model on its final schedule, once."""
        if self.folder.read_best() == RunFolder.FINAL:
            return model  # a run that was interrupted after this would move its steps again
        placed = self.recipe.place_steps(model, self.splits, seeded(self.seed + 3))
        model = model if placed is None else model.on(placed)
        self.team.wait()
        if self.team.first:
            with self.folder.writing():
                save_best(model, self.folder.path, RunFolder.FINAL, {"finished": True})
        return model

    def _validation_null(self, model: DiffusionModel) -> float:
        """Return the mean log likelihood of validation rows under the null model."""
        null = self.recipe.null_log_prob(model, self.splits.validation, seeded(self.seed)).cpu()
        return Estimate.of(null, self.recipe.unit, model.event_shape).value

    def _on_evaluation(
        self, model: DiffusionModel, quiet: bool, scalars: Scalars | None
    ) -> Callable[[dict[str, Any]], None]:
        """Return what is done after each evaluation: log scalars, draw samples."""

        def after(metrics: dict[str, Any]) -> None:
            with self.folder.writing():
                if scalars is not None:
                    scalars(metrics)
                if quiet:
                    return
                figure = self.recipe.progress_figure(model, self.splits, metrics["update"])
                if figure is not None:
                    save_figure(figure, self.folder.figure(f"samples-{metrics['update']:08d}"))

        return after


def _refuse_other_settings(folder: RunFolder, config: dict[str, Any]) -> None:
    """Refuse a folder that holds a training with other settings."""
    if not (folder.config.exists() and folder.checkpoints.exists()):
        return
    found = _with_new_defaults(folder.read_config())
    changed = sorted(k for k in {*found, *config} if found.get(k) != config.get(k))
    if changed == ["fingerprint"]:
        raise InputError(f"{folder} holds a run on this file as it was before it changed; give a new --out")
    if changed:
        raise InputError(
            f"{folder} holds a run with another {', '.join(changed)}; give a new --out, or the same settings to go on"
        )


def _with_new_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of settings that are newer than a configuration."""
    kept = {name: config[name] for name in ("recipe", "seed", "fingerprint") if name in config}
    try:
        recipe = make_recipe(config["recipe"], {name: value for name, value in config.items() if name not in kept})
    except InputError:  # the recipe or a setting does not exist any more
        return config
    return kept | to_plain(recipe)


def _write_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Write the configuration, unless a training with it has begun."""
    if not folder.checkpoints.exists():
        with sole_writer(folder.path), folder.writing():
            write_text(folder.config, yaml.safe_dump(config, sort_keys=False))
