"""Run folders: train a recipe into one, and take a trained one up again.

A folder holds ``config.yaml`` (all settings, resolved), ``metrics.jsonl``, ``checkpoint/``, and what later commands
add: ``result.json``, ``figures/`` and ``report.html``.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import quasistatic
from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel, load
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.recipes.evaluation import evaluate
from quasistatic.recipes.settings import make_recipe, to_plain
from quasistatic.saving import write_text
from quasistatic.train import fit
from quasistatic.train.loop import save_best
from quasistatic.train.workers import workers

__all__ = ["Run", "evaluate_run", "open_run", "train_run"]


@dataclass(frozen=True)
class Run:
    """A trained recipe, taken up from its folder."""

    folder: Path
    name: str
    seed: int
    recipe: Recipe
    model: DiffusionModel
    splits: Splits


def train_run(
    name: str, folder: Path, *, settings: dict[str, Any] | None = None, preset: str | None = None, seed: int = 0, quiet: bool = False
) -> dict[str, Any]:
    """Train a recipe into a folder, or go on with what the same call began there.

    Raises
    ------
    InputError
        If the folder holds a run of other settings.
    """
    recipe = make_recipe(name, settings or {}, preset=preset)
    config = {"recipe": name, "seed": seed, **to_plain(recipe)}
    done = folder / "checkpoint" / "finished.json"
    with workers() as team:
        _claim(folder, config, writes=team.first)
        team.wait()
        if done.exists():
            return json.loads(done.read_text())
        splits = recipe.splits(seed)
        torch.manual_seed(seed)
        model = recipe.build(splits)
        started, cpu = time.perf_counter(), time.process_time()
        model = fit(
            model, splits.train, splits.validation, recipe.train,
            folder=folder, seed=seed, unit=recipe.unit, quiet=quiet,
            place_steps=lambda model, generator: recipe.place_steps(model, splits, generator) or model.diffusion,
        )  # fmt: skip
        trained = time.perf_counter() - started
        placed = recipe.place_steps(model, splits, seeded(seed + 3))
        model = model if placed is None else model.on(placed)
        if team.first:
            save_best(model, folder, "best-finished", {"finished": True})
            told = {
                "recipe": name,
                "seed": seed,
                "seconds": round(trained, 1),
                "finish_seconds": round(time.perf_counter() - started - trained, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "n_parameters": sum(p.numel() for p in model.parameters()),
                "versions": versions(),
            }
            write_text(done, json.dumps(told, indent=1))
        team.wait()
        return json.loads(done.read_text())


def _claim(folder: Path, config: dict[str, Any], *, writes: bool) -> None:
    """Write the configuration first; refuse a folder that another one has claimed."""
    path = folder / "config.yaml"
    if path.exists():
        there = yaml.safe_load(path.read_text())
        if there != config:
            changed = sorted(k for k in {*there, *config} if there.get(k) != config.get(k))
            raise InputError(
                f"{folder} holds a run with another {', '.join(changed)}; give a new --out, or the same settings to go on"
            )
    elif writes:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise InputError(f"cannot write the run folder {folder}: {error.strerror}") from error


def open_run(folder: Path) -> Run:
    """Take up a run folder: its recipe, best model and data."""
    path = folder / "config.yaml"
    if not path.exists():
        raise InputError(f"{folder} is not a run folder: it holds no config.yaml")
    config = yaml.safe_load(path.read_text())
    name, seed = config.pop("recipe"), config.pop("seed")
    recipe = make_recipe(name, config)
    return Run(folder, name, seed, recipe, load(folder), recipe.splits(seed))


def evaluate_run(
    run: Run, *, split: str = "test", n_trajectories: int | None = None, n_steps: int | None = None
) -> dict[str, Any]:
    """Measure a run and keep the answer in its folder."""
    model = run.model
    if n_steps is not None:
        model = model.on(model.diffusion.with_beta(quasistatic.schedules.recut(model.diffusion.beta[1:], n_steps)))
    started = time.perf_counter()
    result = {"recipe": run.name} | evaluate(run.recipe, model, run.splits, split=split, n_trajectories=n_trajectories)
    result |= {"seed": run.seed, "evaluation_seconds": round(time.perf_counter() - started, 1)}
    done = run.folder / "checkpoint" / "finished.json"
    if done.exists():
        result |= {k: v for k, v in json.loads(done.read_text()).items() if k not in result}
    suffix = "" if split == "test" and n_steps is None else f"-{split}" + (f"-{n_steps}" if n_steps else "")
    write_text(run.folder / f"result{suffix}.json", json.dumps(result, indent=1))
    return result


def versions() -> dict[str, str]:
    """What a number was computed with."""
    return {
        "quasistatic": quasistatic.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
